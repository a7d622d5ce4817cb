"""What a file system must be told so that what was written survives a power loss."""

import os
from pathlib import Path


def sync_directory(path: Path) -> None:
    """Make renames inside a directory survive a power loss.

    Raises:
        OSError: It cannot be opened or synced.
    """
    if os.name == "nt":  # directories cannot be opened there; NTFS journals renames itself
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
