"""How fast a run is, how near to what its device can do, and how much memory it takes."""

from typing import Any

import torch

from cs336._memory import peak_resident_bytes, reset_peak_resident
from cs336.accounting import recognise_device, training_flops_per_token
from cs336.config import TrainConfig
from cs336.train.learner import Learner


class Meter:
    """Turns steps and seconds into what a record says about speed; its making is where the peak of memory begins.

    Attributes:
        memory_of: Whose peak of memory `read` tells: the `run`'s, or the `process`'s where that cannot begin anew.

    Args:
        config: Of the run.
        learner: Its device and precision.
        num_ranks: Devices that share the work.
    """

    def __init__(self, config: TrainConfig, learner: Learner, *, num_ranks: int) -> None:
        self._tokens_per_step = config.tokens_per_step
        self._device = learner.device
        self._flops_per_token = training_flops_per_token(config.model)
        peak = _peak_flops(learner.device, learner.precision)
        self._peak_flops = None if peak is None else num_ranks * peak
        self.memory_of = "run" if _reset_peak_memory(learner.device) else "process"

    def read(self, *, num_steps: int, seconds: float) -> dict[str, Any]:
        """Return tokens/s, the peak memory so far, and MFU where the device's peak is known.

        MFU is the FLOPs of forward and backward (`cs336.accounting`) a second, over the peak of all devices.
        """
        tokens_per_s = num_steps * self._tokens_per_step / seconds
        values: dict[str, Any] = {"tokens_per_s": round(tokens_per_s, 1)}
        if self._peak_flops is not None:
            values["mfu"] = round(tokens_per_s * self._flops_per_token / self._peak_flops, 4)
        return values | {"memory_bytes": peak_memory_bytes(self._device)}


def _peak_flops(device: torch.device, precision: str) -> float | None:
    """Return the maker's rate of dense matrix products; None for a device that is not in the table."""
    known = recognise_device(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return next((rate for name, rate in known.flops_per_s.items() if name == precision), None) if known else None


def peak_memory_bytes(device: torch.device) -> int | None:
    """Return the most memory held: on a GPU by PyTorch's allocator, else by the whole process; None if unknown."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_resident_bytes()


def _reset_peak_memory(device: torch.device) -> bool:
    """Let the peak begin anew, since runs of a sweep share a process; return whether that is possible."""
    if device.type != "cuda":
        return reset_peak_resident()
    torch.cuda.reset_peak_memory_stats(device)
    return True
