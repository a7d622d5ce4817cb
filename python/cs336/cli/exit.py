"""How the command ends: exit codes, and one line on stderr for what a user can mend."""

import contextlib
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from enum import IntEnum
from types import FrameType
from typing import TextIO


class ExitCode(IntEnum):
    """What the command tells the shell."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    INTERRUPTED = 130
    WARNED = 138  # SIGUSR1: time is nearly up
    TERMINATED = 143


class UsageError(Exception):
    """The arguments do not go together in a way the parser cannot see."""


class _TerminatedError(BaseException):
    """SIGTERM, as KeyboardInterrupt is SIGINT: no `except Exception` takes it for a failure."""


def run_guarded(run: Callable[[], int]) -> int:
    """Run a verb; turn the errors that users cause into one line and an exit code, and let our own bugs show."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell (>&-): what goes there goes nowhere
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115  (as long as the process)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does: no text is lost to a terminal's encoding
    try:
        with _terminable(), warnings.catch_warnings():
            warnings.showwarning = _warn
            code = run()
            _flush_stdout()
        return code
    except KeyboardInterrupt:
        return _complain("interrupted", code=ExitCode.INTERRUPTED)
    except _TerminatedError:
        return _complain("terminated", code=ExitCode.TERMINATED)
    except BrokenPipeError:
        return ExitCode.FAILURE  # whoever read stdout has gone
    except Exception as error:
        message = _explain(error)
        if message is None:
            raise
        return _complain(message, code=ExitCode.USAGE if isinstance(error, UsageError) else ExitCode.FAILURE)
    finally:
        _give_up_stdout_if_stuck()


def signal_exit_code(number: int) -> int:
    """Return the shell's code for a process that a signal ended."""
    return 128 + number


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that half-written files are removed and the terminal's cursor comes back."""
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield
        return

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise _TerminatedError

    earlier = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier or signal.SIG_DFL)


def _flush_stdout() -> None:
    """Write what is buffered while a failure can still be told in one line; at exit it could not.

    Raises:
        OSError: The disk is full (or BrokenPipeError: the reader has left).
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        raise OSError(error.errno, error.strerror, "stdout") from error


def _give_up_stdout_if_stuck() -> None:
    """Send what cannot be written nowhere: Python would try once more at exit, and complain in its own words."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _warn(  # noqa: PLR0917  (the signature is Python's)
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Stand in for `warnings.showwarning`: users have no use for the line of code that warns."""
    sys.stderr.write(f"cs336: warning: {' '.join(str(message).split())}\n")


def _complain(message: str, *, code: int = ExitCode.FAILURE) -> int:
    sys.stderr.write(f"cs336: error: {' '.join(message.split())}\n")
    return code


def _explain(error: Exception) -> str | None:
    """Return what to tell the user; None if only we can mend it."""
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        reason = reason[:1].lower() + reason[1:]
        return f"{reason}: {error.filename}" if error.filename is not None else reason
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        return f"out of memory; make the model or the batch smaller ({str(error) or 'allocation failed'})"
    is_missing_extra = isinstance(error, ModuleNotFoundError) and "pip install" in str(error)
    is_users = isinstance(error, ValueError | OverflowError | UsageError)  # of these the second: a number too large
    return str(error) if is_users or is_missing_extra else None


def _is_out_of_memory(error: Exception) -> bool:
    """PyTorch has a class for it on the GPU, and a sentence for it on the CPU."""
    words = ("can't allocate memory", "out of memory")
    return type(error).__name__ == "OutOfMemoryError" or any(w in str(error) for w in words)
