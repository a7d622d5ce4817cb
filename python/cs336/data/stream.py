"""Batches on their way to the device: gathered there if the whole file is, else on the host, one step ahead."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int64
from torch import Tensor

from cs336.data.dataset import TokenDataset, as_ids
from cs336.data.order import Starts, WindowOrder

Batch = tuple[Int64[Tensor, "batch seq"], Int64[Tensor, "batch seq"]]
_LARGEST_SHARE = 4  # a file that takes more than a quarter of the free memory stays on the host


class BatchStream:
    """Inputs and targets of any step, on the device; asking for the steps in turn is the fast way.

    Args:
        dataset: The token file, or an array of ids.
        order: Which windows a step reads.
        batch_size: Windows of the global batch.
        context_length: Ids a window.
        device: Where the batches go.
        rows: Which rows of the global batch to read; all by default.
        is_resident: Keep the whole file on the device, and gather batches there. Otherwise a thread gathers the next
            step's batch while this one is computed, in pinned memory, so that the copy waits for nothing.
    """

    def __init__(
        self,
        dataset: npt.ArrayLike | TokenDataset,
        order: WindowOrder,
        *,
        batch_size: int,
        context_length: int,
        device: torch.device,
        rows: slice = slice(None),
        is_resident: bool = False,
    ) -> None:
        self._ids = as_ids(dataset)
        self._order = order
        self._batch_size = batch_size
        self._window = np.arange(context_length + 1)
        self._device = device
        self._rows = rows
        self._resident = _Resident(self._ids, context_length, device) if is_resident else None
        # On a CPU the thread would only take a core from the computation.
        self._prefetcher = None if is_resident or device.type == "cpu" else ThreadPoolExecutor(1, "batches")
        self._next: tuple[int, Future[Tensor]] | None = None

    def batch(self, step: int) -> Batch:
        """Return a step's inputs, and as targets the same windows one id further on."""
        windows = self._gathered(step) if self._resident is None else self._resident.windows(self._starts(step))
        return windows[:, :-1].clone(), windows[:, 1:].clone()

    def _starts(self, step: int) -> Starts:
        return self._order.starts(step, self._batch_size)[self._rows]

    def _gathered(self, step: int) -> Tensor:
        if self._prefetcher is None:
            return self._gather(step)
        known = self._next
        host = known[1].result() if known is not None and known[0] == step else self._gather(step)
        self._next = step + 1, self._prefetcher.submit(self._gather, step + 1)
        return host.to(self._device, non_blocking=True)

    def _gather(self, step: int) -> Tensor:
        windows = torch.from_numpy(self._ids[self._starts(step)[:, None] + self._window].astype(np.int64))
        return windows.pin_memory() if self._device.type == "cuda" else windows


class _Resident:
    """A token file in the device's memory, in as many bytes as on disk.

    PyTorch indexes no unsigned types; the same bits are kept as signed ones and widened after the gather.
    """

    def __init__(self, ids: npt.NDArray[np.integer[Any]], context_length: int, device: torch.device) -> None:
        native = np.ascontiguousarray(ids, ids.dtype.newbyteorder("="))
        signed = native.view(f"i{ids.dtype.itemsize}")
        self._ids = torch.tensor(signed, device=device)  # a copy: the file's pages are read-only
        self._mask = (1 << 8 * ids.dtype.itemsize) - 1 if ids.dtype.kind == "u" and ids.dtype.itemsize < 8 else -1
        self._window = torch.arange(context_length + 1, device=device)

    def windows(self, starts: Starts) -> Int64[Tensor, "batch window"]:
        begins = torch.from_numpy(starts)
        if self._ids.is_cuda:
            begins = begins.pin_memory()
        places = begins.to(self._ids.device, non_blocking=True)[:, None] + self._window
        return self._ids[places].long() & self._mask


def fits_on(device: torch.device, num_bytes: int) -> bool:
    """Return whether a token file of that size is kept on the device: on a GPU with four times as much memory free."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return num_bytes * _LARGEST_SHARE <= free
