"""The loss of a language model, and the same number in other units."""

import math
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor


def cross_entropy(logits: Float[Tensor, "*batch vocab"], targets: Int[Tensor, "*batch"]) -> Float[Tensor, ""]:
    """Return the mean of `-log softmax(logits)[target]`, in nats.

    With the greatest logit subtracted and log and exp cancelled, so that no logit is too large; fp32 or wider.
    """
    logits = logits.float() if logits.dtype.itemsize < 4 else logits
    # What cancels has no gradient; to compute that zero took 60 % of the time (x86-64, one thread, November 2026).
    shifted = logits - logits.detach().amax(-1, keepdim=True)
    at_target = shifted.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return (shifted.exp().sum(-1).log() - at_target).mean()


def chunked_cross_entropy(
    hidden: Float[Tensor, "*batch d_model"],
    head: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, "*batch"],
    *,
    chunk_size: int,
    softcap: float | None = None,
) -> Float[Tensor, ""]:
    """Return `cross_entropy(hidden @ head.T, targets)` with the logits of `chunk_size` positions in memory at a time.

    Logits are by far the largest tensor of a small model. Their gradient is known as soon as they are:
    `softmax(logits) - onehot(target)`. So each chunk is turned into the gradients of `hidden` and `head` at once and
    forgotten; nothing is computed twice, and what is kept is as large as `hidden` and `head` (in fp32).

    Args:
        hidden: What the head reads.
        head: The head's weights; cast to the type of `hidden`, as `Linear` does.
        targets: The ids to predict.
        chunk_size: Positions in a chunk, at least 1.
        softcap: Bounds the logits, as `ModelConfig.logit_softcap` says.
    """
    wants_gradients = torch.is_grad_enabled() and (hidden.requires_grad or head.requires_grad)
    rows, ids = hidden.flatten(0, -2) if hidden.ndim > 1 else hidden[None], targets.flatten()
    return cast(Tensor, _ChunkedCrossEntropy.apply(rows, head, ids, chunk_size, softcap, wants_gradients))


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        targets: Tensor,
        chunk_size: int,
        softcap: float | None,
        wants_gradients: bool,
    ) -> Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        weight = head.to(hidden.dtype)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        hidden_grads = []
        head_grad = torch.zeros(head.shape if wants_gradients else (), dtype=wide, device=head.device)
        for chunk, ids in zip(torch.split(hidden, chunk_size), torch.split(targets, chunk_size), strict=True):
            logits = chunk @ weight.T
            if softcap is not None:
                logits = softcap * torch.tanh(logits.to(wide) / softcap)
            log_probabilities = torch.log_softmax(logits, dim=-1, dtype=wide)
            total -= log_probabilities.gather(-1, ids[:, None]).sum()
            if not wants_gradients:
                continue
            slope = _minus_one_at(ids, log_probabilities.exp_())
            if softcap is not None:
                slope = slope * (1 - (logits / softcap).square())
            slope = slope.to(hidden.dtype)
            hidden_grads.append(slope @ weight)
            head_grad += (slope.T @ chunk).to(wide)
        if wants_gradients:
            ctx.save_for_backward(torch.cat(hidden_grads), head_grad)
        ctx.head_dtype = head.dtype
        return total / len(targets)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        hidden_grad, head_grad = ctx.saved_tensors
        scale = gradients[0] / len(hidden_grad)
        return hidden_grad * scale.to(hidden_grad.dtype), (head_grad * scale).to(ctx.head_dtype), None, None, None, None


def _minus_one_at(ids: Int[Tensor, " rows"], rows: Float[Tensor, "rows vocab"]) -> Float[Tensor, "rows vocab"]:
    """Return the rows less one-hot vectors; they may be changed in place."""
    if torch.compiler.is_compiling():
        # a comparison becomes part of one pass over the rows; an index would need a pass of its own
        return rows - (ids[:, None] == torch.arange(rows.shape[-1], device=rows.device)).to(rows.dtype)
    return rows.scatter_add_(-1, ids[:, None], rows.new_full((len(ids), 1), -1.0))


def perplexity(loss: float) -> float:
    """Return `exp(loss)`: the number of equally likely ids that would be as surprising. Infinite if too large."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def bits_per_byte(nats_per_token: float, bytes_per_token: float) -> float:
    """Convert a loss into bits per byte of text, which can be compared between tokenizers.

    Raises:
        ValueError: bytes_per_token is not positive.
    """
    if not bytes_per_token > 0:
        raise ValueError(f"bytes_per_token must be positive, got {bytes_per_token}")
    return nats_per_token / (math.log(2) * bytes_per_token)
