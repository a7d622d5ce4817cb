"""Stochastic gradient descent."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer


class SGD(Optimizer):
    """`theta <- theta - lr * grad`, or with `lr / sqrt(t + 1)` at step t = 0, 1, 2, ... (handout, "Implementing SGD").

    Args:
        params: Parameters, or groups of them as dictionaries.
        lr: Learning rate.
        inverse_sqrt_decay: Divide the learning rate by sqrt(t + 1).
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        *,
        inverse_sqrt_decay: bool = False,
    ) -> None:
        if not lr >= 0:
            raise ValueError(f"lr must be at least 0, got {lr}")
        super().__init__(params, {"lr": lr, "inverse_sqrt_decay": inverse_sqrt_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient; return the loss if a closure computes it."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state[param]
                t = state.get("t", 0)
                lr = group["lr"] / math.sqrt(t + 1) if group["inverse_sqrt_decay"] else group["lr"]
                param.sub_(param.grad, alpha=lr)
                state["t"] = t + 1
        return loss
