"""Positions as rotations of queries and keys, so that their dot product depends on distance alone."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cs336.model.functional import take_rows


class RotaryPositionalEmbedding(nn.Module):
    """Rotate each pair of coordinates (2k, 2k + 1) at position i by the angle `i * theta^(-2k / d_k)`.

    Su et al. 2021 (arXiv:2104.09864), section 3.4. The tables of cosines and sines depend on nothing learned,
    so they stay out of the state dict. They are computed in fp64 (in fp32 the angle at position 16,384 is off by 1e-3)
    and kept in fp32; the rotation is done in fp32 and cast back. For bf16 build the model with `dtype=torch.bfloat16`:
    `model.to(torch.bfloat16)` would round the tables too.
    """

    cosines: Tensor
    sines: Tensor

    def __init__(self, theta: float, d_k: int, *, max_seq_len: int, device: torch.device | str | None = None) -> None:
        super().__init__()
        if d_k % 2:
            raise ValueError(f"rope rotates pairs of coordinates, so d_k must be even, got {d_k}")
        if not theta > 0:
            raise ValueError(f"rope theta must be positive, got {theta}")
        frequencies = theta ** -(torch.arange(0, d_k, 2, dtype=torch.float64) / d_k)
        angles = torch.outer(torch.arange(max_seq_len, dtype=torch.float64), frequencies)
        self.register_buffer("cosines", angles.cos().to(device, torch.float32), persistent=False)
        self.register_buffer("sines", angles.sin().to(device, torch.float32), persistent=False)

    def forward(
        self, x: Float[Tensor, "*batch seq d_k"], positions: Int[Tensor, "*#batch seq"] | None = None
    ) -> Float[Tensor, "*batch seq d_k"]:
        """Rotate queries or keys.

        Args:
            x: Queries or keys of one or more heads.
            positions: The place of each vector in its text, below max_seq_len; by default 0, 1, 2, ...

        Raises:
            ValueError: The sequence is longer than max_seq_len, and no positions were given.
            IndexError: A position is negative or not below max_seq_len (on the CPU; a GPU stops with an assertion).
        """
        if positions is None:
            seq, max_seq_len = x.shape[-2], self.cosines.shape[0]
            if seq > max_seq_len:
                raise ValueError(f"sequence length must be at most {max_seq_len} (max_seq_len of rope), got {seq}")
            cosines, sines = self.cosines[:seq], self.sines[:seq]
        else:
            cosines, sines = take_rows(self.cosines, positions), take_rows(self.sines, positions)
        even, odd = x[..., 0::2], x[..., 1::2]
        rotated = torch.stack((even * cosines - odd * sines, even * sines + odd * cosines), dim=-1)
        return rotated.flatten(-2).to(x.dtype)


class NoPositionalEmbedding(nn.Module):
    """Leave queries and keys as they are: the causal mask alone tells the order (NoPE, arXiv:2305.19466)."""

    def forward(
        self, x: Float[Tensor, "*batch seq d_k"], positions: Int[Tensor, "*#batch seq"] | None = None
    ) -> Float[Tensor, "*batch seq d_k"]:
        """Return `x`."""
        return x
