import os
import signal
import threading

import pytest

from score_sde.training.signals import StopRequest


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_remembered_and_the_second_acts(signum):
    received = []
    before = signal.signal(signum, lambda number, frame: received.append(number))
    try:
        with StopRequest() as stop:
            assert stop.signum is None
            os.kill(os.getpid(), signum)
            assert stop.signum == signum and received == []
            os.kill(os.getpid(), signum)
        assert received == [signum]
    finally:
        signal.signal(signum, before)


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_the_main_thread_it_watches_nothing():
    found = []

    def work():
        with StopRequest() as stop:
            found.append(stop.signum)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]
