"""Files and directories that appear under their name whole or not at all, and survive a power loss once they do."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cs336._disk import sync_directory

try:
    import fcntl
except ImportError:  # Windows has no such lock
    fcntl = None  # type: ignore[assignment]


def write_file(path: Path, content: bytes) -> None:
    """Write beside the final name, sync, rename; an existing file is replaced in one step.

    Raises:
        OSError: The disk is full or the place cannot be written; nothing changed under the final name.
    """
    aside = path.with_name(path.name + ".tmp")
    try:
        with _sole_writer(path.parent):
            try:
                write_synced(aside, content)
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)
            sync_directory(path.parent)
    except OSError as error:
        raise _named(error, path, size_bytes=len(content)) from error


def write_directory(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write a directory of files beside the final name, sync, rename; parents are made.

    An existing directory of such files is first renamed to `<name>.replaced` and removed last: at every moment one of
    the two is whole.

    Raises:
        OSError: The disk is full, or the place cannot be written or holds other files; nothing changed under the
            final name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _sole_writer(path.parent):
            _replace_directory(path, contents)
    except OSError as error:
        raise _named(error, path, size_bytes=sum(map(len, contents.values()))) from error


def begin_directory(path: Path) -> Path:
    """Make the empty place aside in which a directory is filled before `finish_directory`; parents are made.

    For a directory that several processes fill; one process has `write_directory`.

    Raises:
        OSError: The place cannot be written.
    """
    aside = path.with_name(path.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)  # what a crash left
    aside.mkdir(parents=True)
    return aside


def finish_directory(path: Path) -> None:
    """Give the directory filled aside its name in one step, in place of an earlier one; its files must be synced.

    Raises:
        OSError: It cannot be renamed; whatever was at the path before is there.
    """
    aside, replaced = path.with_name(path.name + ".tmp"), path.with_name(path.name + ".replaced")
    try:
        for directory in (*(entry for entry in aside.rglob("*") if entry.is_dir()), aside):
            sync_directory(directory)
        if path.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            path.rename(replaced)
        aside.rename(path)
    finally:
        if replaced.exists() and not path.exists():  # it failed between the renames, now or in an earlier process
            replaced.rename(path)
        shutil.rmtree(aside, ignore_errors=True)
    sync_directory(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file that survives a power loss, in a directory that nobody else reads yet.

    Raises:
        OSError: The disk is full, or the place cannot be written.
    """
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _replace_directory(path: Path, contents: Mapping[str, bytes]) -> None:
    if path.exists():
        _check_holds_only(path, contents)
    aside = begin_directory(path)
    try:
        for name, content in contents.items():
            write_synced(aside / name, content)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    finish_directory(path)


def _check_holds_only(path: Path, names: Iterable[str]) -> None:
    """Guard what is not ours: replacing a directory deletes everything in it."""
    others = sorted({entry.name for entry in path.iterdir() if not entry.name.startswith(".")}.difference(names))
    if others:
        raise FileExistsError(errno.EEXIST, f"it holds {others[0]}, which would be lost; choose another directory")


@contextlib.contextmanager
def _sole_writer(directory: Path) -> Iterator[None]:
    """Let writers into a directory one at a time; the operating system gives way when one crashes."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot lock a directory
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _named(error: OSError, path: Path, *, size_bytes: int) -> OSError:
    """Return the error with what could not be written; its errno picks the class (FileNotFoundError, ...)."""
    return OSError(error.errno, f"cannot write {size_bytes:,} bytes ({error.strerror})", str(path))
