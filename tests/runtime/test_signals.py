import os
import signal
import threading

import pytest

from score_sde.runtime.signals import StopRequest


@pytest.fixture
def received():
    """The signals that come to whoever watched for them before."""
    found, before = [], {}
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        before[signum] = signal.signal(signum, lambda number, frame: found.append(number))
    yield found
    for signum, handler in before.items():
        signal.signal(signum, handler)


def test_the_first_signal_is_remembered_and_the_second_of_the_keyboard_acts(received):
    with StopRequest() as stop:
        assert stop.signum is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signum == signal.SIGINT and received == []
        os.kill(os.getpid(), signal.SIGINT)
    assert received == [signal.SIGINT]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1])
def test_what_a_launcher_repeats_does_nothing_more(signum, received):
    with StopRequest() as stop:
        for number in (signum, signum, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert stop.signum == signum and received == []
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.signum == signum and received == [signal.SIGINT]
    os.kill(os.getpid(), signum)
    assert received == [signal.SIGINT, signum]


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
