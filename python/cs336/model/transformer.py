"""The Transformer language model: its configuration, its block, and the stack of blocks."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cs336.model.attention import AttentionBackend, MultiHeadSelfAttention
from cs336.model.feed_forward import SiLUFeedForward, SwiGLU
from cs336.model.layers import Embedding, Linear, RMSNorm
from cs336.model.rope import NoPositionalEmbedding, RotaryPositionalEmbedding

Norm = Literal["rms", "none"]
NormPosition = Literal["pre", "post"]
Position = Literal["rope", "none"]
FeedForward = Literal["swiglu", "silu"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a model; the defaults are the handout's TinyStories model (22,696,448 parameters).

    Attributes:
        vocab_size: Number of ids; at least the tokenizer's.
        context_length: The longest sequence the model reads at once.
        d_model: Width of the residual stream.
        num_layers: Number of Transformer blocks.
        num_heads: Number of attention heads; must divide d_model.
        d_ff: Hidden width of the SwiGLU; None takes the multiple of 64 nearest to 8/3 d_model.
        rope_theta: Base of the rotary angles.
        norm: RMSNorm, or none anywhere.
        norm_position: Normalise the input of each sublayer (pre), or the residual sum after it (post).
        position: Rotary embeddings, or none (NoPE).
        ffn: SwiGLU, or SiLU without a gate at 3/2 of the hidden width, so that the parameters match.
        norm_eps: Added to the mean square inside RMSNorm.
        attention: The written-out formula, or PyTorch's fused kernel; the results are equal.
    """

    vocab_size: int = 10_000
    context_length: int = 256
    d_model: int = 512
    num_layers: int = 4
    num_heads: int = 16
    d_ff: int | None = 1344
    rope_theta: float = 10_000.0
    norm: Norm = "rms"
    norm_position: NormPosition = "pre"
    position: Position = "rope"
    ffn: FeedForward = "swiglu"
    norm_eps: float = 1e-5
    attention: AttentionBackend = "plain"

    def __post_init__(self) -> None:
        if self.d_ff is None:
            object.__setattr__(self, "d_ff", max(64, 64 * round(8 / 3 * self.d_model / 64)))
        for name in ("vocab_size", "context_length", "d_model", "num_heads", "d_ff"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_layers < 0:
            raise ValueError(f"num_layers must be at least 0, got {self.num_layers}")
        if self.d_model % self.num_heads:
            raise ValueError(f"d_model must be divisible by num_heads, got {self.d_model} and {self.num_heads}")
        if self.position == "rope" and self.d_head % 2:
            raise ValueError(
                f"d_model / num_heads must be even for rope, got {self.d_model} / {self.num_heads} = {self.d_head}; "
                "choose another num_heads or position='none'"
            )
        for name in ("rope_theta", "norm_eps"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        for name, choices in _CHOICES:
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")

    @property
    def d_head(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.num_heads

    @property
    def d_hidden(self) -> int:
        """Hidden width of the feed-forward network in use: d_ff, or 3/2 of it without a gate."""
        assert self.d_ff is not None, "set in __post_init__"
        return self.d_ff if self.ffn == "swiglu" else 3 * self.d_ff // 2


_CHOICES = (
    ("norm", get_args(Norm)),
    ("norm_position", get_args(NormPosition)),
    ("position", get_args(Position)),
    ("ffn", get_args(FeedForward)),
    ("attention", get_args(AttentionBackend)),
)


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
        feed_forward = {"swiglu": SwiGLU, "silu": SiLUFeedForward}[config.ffn]
        self.ln1 = _build_norm(config, device=device, dtype=dtype)
        self.attn = MultiHeadSelfAttention(
            config.d_model,
            config.num_heads,
            rope=rope if rope is not None else _build_rope(config, device=device),
            backend=config.attention,
            device=device,
            dtype=dtype,
            generator=generator,
        )
        self.ln2 = _build_norm(config, device=device, dtype=dtype)
        self.ffn = feed_forward(config.d_model, config.d_hidden, device=device, dtype=dtype, generator=generator)

    def forward(self, x: Float[Tensor, "*batch seq d_model"]) -> Float[Tensor, "*batch seq d_model"]:
        """Pass the residual stream through both sublayers."""
        x = x + self.attn(self.ln1(x))
        return x + self.ffn(self.ln2(x))


class PostNormTransformerBlock(TransformerBlock):
    """The same sublayers in the order of the original Transformer: `ln1(x + attn(x))`, then `ln2(x + ffn(x))`."""

    def forward(self, x: Float[Tensor, "*batch seq d_model"]) -> Float[Tensor, "*batch seq d_model"]:
        """Pass the residual stream through both sublayers."""
        x = self.ln1(x + self.attn(x))
        return self.ln2(x + self.ffn(x))


class TransformerLM(nn.Module):
    """A decoder-only language model: ids in, and at each position the logits of the id that comes next.

    The final norm stays in its place under post-norm, so that the variants differ in the blocks alone.

    Args:
        config: The shape.
        device: Where the weights live.
        dtype: The type of the weights.
        generator: The source of the initial weights; a CPU generator gives the same ones on every device.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
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

    def forward(self, ids: Int[Tensor, "*batch seq"]) -> Float[Tensor, "*batch seq vocab"]:
        """Return the logits of the next id after each position.

        Raises:
            ValueError: The sequence is longer than the context.
        """
        if ids.shape[-1] > self.config.context_length:
            raise ValueError(
                f"sequence length must be at most context_length {self.config.context_length}, got {ids.shape[-1]}; "
                "crop the input or build the model with a longer context"
            )
        x = self.token_embeddings(ids)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.ln_final(x))


def _build_norm(config: ModelConfig, *, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.Module:
    if config.norm == "none":
        return nn.Identity()
    return RMSNorm(config.d_model, eps=config.norm_eps, device=device, dtype=dtype)


def _build_rope(config: ModelConfig, *, device: torch.device | str | None) -> nn.Module:
    if config.position == "none":
        return NoPositionalEmbedding()
    return RotaryPositionalEmbedding(config.rope_theta, config.d_head, max_seq_len=config.context_length, device=device)
