"""Gradient clipping by the norm of all gradients together."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def clip_gradients(params: Iterable[torch.nn.Parameter], max_norm: float, eps: float = 1e-6) -> Float[Tensor, ""]:
    """Scale all gradients by `max_norm / (norm + eps)` if that is below one (Pascanu et al. 2013, algorithm 1).

    Parameters without a gradient are skipped. Nothing waits for the device: the factor stays a tensor.

    Returns:
        The L2 norm of all gradients before clipping, in fp32 or wider.

    Raises:
        ValueError: max_norm is not positive.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be positive, got {max_norm}")
    grads = [param.grad for param in params if param.grad is not None]
    if not grads:
        return torch.zeros(())
    squares = [grad.to(torch.promote_types(grad.dtype, torch.float32)).square().sum() for grad in grads]
    norm = torch.stack([square.to(squares[0].device) for square in squares]).sum().sqrt()
    factor = (max_norm / (norm + eps)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(factor.to(grad.device))
    return norm
