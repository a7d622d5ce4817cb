"""The most memory that this process has held, and a new beginning for that number.

Linux keeps it in `/proc/self/status`, and starts anew when 5 is written to `/proc/self/clear_refs` (proc(5)). What
`getrusage` says begins with what the parent held at the fork; it is all there is elsewhere.
"""

import ctypes
import gc
import sys
from pathlib import Path

try:
    import resource
except ImportError:  # Windows has no such count
    resource = None  # type: ignore[assignment]

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_resident_bytes() -> int | None:
    """Return the most bytes that this process held since it began, or since the last reset; None if nobody counts."""
    try:
        lines = _STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    if resource is None:
        return None
    in_units = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return in_units if sys.platform == "darwin" else in_units * 1024


def reset_peak_resident() -> bool:
    """Let the peak begin anew from what is in use now; return whether this system can.

    What was freed and kept (`cs336.train.device.keep_freed_memory`) goes back first: a run of batch 16 after those of
    batch 64 in one process was counted with 1.43 GB, theirs, instead of 1.15.
    """
    gc.collect()
    _trim()
    try:
        _CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _trim() -> None:
    """Give freed memory back, where the C library is glibc."""
    if sys.platform == "linux":
        malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if malloc_trim is not None:
            malloc_trim(0)
