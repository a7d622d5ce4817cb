"""Random windows of a token sequence as training examples."""

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int64
from torch import Tensor

from cs336.data.dataset import as_ids
from cs336.data.device import resolve_device
from cs336.data.order import draw_starts


def get_batch(
    ids: npt.ArrayLike,
    batch_size: int,
    context_length: int,
    device: str | torch.device = "cpu",
    *,
    generator: torch.Generator | None = None,
) -> tuple[Int64[Tensor, "batch seq"], Int64[Tensor, "batch seq"]]:
    """Draw windows uniformly, with replacement: the inputs, and as targets the same windows one id further on.

    With n ids a window starts at any of 0 .. n - context_length - 1 (handout, "Data loader").

    Args:
        ids: One-dimensional array of ids, a TokenDataset or a memory map; only the drawn windows are read.
        batch_size: Number of windows.
        context_length: Ids a window.
        device: Where the batch goes.
        generator: Source of the starts, on the CPU; PyTorch's global one by default.

    Raises:
        ValueError: `ids` is no row of integers, or has too few for one window and its target; a size is below one; or
            there is no such device.
    """
    array = as_ids(ids)
    device = resolve_device(device)
    if batch_size < 1 or context_length < 1:
        raise ValueError(f"batch_size and context_length must be at least 1, got {batch_size} and {context_length}")
    num_starts = len(array) - context_length
    if num_starts < 1:
        raise ValueError(
            f"need at least context_length + 1 = {context_length + 1} ids for one example, got {len(array)}; "
            "use more text or a shorter context"
        )
    starts = draw_starts(num_starts, batch_size, generator=generator)
    windows = torch.from_numpy(array[starts[:, None] + np.arange(context_length + 1)].astype(np.int64))
    if device.type == "cuda":
        windows = windows.pin_memory()  # lets the copy run beside the computation
    windows = windows.to(device, non_blocking=True)
    return windows[:, :-1].clone(), windows[:, 1:].clone()
