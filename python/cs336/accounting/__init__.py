"""What a model costs, as formulas: parameters, FLOPs, bytes, and time on a named device.

`counts` has parameters and FLOPs by part, `memory` what training holds, `devices` the peaks of known accelerators,
`handout` the course's GPT-2 models and the answers to its questions about them. Nothing is built or run.
"""

# ruff: noqa: E402  (the missing extra must be named before torch is imported)
from cs336._extras import require_extra

require_extra("train", modules=("torch", "jaxtyping"), needed_by=__name__)

from cs336.accounting.counts import (
    Flops,
    Parameters,
    adamw_flops,
    count_parameters,
    forward_flops,
    training_flops_per_token,
    training_s,
)
from cs336.accounting.devices import DEVICES, Device, find_device, recognise_device
from cs336.accounting.memory import (
    Activations,
    handout_activations,
    kv_cache_bytes,
    largest_batch,
    saved_activations,
    training_state_bytes,
)

__all__ = [
    "DEVICES",
    "Activations",
    "Device",
    "Flops",
    "Parameters",
    "adamw_flops",
    "count_parameters",
    "find_device",
    "forward_flops",
    "handout_activations",
    "kv_cache_bytes",
    "largest_batch",
    "recognise_device",
    "saved_activations",
    "training_flops_per_token",
    "training_s",
    "training_state_bytes",
]
