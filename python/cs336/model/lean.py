"""Functions that keep little for their backward pass, and compute the rest of it anew.

Left to itself, autograd keeps every intermediate result: of an RMSNorm over bf16 activations two more copies in fp32,
of a gated SiLU the sigmoid and both products. They cost a pass over memory to make again, next to nothing beside the
matrix products around them. So the gradients are written out here, as functions of the arguments alone.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def rms_norm(x: Float[Tensor, "*batch d"], gain: Float[Tensor, " d"], *, eps: float) -> Float[Tensor, "*batch d"]:
    """Return `x / sqrt(mean(x^2) + eps) * gain` over the last axis, computed in fp32 or wider and cast back."""
    result: Tensor = _RMSNorm.apply(x, gain, eps)
    return result


def gated_silu(gate: Float[Tensor, "*shape"], value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return `gate * sigmoid(gate) * value`."""
    result: Tensor = _GatedSiLU.apply(gate, value)
    return result


def _normed(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return `x / rms` and `1 / rms`."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    inverse_rms = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return wide * inverse_rms, inverse_rms


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, gain)
        ctx.eps = eps
        normed, _ = _normed(x, eps)
        return (normed * gain).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, None]:
        """With n = x / rms and s = slope * gain: x gets (s - n mean(s n)) / rms, the gain gets the sum of slope * n."""
        x, gain = ctx.saved_tensors
        normed, inverse_rms = _normed(x, ctx.eps)
        slope = slopes[0].to(normed.dtype)
        gain_grad = (slope * normed).flatten(0, -2).sum(0) if x.ndim > 1 else slope * normed
        scaled = slope * gain
        x_grad = (scaled - normed * (scaled * normed).mean(-1, keepdim=True)) * inverse_rms
        return x_grad.to(x.dtype), gain_grad.to(gain.dtype), None


class _GatedSiLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(gate, value)
        return gate * torch.sigmoid(gate) * value

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor]:
        """With s = sigmoid(gate): d silu / d gate = s + silu (1 - s)."""
        (slope,) = slopes
        gate, value = ctx.saved_tensors
        sigmoid = torch.sigmoid(gate)
        silu = gate * sigmoid
        return slope * value * (sigmoid + silu * (1 - sigmoid)), slope * silu
