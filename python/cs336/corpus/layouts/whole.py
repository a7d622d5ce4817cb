"""Binary files that appear under their name whole, or not at all."""

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs336._disk import sync_directory


class WholeFile:
    """Written beside its name; `commit` syncs and renames it.

    Raises:
        OSError: There is no place for it.
        ValueError: The name is that of a directory, a device or a pipe.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._target = path.resolve()  # of a link not the link is replaced, but the file that it points to
        if self._target.exists() and not self._target.is_file():
            kind = "a directory" if self._target.is_dir() else "a device or a pipe"
            raise ValueError(f"{path} is {kind}, expected the name of a file")
        self._aside = self._target.with_name(f".{path.name}.tmp.{os.getpid()}")
        try:
            self._file = self._aside.open("wb")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error

    def write(self, content: bytes | NDArray[Any]) -> None:
        """Append bytes, or those of an array.

        Raises:
            OSError: The disk is full, say; with the final name.
        """
        data = memoryview(content if isinstance(content, bytes) else np.ascontiguousarray(content).data)
        try:
            self._file.write(data)
        except OSError as error:
            reason = f"cannot write {data.nbytes:,} bytes ({error.strerror})"
            raise OSError(error.errno, reason, str(self.path)) from error

    def write_at_start(self, content: bytes) -> None:
        """Replace the first bytes."""
        self._file.seek(0)
        self.write(content)
        self._file.seek(0, os.SEEK_END)

    def content(self, dtype: str) -> NDArray[Any]:
        """Map what was written so far as an array."""
        self._file.flush()
        if self._file.tell() == 0:
            return np.zeros(0, dtype)
        return np.memmap(self._aside, dtype, mode="r")

    def remove_earlier(self) -> None:
        """Remove what is under the name so far."""
        self._target.unlink(missing_ok=True)

    def commit(self) -> None:
        """Put the file, safely on disk, under its name."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._aside.replace(self._target)
            sync_directory(self._target.parent)
        except OSError as error:
            self.abandon()
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def abandon(self) -> None:
        """Remove it. Does nothing after `commit`."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._aside.unlink(missing_ok=True)
