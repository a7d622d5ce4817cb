"""One writer a directory, or one for each share of it."""

import errno
import json
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

try:
    import fcntl
except ImportError:  # Windows has no such lock; there the process number decides
    fcntl = None  # type: ignore[assignment]

_HEARTBEAT_S = 10.0
# A lock of another host that was not touched for so long is that of a writer that is gone.
_STALE_S = 120.0


class CorpusLockedError(ValueError):
    """Someone else writes to the directory; the message names the host and the process."""


class CorpusLock:
    """The right to write the tasks of one share out of `num_shares`, or what has another name, while the context lasts.

    On one host the operating system gives the lock free when its holder dies, however it dies. Of another host nothing
    is known but that a living holder touches its lock every few seconds.

    Raises:
        CorpusLockedError: someone else writes this share, or divides the tasks otherwise.
    """

    def __init__(self, directory: Path, *, share: int = 0, num_shares: int = 1, name: str | None = None) -> None:
        self._directory = directory / "locks"
        self._is_share = name is None
        self._path = self._directory / f"{name or f'{share}-of-{num_shares}'}.json"
        self._num_shares = num_shares
        self._descriptor: int | None = None
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._directory.mkdir(exist_ok=True)
        try:
            self._take()
            for other in self._directory.glob("*-of-*.json") if self._is_share else ():
                if other != self._path and not other.stem.endswith(f"-of-{self._num_shares}"):
                    self._refuse_if_held(other)
        except BaseException:
            self._release()
            raise
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._heart is not None:
            self._heart.join()
        self._release()

    def _take(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        holder = _read(descriptor)
        if not _flock(descriptor) or _is_alive_elsewhere(self._path, holder):
            os.close(descriptor)
            raise _locked(self._path, holder)
        self._descriptor = descriptor
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode())

    def _refuse_if_held(self, path: Path) -> None:
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return
        try:
            holder = _read(descriptor)
            if holder and (not _flock(descriptor) or _is_alive_elsewhere(path, holder)):
                raise _locked(path, holder)
        finally:
            os.close(descriptor)

    def _beat(self) -> None:
        while not self._ended.wait(_HEARTBEAT_S):
            with suppress(OSError):
                os.utime(self._path)

    def _release(self) -> None:
        if self._descriptor is not None:
            # Emptied and not removed: who waits for a removed file's lock would hold nothing.
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def _flock(descriptor: int) -> bool:
    if fcntl is None:
        return not _is_alive_here(_read(descriptor))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            return False
        if error.errno in {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}:  # a file system without locks
            return not _is_alive_here(_read(descriptor))
        raise
    return True


def _read(descriptor: int) -> dict[str, Any]:
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        holder = json.loads(os.read(descriptor, 1 << 12))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_alive_here(holder: dict[str, Any]) -> bool:
    if holder.get("host") != socket.gethostname() or not isinstance(holder.get("pid"), int):
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return bool(holder["pid"] != os.getpid())


def _is_alive_elsewhere(path: Path, holder: dict[str, Any]) -> bool:
    if not holder or holder.get("host") == socket.gethostname():
        return False
    # By the clock of the file system: those of two hosts need not agree.
    probe = path.with_name(f".clock.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime < _STALE_S
    finally:
        probe.unlink(missing_ok=True)


def _locked(path: Path, holder: dict[str, Any]) -> CorpusLockedError:
    return CorpusLockedError(
        f"{path.parent.parent} is being written by process {holder.get('pid', 'unknown')} on host "
        f"{holder.get('host', 'unknown')} (its lock is {path.name}); wait until it has ended, or end it"
    )
