"""The shape of a model, and which variant of each part it is made of."""

import math
from dataclasses import dataclass
from typing import Literal

from cs336.settings import check_choices

Attention = Literal["plain", "sdpa"]
Norm = Literal["rms", "none"]
NormPosition = Literal["pre", "post"]
Position = Literal["rope", "none"]
FeedForward = Literal["swiglu", "silu"]
ProjectionInit = Literal["normal", "zero"]


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
        attention: PyTorch's fused kernel (sdpa), or the formula written out (plain), which is slower; they agree.
        qk_norm: Normalise each head's queries and keys before they are rotated (Henry et al. 2020, arXiv:2010.04245).
        projection_init: How the two projections that write to the residual stream start: like the others, or at zero,
            so that the first step sees the embeddings alone.
        tie_embeddings: One table for the embedding and the head, initialised as the head's.
        logit_softcap: Bound the logits smoothly: `c tanh(logits / c)` (Gemma 2, arXiv:2408.00118); None leaves them.
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
    attention: Attention = "sdpa"
    qk_norm: bool = False
    projection_init: ProjectionInit = "normal"
    tie_embeddings: bool = False
    logit_softcap: float | None = None

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
        for name in ("rope_theta", "norm_eps", "logit_softcap"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        check_choices(self)

    @property
    def d_head(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.num_heads

    @property
    def d_hidden(self) -> int:
        """Hidden width of the feed-forward network in use: d_ff, or 3/2 of it without a gate."""
        assert self.d_ff is not None, "set in __post_init__"
        return self.d_ff if self.ffn == "swiglu" else 3 * self.d_ff // 2
