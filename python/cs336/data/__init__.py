"""Token files -> batches."""

# ruff: noqa: E402  (the missing extra must be named before torch is imported)
from cs336._extras import require_extra

require_extra("train", modules=("torch", "jaxtyping"), needed_by=__name__)

from cs336.data.batch import get_batch
from cs336.data.dataset import TokenDataset, as_ids
from cs336.data.device import UnavailableDeviceError, resolve_device

__all__ = ["TokenDataset", "UnavailableDeviceError", "as_ids", "get_batch", "resolve_device"]
