"""The Transformer language model: its block, and the stack of blocks. Here the configuration picks the modules."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cs336.model.attention import MultiHeadSelfAttention
from cs336.model.cache import CacheStep
from cs336.model.config import ModelConfig
from cs336.model.feed_forward import SiLUFeedForward, SwiGLU
from cs336.model.layers import Embedding, Linear, RMSNorm
from cs336.model.rope import NoPositionalEmbedding, RotaryPositionalEmbedding


class TransformerBlock(nn.Module):
    """Attention, then a feed-forward network; each reads a normalised copy of the residual stream and adds to it.

    `x + attn(ln1(x))`, then `x + ffn(ln2(x))` (pre-norm: Xiong et al. 2020, arXiv:2002.04745).
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        rope: nn.Module | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        kinds: dict[str, type[SwiGLU | SiLUFeedForward]] = {"swiglu": SwiGLU, "silu": SiLUFeedForward}
        feed_forward = kinds[config.ffn]
        self.ln1 = _build_norm(config, device=device, dtype=dtype)
        self.attn = MultiHeadSelfAttention(
            config.d_model,
            config.num_heads,
            rope=rope if rope is not None else _build_rope(config, device=device),
            q_norm=_build_qk_norm(config, device=device, dtype=dtype),
            k_norm=_build_qk_norm(config, device=device, dtype=dtype),
            backend=config.attention,
            device=device,
            dtype=dtype,
            generator=generator,
        )
        self.ln2 = _build_norm(config, device=device, dtype=dtype)
        self.ffn = feed_forward(config.d_model, config.d_hidden, device=device, dtype=dtype, generator=generator)
        if config.projection_init == "zero":
            nn.init.zeros_(self.attn.output_proj.weight)
            nn.init.zeros_(self.ffn.w2.weight)

    def forward(
        self, x: Float[Tensor, "*batch seq d_model"], cache: CacheStep | None = None
    ) -> Float[Tensor, "*batch seq d_model"]:
        """Pass the residual stream through both sublayers."""
        x = x + self.attn(self.ln1(x), cache=cache)
        return x + self.ffn(self.ln2(x))


class PostNormTransformerBlock(TransformerBlock):
    """The same sublayers in the order of the original Transformer: `ln1(x + attn(x))`, then `ln2(x + ffn(x))`."""

    def forward(
        self, x: Float[Tensor, "*batch seq d_model"], cache: CacheStep | None = None
    ) -> Float[Tensor, "*batch seq d_model"]:
        """Pass the residual stream through both sublayers."""
        x = self.ln1(x + self.attn(x, cache=cache))
        return self.ln2(x + self.ffn(x))


class TransformerLM(nn.Module):
    """A decoder-only language model: ids in, and at each position the logits of the id that comes next.

    The final norm stays in its place under post-norm, so that the variants differ in the blocks alone.

    Args:
        config: The shape.
        device: Where the weights live.
        dtype: The type of the weights.
        compute_dtype: The type of the activations and so of the matrix products; by default that of the weights. bf16
            over fp32 weights is mixed precision: weights, their gradients, norms and softmax stay in fp32.
        generator: The source of the initial weights; a CPU generator gives the same ones on every device.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        compute_dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        block = {"pre": TransformerBlock, "post": PostNormTransformerBlock}[config.norm_position]
        rope = _build_rope(config, device=device)  # one table for all layers
        self.token_embeddings = Embedding(
            config.vocab_size, config.d_model, device=device, dtype=dtype, generator=generator
        )
        self.layers = nn.ModuleList(
            block(config, rope=rope, device=device, dtype=dtype, generator=generator) for _ in range(config.num_layers)
        )
        self.ln_final = _build_norm(config, device=device, dtype=dtype)
        self.lm_head = Linear(config.d_model, config.vocab_size, device=device, dtype=dtype, generator=generator)
        if config.tie_embeddings:
            self.token_embeddings.weight = self.lm_head.weight
        self.to_compute_dtype = nn.Identity() if compute_dtype is None else _Cast(compute_dtype)
        self.cap_logits = nn.Identity() if config.logit_softcap is None else _SoftCap(config.logit_softcap)

    def forward(
        self, ids: Int[Tensor, "*batch seq"], cache: Sequence[CacheStep] | None = None
    ) -> Float[Tensor, "*batch seq vocab"]:
        """Return the logits of the next id after each position.

        Args:
            ids: What to read.
            cache: What was read before, as `KeyValueCache.step` hands it out; the ids follow that.

        Raises:
            ValueError: The sequence is longer than the context.
        """
        return self.logits(self.hidden(ids, cache))

    def hidden(
        self, ids: Int[Tensor, "*batch seq"], cache: Sequence[CacheStep] | None = None
    ) -> Float[Tensor, "*batch seq d_model"]:
        """Return what the head reads: the residual stream after the last block, normalised.

        Raises:
            ValueError: The sequence is longer than the context.
        """
        if ids.shape[-1] > self.config.context_length:
            raise ValueError(
                f"sequence length must be at most context_length {self.config.context_length}, got {ids.shape[-1]}; "
                "crop the input or build the model with a longer context"
            )
        x = self.to_compute_dtype(self.token_embeddings(ids))
        steps: Sequence[CacheStep | None] = cache or [None] * len(self.layers)
        for layer, step in zip(self.layers, steps, strict=True):
            x = layer(x, step)
        return self.ln_final(x)

    def logits(self, hidden: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """Apply the head; a loss that works in pieces calls it for some positions at a time."""
        return self.cap_logits(self.lm_head(hidden))


class _Cast(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return x.to(self.dtype)


class _SoftCap(nn.Module):
    def __init__(self, cap: float) -> None:
        super().__init__()
        self.cap = cap

    def forward(self, logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return self.cap * torch.tanh(logits / self.cap)


def _build_norm(config: ModelConfig, *, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.Module:
    if config.norm == "none":
        return nn.Identity()
    return RMSNorm(config.d_model, eps=config.norm_eps, device=device, dtype=dtype)


def _build_qk_norm(
    config: ModelConfig, *, device: torch.device | str | None, dtype: torch.dtype | None
) -> nn.Module | None:
    return RMSNorm(config.d_head, eps=config.norm_eps, device=device, dtype=dtype) if config.qk_norm else None


def _build_rope(config: ModelConfig, *, device: torch.device | str | None) -> nn.Module:
    if config.position == "none":
        return NoPositionalEmbedding()
    return RotaryPositionalEmbedding(config.rope_theta, config.d_head, max_seq_len=config.context_length, device=device)
