"""Files and directories that appear under their name whole or not at all, and survive a power loss once they do."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path


def write_file(path: Path, content: bytes) -> None:
    """Write beside the final name, sync, rename; an existing file is replaced in one step.

    Raises:
        OSError: The disk is full or the place cannot be written; nothing changed under the final name.
    """
    aside = path.with_name(path.name + ".tmp")
    try:
        _write_synced(aside, content)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise _named(error, path, size_bytes=len(content)) from error
    _sync_directory(path.parent)


def write_directory(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write a directory of files beside the final name, sync, rename; parents are made.

    An existing directory is first renamed to `<name>.old` and removed last: at every moment one of the two is whole.

    Raises:
        OSError: The disk is full or the place cannot be written; nothing changed under the final name.
    """
    aside, old = path.with_name(path.name + ".tmp"), path.with_name(path.name + ".old")
    try:
        shutil.rmtree(aside, ignore_errors=True)  # what a crash left
        aside.mkdir(parents=True)
        for name, content in contents.items():
            _write_synced(aside / name, content)
        _sync_directory(aside)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        aside.rename(path)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise _named(error, path, size_bytes=sum(map(len, contents.values()))) from error
    _sync_directory(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    """Make renames inside a directory survive a power loss."""
    if os.name == "nt":  # directories cannot be opened there; NTFS journals renames itself
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _named(error: OSError, path: Path, *, size_bytes: int) -> OSError:
    """Return the error with what could not be written; its errno picks the class (FileNotFoundError, ...)."""
    return OSError(error.errno, f"cannot write {size_bytes:,} bytes ({error.strerror})", str(path))
