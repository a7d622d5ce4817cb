"""Batches -> logits: the Transformer language model, written out block by block.

Read in this order: `functional`, `lean`, `layers`, `rope`, `attention`, `feed_forward`, `config`, `transformer`.
"""

# ruff: noqa: E402  (the missing extra must be named before torch is imported)
from cs336._extras import require_extra

require_extra("train", modules=("torch", "jaxtyping"), needed_by=__name__)

from cs336.model.attention import MultiHeadSelfAttention
from cs336.model.cache import CacheStep, KeyValueCache
from cs336.model.config import ModelConfig
from cs336.model.feed_forward import SiLUFeedForward, SwiGLU
from cs336.model.functional import scaled_dot_product_attention, silu, softmax
from cs336.model.layers import Embedding, Linear, RMSNorm
from cs336.model.rope import RotaryPositionalEmbedding
from cs336.model.transformer import PostNormTransformerBlock, TransformerBlock, TransformerLM

__all__ = [
    "CacheStep",
    "Embedding",
    "KeyValueCache",
    "Linear",
    "ModelConfig",
    "MultiHeadSelfAttention",
    "PostNormTransformerBlock",
    "RMSNorm",
    "RotaryPositionalEmbedding",
    "SiLUFeedForward",
    "SwiGLU",
    "TransformerBlock",
    "TransformerLM",
    "scaled_dot_product_attention",
    "silu",
    "softmax",
]
