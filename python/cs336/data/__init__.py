"""Token files -> batches."""

# ruff: noqa: E402  (the missing extra must be named before torch is imported)
from cs336._extras import require_extra

require_extra("train", modules=("torch", "jaxtyping"), needed_by=__name__)

from cs336.data.batch import get_batch
from cs336.data.dataset import TokenDataset, as_ids
from cs336.data.device import UnavailableDeviceError, resolve_device
from cs336.data.order import Order, PermutedWindows, RandomWindows, window_order
from cs336.data.stream import BatchStream, fits_on

__all__ = [
    "BatchStream",
    "Order",
    "PermutedWindows",
    "RandomWindows",
    "TokenDataset",
    "UnavailableDeviceError",
    "as_ids",
    "fits_on",
    "get_batch",
    "resolve_device",
    "window_order",
]
