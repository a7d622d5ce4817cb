"""Muon: momentum whose matrices are orthogonalised, beside AdamW for everything else."""

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from cs336.optim.adamw import AdamW

# The quintic of Keller Jordan's Muon: f(x) = a x + b x^3 + c x^5 sends all of (0.01, 1] near 1 in five rounds. It does
# not converge, and need not: singular values between 0.7 and 1.2 do as well.
_QUINTIC = (3.4445, -4.7750, 2.0315)


class Muon(AdamW):
    """Momentum orthogonalised by Newton-Schulz for matrices (Jordan et al. 2024), AdamW for the rest.

    At each step, for a matrix W of shape (m, n) with gradient g:

        M <- momentum * M + g
        W <- W - lr * weight_decay * W
        W <- W - lr * 0.2 sqrt(max(m, n)) * orthogonal(g + momentum * M)

    where `orthogonal` replaces all singular values by about 1. The factor gives the update the root mean square of an
    AdamW update, about 0.2, so that both take the same lr and weight_decay (Liu et al. 2025, arXiv:2502.16982,
    equation 4).

    Of a matrix of which each rank holds a share (FSDP2) the gradient is gathered whole, once a step, and orthogonalised
    on every rank: a share has other singular vectors than the matrix it is cut from.

    Args:
        params: Matrices, or groups as dictionaries; a group with `"orthogonal": False` is left to AdamW.
        lr: Learning rate of both; may be changed between steps through `param_groups`.
        momentum: Decay rate of M.
        betas: For AdamW.
        eps: For AdamW.
        weight_decay: Decay rate of both, in units of the learning rate.
        orthogonal: What groups do that do not say.
        in_bf16: Orthogonalise in bf16 rather than fp32, which is many times faster where the device computes in it. The
            iteration only levels singular values, and needs no more.
        compiled: For AdamW.

    Raises:
        ValueError: A setting is out of range, or a parameter to be orthogonalised is no matrix.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        orthogonal: bool = True,
        in_bf16: bool = False,
        compiled: bool = False,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}")
        groups: list[Any] = list(params)
        if groups and not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        options = {"orthogonal": orthogonal, "momentum": momentum, "in_bf16": in_bf16}
        groups = [options | group for group in groups]
        super().__init__(groups, lr, betas=betas, eps=eps, weight_decay=weight_decay, foreach=True, compiled=compiled)
        for group in self.param_groups:
            for param in group["params"]:
                if group["orthogonal"] and param.ndim != 2:
                    raise ValueError(
                        f"muon orthogonalises matrices, got a parameter of shape {tuple(param.shape)}; "
                        "put it into a group with orthogonal=False"
                    )

    def _first_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"momentum": torch.zeros_like(param)} if group["orthogonal"] else super()._first_state(param, group)

    def _update(self, params: list[Tensor], group: dict[str, Any]) -> None:
        if not group["orthogonal"]:
            super()._update(params, group)
            return
        lr, momentum = group["lr"], group["momentum"]
        of_shape: defaultdict[torch.Size, list[Tensor]] = defaultdict(list)
        for param in params:
            self._state_of(param, group)
            of_shape[param.shape].append(param)
        for shape, batch in of_shape.items():
            grads = [param.grad for param in batch if param.grad is not None]  # all of them: step saw to that
            buffers = [self.state[param]["momentum"] for param in batch]
            torch._foreach_mul_(buffers, momentum)
            torch._foreach_add_(buffers, grads)
            ahead = torch._foreach_add(grads, buffers, alpha=momentum)
            dtype = torch.bfloat16 if group["in_bf16"] else torch.float32
            whole = torch.stack([_whole(matrix).to(dtype) for matrix in ahead])
            updates = orthogonalised(whole).to(batch[0].dtype).unbind()
            torch._foreach_mul_(batch, 1 - lr * group["weight_decay"])
            size = 0.2 * math.sqrt(max(shape))
            shares = [_share_like(param, update) for param, update in zip(batch, updates, strict=True)]
            torch._foreach_add_(batch, shares, alpha=-lr * size)


def orthogonalised(matrices: Float[Tensor, "*batch rows columns"], num_rounds: int = 5) -> Tensor:
    """Return matrices with the same singular vectors, and singular values near 1 (Newton-Schulz iteration)."""
    a, b, c = _QUINTIC
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # no singular value exceeds the norm
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:  # the smaller of the two Gram matrices
        x = x.mT
    for _ in range(num_rounds):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.mT if is_tall else x
    return result


def _whole(matrix: Tensor) -> Tensor:
    """Return all of a matrix of which this rank may hold a share; every rank calls it."""
    return matrix.full_tensor() if isinstance(matrix, DTensor) else matrix


def _share_like(param: Tensor, matrix: Tensor) -> Tensor:
    """Return what this rank keeps of a matrix that all of them have."""
    if not isinstance(param, DTensor):
        return matrix
    return distribute_tensor(matrix, param.device_mesh, param.placements, src_data_rank=None)  # nothing is sent
