"""SIGINT, SIGTERM and SIGUSR1 turned into a wish to stop that the loop meets at the end of a step.

SIGUSR1 is what SLURM can be asked to send before a job's time is up (`--signal=USR1@120`).
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self

CAUGHT = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class StopRequestedError(Exception):
    """Raised inside `StopSignals.interruptible` when a signal asks the run to stop."""


class StopSignals:
    """Context in which the first of these signals is remembered and a second one acts as it would without us.

    Outside the main thread Python allows no handlers; there the context does nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None
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
        self.received = number
        self._restore()
        if self._interruptible:
            raise StopRequestedError

    def _restore(self) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier = {}
