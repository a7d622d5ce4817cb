"""Gradients -> weights: optimizers, learning-rate schedules, gradient clipping."""

# ruff: noqa: E402  (the missing extra must be named before torch is imported)
from cs336._extras import require_extra

require_extra("train", modules=("torch", "jaxtyping"), needed_by=__name__)

from cs336.optim.adamw import AdamW
from cs336.optim.clip import clip_gradients
from cs336.optim.groups import parameter_groups
from cs336.optim.muon import Muon
from cs336.optim.schedule import cosine_schedule, linear_schedule, wsd_schedule
from cs336.optim.sgd import SGD

__all__ = [
    "SGD",
    "AdamW",
    "Muon",
    "clip_gradients",
    "cosine_schedule",
    "linear_schedule",
    "parameter_groups",
    "wsd_schedule",
]
