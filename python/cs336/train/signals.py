"""SIGINT, SIGTERM and SIGUSR1 turned into a wish to stop that the loop meets at the end of a step.

SIGUSR1 is what SLURM can be asked to send before a job's time is up (`--signal=USR1@120`).
"""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self

CAUGHT = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class StopRequestedError(Exception):
    """Raised inside `StopSignals.interruptible` when a signal asks the run to stop."""


class StopSignals:
    """Context in which the first of these signals is remembered and a second one acts as it would without us.

    Outside the main thread Python allows no handlers; there the context does nothing.

    Args:
        grace_s: A second signal sooner than this is the first one again: Ctrl-C reaches torchrun's processes once from
            the terminal and once from torchrun.
    """

    def __init__(self, *, grace_s: float = 0.0) -> None:
        self.received: int | None = None
        self._grace_s = grace_s
        self._received_at = 0.0
        self._earlier: dict[int, Any] = {}
        self._interruptible = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._earlier = {number: signal.signal(number, self._remember) for number in CAUGHT}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Mark work that may be cut short, since a resumed run does it again.

        Raises:
            StopRequestedError: a signal came, now or earlier.
        """
        self._interruptible = True
        try:
            if self.received is not None:
                raise StopRequestedError
            yield
        finally:
            self._interruptible = False

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            if time.monotonic() - self._received_at >= self._grace_s:
                self._restore()
                signal.raise_signal(number)
            return
        self.received, self._received_at = number, time.monotonic()
        if self._grace_s == 0:
            self._restore()
        if self._interruptible:
            raise StopRequestedError

    def _restore(self) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier = {}
