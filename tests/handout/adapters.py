"""Glue between the course's public test suite and this package: every adapter builds our object and runs it.

`run.py` puts this file in the place of the suite's own `tests/adapters.py`. Arguments that differ between the years'
suites are optional or swallowed, so that one file serves them all.
"""

from collections.abc import Iterable
from os import PathLike
from typing import IO, Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from cs336.data import get_batch
from cs336.model import (
    Embedding,
    Linear,
    ModelConfig,
    MultiHeadSelfAttention,
    RMSNorm,
    RotaryPositionalEmbedding,
    SwiGLU,
    TransformerBlock,
    TransformerLM,
    scaled_dot_product_attention,
    silu,
    softmax,
)
from cs336.optim import AdamW, clip_gradients, cosine_schedule
from cs336.tokenizer import Tokenizer, train_bpe
from cs336.train.checkpoint import load_checkpoint, save_checkpoint
from cs336.train.loss import cross_entropy


def _loaded(module: nn.Module, **weights: Tensor) -> nn.Module:
    """Fill the layers of a module, given by name."""
    module.load_state_dict({f"{name}.weight": weight for name, weight in weights.items()})
    return module


def run_linear(d_in: int, d_out: int, weights: Tensor, in_features: Tensor, **_: Any) -> Tensor:
    """Run Linear."""
    linear = Linear(d_in, d_out)
    linear.load_state_dict({"weight": weights})
    return linear(in_features)


def run_embedding(vocab_size: int, d_model: int, weights: Tensor, token_ids: Tensor, **_: Any) -> Tensor:
    """Run Embedding."""
    embedding = Embedding(vocab_size, d_model)
    embedding.load_state_dict({"weight": weights})
    return embedding(token_ids)


def run_swiglu(
    d_model: int, d_ff: int, w1_weight: Tensor, w2_weight: Tensor, w3_weight: Tensor, in_features: Tensor, **_: Any
) -> Tensor:
    """Run SwiGLU."""
    return _loaded(SwiGLU(d_model, d_ff), w1=w1_weight, w2=w2_weight, w3=w3_weight)(in_features)


def run_scaled_dot_product_attention(Q: Tensor, K: Tensor, V: Tensor, mask: Tensor | None = None, **_: Any) -> Tensor:
    """Run scaled_dot_product_attention."""
    return scaled_dot_product_attention(Q, K, V, mask)


def run_multihead_self_attention(
    d_model: int,
    num_heads: int,
    q_proj_weight: Tensor,
    k_proj_weight: Tensor,
    v_proj_weight: Tensor,
    o_proj_weight: Tensor,
    in_features: Tensor,
    *,
    max_seq_len: int | None = None,
    theta: float | None = None,
    token_positions: Tensor | None = None,
    **_: Any,
) -> Tensor:
    """Run MultiHeadSelfAttention, with RoPE if there is a theta."""
    rope = None
    if theta is not None:
        d_k = d_model // num_heads
        rope = RotaryPositionalEmbedding(theta, d_k, max_seq_len=max_seq_len or in_features.shape[-2])
    attention = _loaded(
        MultiHeadSelfAttention(d_model, num_heads, rope=rope),
        q_proj=q_proj_weight,
        k_proj=k_proj_weight,
        v_proj=v_proj_weight,
        output_proj=o_proj_weight,
    )
    return attention(in_features, token_positions)


def run_multihead_self_attention_with_rope(
    d_model: int,
    num_heads: int,
    max_seq_len: int,
    theta: float,
    q_proj_weight: Tensor,
    k_proj_weight: Tensor,
    v_proj_weight: Tensor,
    o_proj_weight: Tensor,
    in_features: Tensor,
    token_positions: Tensor | None = None,
    **_: Any,
) -> Tensor:
    """Run MultiHeadSelfAttention with RoPE."""
    return run_multihead_self_attention(
        d_model,
        num_heads,
        q_proj_weight,
        k_proj_weight,
        v_proj_weight,
        o_proj_weight,
        in_features,
        max_seq_len=max_seq_len,
        theta=theta,
        token_positions=token_positions,
    )


