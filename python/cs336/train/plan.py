"""How a step is carried out on this device: what the config leaves open, decided by rules and written into run.json.

None of it changes what is learnt, beyond rounding. On a CPU these are rules rather than measurements, because a resumed
run must decide as the run before it did, or it would not end with the same bytes.
"""

import shutil
import warnings
from dataclasses import dataclass

import torch
from torch.utils._triton import has_triton

from cs336.accounting import count_parameters, saved_activations, training_flops_per_token, training_state_bytes
from cs336.config import TrainConfig
from cs336.train.device import default_num_threads
from cs336.train.distributed import ALONE, Ranks

# Beyond so many tokens a larger micro-batch saves nothing on a CPU, and its activations leave the caches.
_CPU_MICRO_BATCH_TOKENS = 4096
# Below so many tokens a GPU computes faster than kernels can be launched; a graph launches them at once.
_GRAPH_TOKENS = 16_384
# On a CPU the logits of few positions stay in its caches: 256 were a tenth faster than 1,024 with 4,096 ids.
# But each chunk adds to the whole gradient of the head: 1,024 were 6 % faster than 256 with 10,048 ids. On a GPU a
# chunk is a few launches, and must be worth them.
_LOSS_CHUNK_SIZE = {"cpu": 512, "cuda": 4096}
# what those say that have no error of their own for it: PyTorch on the host, the CUDA runtime, cuBLAS
_SIGNS_OF_LITTLE_MEMORY = ("not enough memory", "can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
_BYTES_PER_VALUE = {"fp32": 4, "bf16": 2}
_USABLE_SHARE = 0.7  # of the free memory: the rest is fragments, workspaces and whatever the formula does not know
# Seconds to compile; FLOP/s of a step as it is written (for each CPU thread); the share of it that compiling saves.
_COMPILE_S = 45.0
_WRITTEN_FLOPS_PER_S = {"cpu": 80e9, "cuda": 150e12}
_SAVED_SHARE = {"cpu": 0.18, "cuda": 0.5}


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """How a step is carried out.

    Attributes:
        micro_batch_size: Sequences worked off at a time.
        loss_chunk_size: Positions whose logits are in memory at a time; None takes all at once.
        compiled: Whether forward, loss, backward and the optimizer are compiled.
        cuda_graphs: Whether the compiled kernels are launched as one graph; only where a step is one micro-batch: the
            next replay would overwrite the gradients that the one before has left in the graph's memory.
    """

    micro_batch_size: int
    loss_chunk_size: int | None
    compiled: bool
    cuda_graphs: bool


def plan_step(
    config: TrainConfig,
    device: torch.device,
    *,
    precision: str,
    num_rows: int,
    ranks: Ranks = ALONE,
) -> StepPlan:
    """Decide what the config leaves open; of several ranks each calls it, and all get the same micro-batches.

    The memory that is free may differ between them, but one that took its micro-batches otherwise would gather weights
    when no other does, and share the held-out text out otherwise.

    Args:
        config: The run.
        device: Where it computes.
        precision: In what, `fp32` or `bf16`.
        num_rows: Sequences of a step that this process works off.
        ranks: Those that train together.
    """
    own_size = min(num_rows, config.micro_batch_size or derived_micro_batch(config, device, precision, num_rows))
    micro_batch_size = min(ranks.gather(own_size))
    compiled = config.compile if config.compile is not None else pays_to_compile(config, device)
    num_tokens = micro_batch_size * config.model.context_length
    graphs = (
        config.cuda_graphs if config.cuda_graphs is not None else num_tokens <= _GRAPH_TOKENS and not ranks.are_several
    )
    can_graph = compiled and device.type == "cuda" and micro_batch_size == num_rows
    chunk_size = config.loss_chunk_size
    return StepPlan(
        micro_batch_size=micro_batch_size,
        loss_chunk_size=_LOSS_CHUNK_SIZE.get(device.type, 1024) if chunk_size == "auto" else chunk_size,
        compiled=compiled,
        cuda_graphs=graphs and can_graph,
    )


def derived_micro_batch(config: TrainConfig, device: torch.device, precision: str, num_rows: int) -> int:
    """Return the largest even part of a rank's rows that suits the device: its memory, or a CPU's caches."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        state = training_state_bytes(count_parameters(config.model).total)
        per_sequence = activation_bytes(config, precision)
        limit = int(max(0, _USABLE_SHARE * free - state) // per_sequence)
    else:
        limit = _CPU_MICRO_BATCH_TOKENS // config.model.context_length
    return largest_divisor(num_rows, at_most=max(1, limit))


def activation_bytes(config: TrainConfig, precision: str) -> int:
    """Return the bytes that autograd keeps for one sequence, the loss's share included.

    In chunks the loss keeps the gradient of what the head reads, and its logits are shared by the whole micro-batch.
    """
    kept, size = saved_activations(config.model), _BYTES_PER_VALUE[precision]
    # softmax is computed in fp32 whatever the precision
    blocks = size * (kept.total - kept.lm_head - kept.attention_scores) + 4 * kept.attention_scores
    if config.loss_chunk_size is None:
        return blocks + 4 * kept.lm_head
    return blocks + size * config.model.context_length * config.model.d_model


def pays_to_compile(config: TrainConfig, device: torch.device) -> bool:
    """Return whether the run is long enough to win back the time that compiling takes; it needs a compiler, too."""
    if device.type not in _SAVED_SHARE or not _has_compiler(device):
        return False
    num_tokens = config.num_steps * config.tokens_per_step
    rate = _WRITTEN_FLOPS_PER_S[device.type]
    if device.type == "cpu":
        rate *= config.num_threads or default_num_threads()
    seconds = num_tokens * training_flops_per_token(config.model) / rate
    return seconds * _SAVED_SHARE[device.type] > 2 * _COMPILE_S


def _has_compiler(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(has_triton())
    return any(shutil.which(name) is not None for name in ("g++", "clang++"))


def largest_divisor(number: int, *, at_most: int) -> int:
    """Return the largest divisor of a number up to a limit."""
    return next(size for size in range(min(number, at_most), 0, -1) if number % size == 0)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that a tensor found no room, on a GPU or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(sign in text for sign in _SIGNS_OF_LITTLE_MEMORY)


def warn(text: str) -> None:
    """Say it on stderr, whoever listens."""
    warnings.warn(text, RuntimeWarning, stacklevel=3)
