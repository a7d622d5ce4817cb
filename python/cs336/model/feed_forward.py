"""The feed-forward networks: applied to each position by itself."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cs336.model.functional import silu
from cs336.model.layers import Linear
from cs336.model.lean import gated_silu


class SwiGLU(nn.Module):
    """`W2 (SiLU(W1 x) * W3 x)` (Shazeer 2020, arXiv:2002.05202, equation 6)."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.w1 = Linear(d_model, d_ff, device=device, dtype=dtype, generator=generator)
        self.w2 = Linear(d_ff, d_model, device=device, dtype=dtype, generator=generator)
        self.w3 = Linear(d_model, d_ff, device=device, dtype=dtype, generator=generator)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Transform each vector."""
        return self.w2(gated_silu(self.w1(x), self.w3(x)))


class SiLUFeedForward(nn.Module):
    """`W2 SiLU(W1 x)`: no gate, two matrices. At d_ff = 3/2 of a SwiGLU's it has as many parameters."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.w1 = Linear(d_model, d_ff, device=device, dtype=dtype, generator=generator)
        self.w2 = Linear(d_ff, d_model, device=device, dtype=dtype, generator=generator)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Transform each vector."""
        return self.w2(silu(self.w1(x)))
