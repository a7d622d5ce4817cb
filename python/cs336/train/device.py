"""Where and in which precision a run computes: what "auto" means on this machine."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from cs336.data import resolve_device

# parameters of glibc's mallopt(3), and their values
_MAPPED_FROM = (-3, 32 << 20)  # M_MMAP_THRESHOLD, at its greatest: blocks of that size have mappings of their own
_NO_TRIMMING = (-1, -1)  # M_TRIM_THRESHOLD: never


def choose_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is a CUDA GPU if there is one.

    Raises:
        ValueError: This machine has no such device.
    """
    return resolve_device("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else resolve_device(name)


def choose_precision(name: str, device: torch.device) -> str:
    """Return `fp32` or `bf16`; `auto` is bf16 where the device multiplies matrices in it rather than emulating it."""
    if name != "auto":
        return name
    is_fast = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu_computes_bf16()
    return "bf16" if is_fast else "fp32"


def cpu_computes_bf16() -> bool:
    """Return whether the CPU has AMX tiles or AVX-512 BF16; without them bf16 is slower than fp32."""
    get_capabilities = getattr(torch.backends.cpu, "get_capabilities", None)
    if get_capabilities is not None:
        found = {name for name, has in dict(get_capabilities()).items() if has}
        return bool(found & {"amx_bf16", "amx_tile", "avx512_bf16"})
    for probe in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        supported = getattr(torch.cpu, probe, None)
        if supported is not None and supported():
            return True
    return bool(_cpu_flags() & {"amx_bf16", "avx512_bf16"})


def default_num_threads() -> int:
    """Return what `OMP_NUM_THREADS` asks for, else the physical cores this process may use.

    A second thread on a core only slows matrix products down.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) > 0 else _physical_cores()


def _physical_cores() -> int:
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = {_core_of(cpu) for cpu in usable}
    return max(1, min(len(cores), _quota() or len(cores)))


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use ``count`` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, rather than give it back; return whether its C library can.

    A step on a CPU frees nearly all that it allocates. glibc returns large blocks, and the end of the heap, to the
    system at once, and the next step gets them back page by page, each set to zero first: 120,000 page faults and a
    tenth of the time of a step of the base model, uncompiled. It is for the whole process, and for good.

    Blocks from 32 MiB on are returned all the same: kept, those of large micro-batches left holes that no other block
    filled: 64 sequences of the base model took 2.4 GB instead of 2.1.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    return all(libc.mallopt(parameter, value) == 1 for parameter, value in (_MAPPED_FROM, _NO_TRIMMING))


def _core_of(cpu: int) -> tuple[str, str]:
    topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    try:
        return (topology / "physical_package_id").read_text().strip(), (topology / "core_id").read_text().strip()
    except OSError:
        return "", str(cpu)


def _quota() -> int | None:
    """Return the whole CPUs a container may use, rounded up; None without a limit."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if limit == "max" else max(1, -(-int(limit) // int(period)))
    except (OSError, ValueError):
        return None


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
