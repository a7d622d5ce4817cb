"""The layers with weights: Linear, Embedding, RMSNorm. None of them has a bias."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cs336.model.functional import take_rows
from cs336.model.lean import rms_norm


class Linear(nn.Module):
    """A matrix product `y = W x`, with W of shape (out_features, in_features).

    W starts as N(0, 2 / (in_features + out_features)), truncated at three standard deviations
    (Glorot and Bengio 2010; handout, "Parameter initialization"). It is cast to the type of x: fp32 weights multiply
    bf16 inputs in bf16, and their gradients are fp32.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        std = math.sqrt(2 / (in_features + out_features))
        self.weight = _normal_parameter(
            (out_features, in_features), std=std, device=device, dtype=dtype, generator=generator
        )

    def forward(self, x: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch out_features"]:
        """Multiply each vector by the weight matrix."""
        return x @ self.weight.T.to(x.dtype)


class Embedding(nn.Module):
    """A table with one row per id; rows start as N(0, 1), truncated at three standard deviations."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.weight = _normal_parameter(
            (num_embeddings, embedding_dim), std=1.0, device=device, dtype=dtype, generator=generator
        )

    def forward(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch embedding_dim"]:
        """Look up the row of each id.

        Raises:
            IndexError: There is no such row (on the CPU; a GPU stops with an assertion).
        """
        return take_rows(self.weight, ids)


class RMSNorm(nn.Module):
    """Divide each vector by its root mean square, then scale each coordinate by a learned gain.

    `y_i = x_i / sqrt(mean(x^2) + eps) * g_i` (Zhang and Sennrich 2019, equation 4). Computed in fp32 whatever
    the input, because squares of bf16 values lose too much, and cast back.
    """

    def __init__(
        self,
        d_model: int,
        *,
        eps: float = 1e-5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model, device=device, dtype=dtype))

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Normalise each vector."""
        return rms_norm(x, self.weight, eps=self.eps)


def _normal_parameter(
    shape: tuple[int, ...],
    *,
    std: float,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
    generator: torch.Generator | None,
) -> nn.Parameter:
    """Draw from N(0, std^2) truncated at 3 std, in fp32 where the generator lives, then move and cast.

    So one CPU seed gives the same weights on every device and, up to rounding, in every dtype.
    """
    weight = torch.empty(shape, device=device if generator is None else generator.device, dtype=torch.float32)
    nn.init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std, generator=generator)
    return nn.Parameter(weight.to(device=device, dtype=dtype or torch.get_default_dtype()))
