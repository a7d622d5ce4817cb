"""Causal self-attention with several heads."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from cs336.model.cache import CacheStep
from cs336.model.config import Attention
from cs336.model.functional import scaled_dot_product_attention
from cs336.model.layers import Linear
from cs336.model.rope import NoPositionalEmbedding


class MultiHeadSelfAttention(nn.Module):
    """Each position gathers from itself and the positions before it, in `num_heads` subspaces at once.

    Vaswani et al. 2017, section 3.2.2, with d_k = d_v = d_model / num_heads. Row block h of each of the query, key and
    value projections belongs to head h.

    Args:
        d_model: Width of the input and of the output.
        num_heads: Must divide d_model.
        rope: Rotates the queries and keys of each head (d_k = d_model / num_heads); by default nothing does.
        q_norm: Normalises the queries of each head before that; by default nothing does.
        k_norm: The same for the keys.
        backend: `sdpa` is PyTorch's fused kernel, `plain` the formula written out; the results are equal.
        device: Where the weights live.
        dtype: The type of the weights.
        generator: The source of the initial weights.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        rope: nn.Module | None = None,
        q_norm: nn.Module | None = None,
        k_norm: nn.Module | None = None,
        backend: Attention = "sdpa",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if num_heads < 1 or d_model % num_heads:
            raise ValueError(f"d_model must be divisible by num_heads, got {d_model} and {num_heads}")
        if backend not in _BACKENDS:
            raise ValueError(f"attention backend must be one of {', '.join(_BACKENDS)}, got {backend!r}")
        self.num_heads = num_heads

        def projection() -> Linear:
            return Linear(d_model, d_model, device=device, dtype=dtype, generator=generator)

        self.q_proj, self.k_proj, self.v_proj, self.output_proj = (projection() for _ in range(4))
        self.q_norm = q_norm if q_norm is not None else nn.Identity()
        self.k_norm = k_norm if k_norm is not None else nn.Identity()
        self.rope = rope if rope is not None else NoPositionalEmbedding()
        self.attend = _BACKENDS[backend]

    def forward(
        self,
        x: Float[Tensor, "*batch seq d_model"],
        positions: Int[Tensor, "*#batch seq"] | None = None,
        cache: CacheStep | None = None,
    ) -> Float[Tensor, "*batch seq d_model"]:
        """Attend causally.

        Args:
            x: What each position holds.
            positions: For the rotary embedding; by default 0, 1, 2, ..., or what the cache says.
            cache: Attends to what was read before as well, and keeps what is read now.
        """
        attend = self.attend
        if cache is not None:
            attend, positions = cache.attend, cache.positions
        query, key, value = (self._split_heads(proj(x)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        if positions is not None:
            positions = positions.unsqueeze(-2)  # the same for every head
        query, key = self.rope(self.q_norm(query), positions), self.rope(self.k_norm(key), positions)
        heads = attend(query, key, value)
        return self.output_proj(heads.transpose(-3, -2).flatten(-2))

    def _split_heads(self, x: Float[Tensor, "*batch seq d_model"]) -> Float[Tensor, "*batch heads seq d_k"]:
        return torch.unflatten(x, -1, (self.num_heads, -1)).transpose(-3, -2)


def _attend_plain(
    query: Float[Tensor, "*batch seq d_k"], key: Float[Tensor, "*batch seq d_k"], value: Float[Tensor, "*batch seq d_v"]
) -> Float[Tensor, "*batch seq d_v"]:
    seq = query.shape[-2]
    causal = torch.ones(seq, seq, dtype=torch.bool, device=query.device).tril()
    return scaled_dot_product_attention(query, key, value, causal)


def _attend_sdpa(
    query: Float[Tensor, "*batch seq d_k"], key: Float[Tensor, "*batch seq d_k"], value: Float[Tensor, "*batch seq d_v"]
) -> Float[Tensor, "*batch seq d_v"]:
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


_BACKENDS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = MappingProxyType(
    {"plain": _attend_plain, "sdpa": _attend_sdpa}
)
