import os
import signal
import sys
import threading

import pytest

from cs336.train.signals import StopRequestedError, StopSignals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_remembered_and_the_handler_comes_back(number: int) -> None:
    before = signal.getsignal(number)
    with StopSignals() as signals:
        send(number)
        assert signals.received == number
    assert signal.getsignal(number) == before


def test_a_second_one_acts_as_it_would_without_us() -> None:
    with StopSignals() as signals:
        send(signal.SIGINT)
        assert signals.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_a_second_one_within_the_grace_is_the_first_one_again() -> None:
    with StopSignals(grace_s=1000) as signals:
        send(signal.SIGINT)
        send(signal.SIGINT)
        assert signals.received == signal.SIGINT


def test_a_second_one_after_the_grace_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 13.0])
    monkeypatch.setattr("cs336.train.signals.time.monotonic", lambda: next(times))
    with StopSignals(grace_s=2.0):
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_work_that_may_be_cut_short_is() -> None:
    with StopSignals() as signals:
        with pytest.raises(StopRequestedError), signals.interruptible():
            send(signal.SIGTERM)
        with pytest.raises(StopRequestedError), signals.interruptible():
            pytest.fail("it came before")


def test_other_threads_are_left_alone() -> None:
    handlers = []

    def enter() -> None:
        with StopSignals() as signals:
            handlers.append((signal.getsignal(signal.SIGTERM), signals.received))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [(before, None)]
