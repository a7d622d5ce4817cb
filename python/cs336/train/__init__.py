"""Batches -> trained weights: the loss, the loop, validation, checkpoints, run directories."""

# ruff: noqa: E402  (the missing extra must be named before torch is imported)
from cs336._extras import require_extra

require_extra("train", modules=("torch", "jaxtyping", "safetensors"), needed_by=__name__)

from cs336.train.checkpoint import load_checkpoint, save_checkpoint
from cs336.train.evaluate import Evaluation, evaluate
from cs336.train.loop import train
from cs336.train.loss import bits_per_byte, cross_entropy, perplexity
from cs336.train.progress import TrainResult

__all__ = [
    "Evaluation",
    "TrainResult",
    "bits_per_byte",
    "cross_entropy",
    "evaluate",
    "load_checkpoint",
    "perplexity",
    "save_checkpoint",
    "train",
]