def run_rope(
    d_k: int, theta: float, max_seq_len: int, in_query_or_key: Tensor, token_positions: Tensor | None = None, **_: Any
) -> Tensor:
    """Run RotaryPositionalEmbedding."""
    return RotaryPositionalEmbedding(theta, d_k, max_seq_len=max_seq_len)(in_query_or_key, token_positions)


def run_transformer_block(
    d_model: int,
    num_heads: int,
    d_ff: int,
    max_seq_len: int,
    theta: float,
    weights: dict[str, Tensor],
    in_features: Tensor,
    **_: Any,
) -> Tensor:
    """Run TransformerBlock."""
    config = ModelConfig(context_length=max_seq_len, d_model=d_model, num_heads=num_heads, d_ff=d_ff, rope_theta=theta)
    block = TransformerBlock(config)
    block.load_state_dict(weights)
    return block(in_features)


def run_transformer_lm(
    vocab_size: int,
    context_length: int,
    d_model: int,
    num_layers: int,
    num_heads: int,
    d_ff: int,
    rope_theta: float,
    weights: dict[str, Tensor],
    in_indices: Tensor,
    **_: Any,
) -> Tensor:
    """Run TransformerLM."""
    config = ModelConfig(
        vocab_size=vocab_size,
        context_length=context_length,
        d_model=d_model,
        num_layers=num_layers,
        num_heads=num_heads,
        d_ff=d_ff,
        rope_theta=rope_theta,
    )
    model = TransformerLM(config)
    model.load_state_dict(weights)
    return model(in_indices)


def run_rmsnorm(d_model: int, eps: float, weights: Tensor, in_features: Tensor, **_: Any) -> Tensor:
    """Run RMSNorm."""
    norm = RMSNorm(d_model, eps=eps)
    norm.load_state_dict({"weight": weights})
    return norm(in_features)


def run_silu(in_features: Tensor, **_: Any) -> Tensor:
    """Run silu."""
    return silu(in_features)


def run_get_batch(
    dataset: npt.NDArray[Any], batch_size: int, context_length: int, device: str, **_: Any
) -> tuple[Tensor, Tensor]:
    """Run get_batch."""
    return get_batch(dataset, batch_size, context_length, device)


def run_softmax(in_features: Tensor, dim: int, **_: Any) -> Tensor:
    """Run softmax."""
    return softmax(in_features, dim)


def run_cross_entropy(inputs: Tensor, targets: Tensor, **_: Any) -> Tensor:
    """Run cross_entropy."""
    return cross_entropy(inputs, targets)


def run_gradient_clipping(parameters: Iterable[torch.nn.Parameter], max_l2_norm: float, **_: Any) -> None:
    """Run clip_gradients."""
    clip_gradients(parameters, max_l2_norm)


def get_adamw_cls() -> type[torch.optim.Optimizer]:
    """Return AdamW."""
    return AdamW


def run_get_lr_cosine_schedule(
    it: int,
    max_learning_rate: float,
    min_learning_rate: float,
    warmup_iters: int,
    cosine_cycle_iters: int,
    **_: Any,
) -> float:
    """Run cosine_schedule."""
    return cosine_schedule(
        it,
        max_lr=max_learning_rate,
        min_lr=min_learning_rate,
        warmup_steps=warmup_iters,
        cosine_steps=cosine_cycle_iters,
    )


def run_save_checkpoint(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    iteration: int,
    out: str | PathLike[str] | IO[bytes],
    **_: Any,
) -> None:
    """Run save_checkpoint."""
    save_checkpoint(model, optimizer, iteration, out)


def run_load_checkpoint(
    src: str | PathLike[str] | IO[bytes], model: nn.Module, optimizer: torch.optim.Optimizer, **_: Any
) -> int:
    """Run load_checkpoint."""
    return load_checkpoint(src, model, optimizer)


def get_tokenizer(
    vocab: dict[int, bytes],
    merges: list[tuple[bytes, bytes]],
    special_tokens: list[str] | None = None,
    **_: Any,
) -> Tokenizer:
    """Return a Tokenizer."""
    return Tokenizer(vocab, merges, special_tokens)


def run_train_bpe(
    input_path: str | PathLike[str], vocab_size: int, special_tokens: list[str], **_: Any
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Run train_bpe."""
    return train_bpe(input_path, vocab_size, special_tokens)
