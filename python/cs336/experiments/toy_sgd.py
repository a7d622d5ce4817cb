"""The handout's toy: SGD on a mean of squares, whose gradient is known, at rates from slow to broken.

The weights are `5 N(0, 1)`, 10 x 10; the loss is their mean square; step t moves by `lr / sqrt(t + 1)` times the
gradient `2 w / 100`. Each step therefore multiplies every weight by `1 - 2 lr / (100 sqrt(t + 1))`, and the loss by its
square: lr = 100 makes the first factor -1, which changes nothing, and lr = 1000 makes it -19.
"""

import math
from collections.abc import Sequence

import torch

from cs336.optim import SGD

RATES = (1.0, 10.0, 100.0, 1000.0)
_NUM_WEIGHTS = 100


def run_toy(lr: float, *, num_steps: int = 10, seed: int = 0) -> list[float]:
    """Return the loss before each step, and after the last one.

    Raises:
        ValueError: The rate is negative.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = torch.nn.Parameter(5 * torch.randn(10, 10, generator=generator, dtype=torch.float64))
    optimizer = SGD([weights], lr, inverse_sqrt_decay=True)
    losses = []
    for _ in range(num_steps + 1):
        optimizer.zero_grad()
        loss = (weights**2).mean()
        losses.append(loss.item())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return losses


def predicted(first_loss: float, lr: float, *, num_steps: int = 10) -> list[float]:
    """Return what the formula says that the losses are."""
    losses = [first_loss]
    for step in range(num_steps):
        losses.append(losses[-1] * (1 - 2 * lr / (_NUM_WEIGHTS * math.sqrt(step + 1))) ** 2)
    return losses


def toy_table(rates: Sequence[float] = RATES, *, num_steps: int = 10, seed: int = 0) -> list[tuple[str, ...]]:
    """Return a row for each number of steps made, with the loss at each rate."""
    columns = [run_toy(lr, num_steps=num_steps, seed=seed) for lr in rates]
    return [(str(step), *(f"{losses[step]:.4g}" for losses in columns)) for step in range(num_steps + 1)]
