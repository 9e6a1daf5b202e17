"""Signals that ask a run to stop."""

import os
import signal
import threading

import pytest

from score_sde.runtime.signals import StopRequest


@pytest.fixture
def received():
    """The signals that reach the earlier handlers."""
    found, before = [], {}
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        before[signum] = signal.signal(signum, lambda number, frame: found.append(number))
    yield found
    for signum, handler in before.items():
        signal.signal(signum, handler)


def test_the_first_signal_is_recorded_and_a_second_ctrl_c_interrupts(received):
    with StopRequest() as stop:
        assert stop.signum is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signum == signal.SIGINT and received == []
        os.kill(os.getpid(), signal.SIGINT)
    assert received == [signal.SIGINT]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_a_repeated_signal_of_a_launcher_does_nothing(signum, received):
    with StopRequest() as stop:
        for number in (signum, signum, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert stop.signum == signum and received == []
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.signum == signum and received == [signal.SIGINT]
    os.kill(os.getpid(), signum)
    assert received == [signal.SIGINT, signum]


def test_earlier_handlers_are_restored():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_hang_up_that_is_ignored_stays_ignored(received):
    """As under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.signum is None
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_no_signal_is_watched_outside_the_main_thread():
    found = []

    def work():
        with StopRequest() as stop:
            found.append(stop.signum)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]
