"""Gradient clipping by the norm of all gradients together."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def clip_gradients(
    params: torch.nn.Parameter | Iterable[torch.nn.Parameter], max_norm: float, eps: float = 1e-6
) -> Float[Tensor, ""]:
    """Scale all gradients by `max_norm / (norm + eps)` if that is below one (Pascanu et al. 2013, algorithm 1).

    Parameters without a gradient are skipped; the others are on one device, which a handful of calls keeps busy, and
    which nothing waits for: the factor stays a tensor.

    Returns:
        The L2 norm of all gradients before clipping, in fp32 or wider.

    Raises:
        ValueError: max_norm is not positive.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be positive, got {max_norm}")
    if isinstance(params, torch.nn.Parameter):  # whose rows, gone through one by one, would have no gradients to clip
        params = [params]
    grads = [param.grad for param in params if param.grad is not None]
    if not grads:
        return torch.zeros(())
    wide = [grad.to(torch.promote_types(grad.dtype, torch.float32)) for grad in grads]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(list(torch._foreach_norm(wide))))
    torch._foreach_mul_(grads, (max_norm / (norm + eps)).clamp(max=1.0))
    return norm
