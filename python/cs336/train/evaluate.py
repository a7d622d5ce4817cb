"""The loss on a whole file."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cs336.data import as_ids, resolve_device
from cs336.train.distributed import ALONE, Ranks
from cs336.train.loss import cross_entropy, perplexity


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        loss: Mean over the predicted ids, in nats.
        num_tokens: Number of ids predicted: one less than the ids read.
        perplexity: `exp(loss)`.
    """

    loss: float
    num_tokens: int
    perplexity: float


@torch.no_grad()
def evaluate(
    model: nn.Module,
    dataset: npt.ArrayLike,
    *,
    batch_size: int,
    context_length: int,
    device: str | torch.device = "cpu",
    max_tokens: int | None = None,
) -> Evaluation:
    """Predict every id of a file but the first, once, from the ids before it in its window.

    The windows do not overlap and leave nothing out, so the result is exact and draws no random numbers.

    Args:
        model: Ids in, logits out. Its training mode is restored.
        dataset: One-dimensional array of ids, a TokenDataset or a memory map.
        batch_size: Windows a forward pass; does not change the result beyond rounding.
        context_length: Ids a window; the last may be shorter.
        device: Where the model is.
        max_tokens: Predict only the first so many ids.

    Raises:
        ValueError: Fewer than two ids, or no row of integers; a size below one; or no such device.
    """
    ids = as_ids(dataset)
    device = resolve_device(device)
    for name, value in (("batch_size", batch_size), ("context_length", context_length), ("max_tokens", max_tokens)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if len(ids) < 2:
        raise ValueError(f"evaluation needs at least 2 ids, one to predict the next from, got {len(ids)}")
    num_targets = min(len(ids) - 1, max_tokens or len(ids))
    return evaluate_on_ranks(
        _Loss(model), ids[: num_targets + 1], batch_size=batch_size, context_length=context_length, device=device
    )


@torch.no_grad()
def evaluate_on_ranks(
    objective: nn.Module,
    dataset: npt.ArrayLike,
    *,
    batch_size: int,
    context_length: int,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> Evaluation:
    """Do what `evaluate` does with the loss as a module, each rank taking every so-many-th batch.

    A rank that has no batch left while others have one computes its last one again and does not count it: sharded
    weights are gathered by all ranks together, or by none.
    """
    ids = as_ids(dataset)
    losses: list[Tensor] = []  # looked at once all are under way: a GPU is never waited for in between
    sizes: list[int] = []
    was_training = objective.training
    objective.eval()
    try:
        for turn in _turns(_windows(ids, batch_size, context_length), ranks.world_size):
            inputs, targets = turn[min(ranks.rank, len(turn) - 1)]
            losses.append(objective(_moved(inputs, device), _moved(targets, device)))
            sizes.append(targets.numel() if ranks.rank < len(turn) else 0)
    finally:
        objective.train(was_training)
    total = sum(loss * size for loss, size in zip(torch.stack(losses).tolist(), sizes, strict=True))
    num_targets = len(ids) - 1
    mean = ranks.sum(total) / num_targets
    return Evaluation(loss=mean, num_tokens=num_targets, perplexity=perplexity(mean))


class _Loss(nn.Module):
    """The loss of a model that gives logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training  # which is what is restored

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(self.model(inputs), targets)


def _moved(ids: Tensor, device: torch.device) -> Tensor:
    """Bring ids to the device; from pinned memory to a GPU, or the copy would wait for all that it is computing."""
    return ids.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else ids.to(device)


def _turns(batches: Iterator[tuple[Tensor, Tensor]], size: int) -> Iterator[list[tuple[Tensor, Tensor]]]:
    while turn := list(itertools.islice(batches, size)):
        yield turn


def _windows(ids: npt.NDArray[np.integer], batch_size: int, context_length: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs and targets: batches of whole windows, and last the ragged one."""
    num_whole = (len(ids) - 1) // context_length
    for row in range(0, num_whole, batch_size):
        stop = min(row + batch_size, num_whole) * context_length
        yield _shifted_rows(ids[row * context_length : stop + 1], context_length)
    tail = ids[num_whole * context_length :]
    if len(tail) > 1:
        yield _shifted_rows(tail, len(tail) - 1)


def _shifted_rows(ids: npt.NDArray[np.integer], row_length: int) -> tuple[Tensor, Tensor]:
    block = torch.from_numpy(ids.astype(np.int64))
    return block[:-1].view(-1, row_length), block[1:].view(-1, row_length)
