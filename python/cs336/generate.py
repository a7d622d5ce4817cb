"""Prompt ids -> new ids: sampling from a trained model."""

# ruff: noqa: E402  (the missing extra must be named before torch is imported)
from cs336._extras import require_extra

require_extra("train", modules=("torch", "jaxtyping"), needed_by=__name__)

import math
import operator
from collections.abc import Sequence
from typing import Protocol, cast, overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cs336.model import TransformerLM, softmax


class TextCodec(Protocol):
    """What `generate_text` needs of a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """The greatest id and one."""

    def encode(self, text: str, /) -> list[int]:
        """Return the ids of a text."""

    def decode(self, ids: list[int], /) -> str:
        """Return the text of ids."""


@overload
def generate(
    model: TransformerLM,
    prompt_ids: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_id: int | None = None,
    num_ids: int | None = None,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> list[int]: ...
@overload
def generate(
    model: TransformerLM,
    prompt_ids: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_id: int | None = None,
    num_ids: int | None = None,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> list[list[int]]: ...
def generate(
    model: TransformerLM,
    prompt_ids: Sequence[int] | Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_id: int | None = None,
    num_ids: int | None = None,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> list[int] | list[list[int]]:
    """Continue one prompt, or several of any lengths at once.

    The model sees the last `context_length` ids. Every prompt of a batch has a random stream of its own, which depends
    on the seed and on its place in the batch: what the other prompts are changes nothing, and equal prompts get
    different continuations. Draws are made on the CPU, so that the device changes nothing either.

    Args:
        model: Its training mode is restored.
        prompt_ids: The ids of one prompt, or a list of prompts; arrays and tensors of integers will do.
        max_new_tokens: The most ids to add to each prompt.
        temperature: Divides the logits; 0 or less takes the likeliest id (greedy).
        top_k: Draw from the k likeliest ids only.
        top_p: Draw from the smallest set of likeliest ids whose mass is at least p (Holtzman et al. 2020,
            arXiv:1904.09751); after top_k, if both are given.
        stop_id: Ends a continuation, and is not part of it.
        num_ids: Draw from the ids below this only: a model may have more ids than its tokenizer has tokens.
        seed: Makes the draws repeatable.
        generator: Source of the draws instead of a seed, on the CPU; PyTorch's global one if neither is given.

    Returns:
        The new ids, without the prompt; a list of them for a list of prompts.

    Raises:
        TypeError: An id is not an integer.
        ValueError: A prompt is empty or holds an id the model does not know, an argument is out of range, or the model
            yields logits that are not finite.
    """
    if seed is not None and generator is not None:
        raise ValueError("give a seed or a generator, not both")
    vocab_size = model.config.vocab_size
    is_batch = len(prompt_ids) > 0 and np.ndim(prompt_ids[0]) > 0
    rows = cast(Sequence[Sequence[int]], prompt_ids if is_batch else [prompt_ids])
    prompts = [[operator.index(id_) for id_ in row] for row in rows]
    for prompt in prompts:
        _check_prompt(prompt, vocab_size)
    if stop_id is not None and not 0 <= stop_id < vocab_size:
        raise ValueError(
            f"stop_id {stop_id} never comes, because the model's vocab_size is {vocab_size}; "
            "take it from the tokenizer the model was trained with"
        )
    if num_ids is not None and num_ids < 1:
        raise ValueError(f"num_ids must be at least 1, got {num_ids}")
    _check_sampling(max_new_tokens, temperature, top_k, top_p)
    source = generator if seed is None else torch.Generator().manual_seed(seed)
    streams = _random_streams(len(prompts), source) if temperature > 0 else None
    new_ids: list[list[int]] = [[] for _ in prompts]
    unfinished = list(range(len(prompts)))
    was_training = model.training
    model.eval()
    try:
        for _ in range(max_new_tokens):
            logits = _next_logits(model, [prompts[row] + new_ids[row] for row in unfinished])[:, :num_ids]
            for row, row_logits in zip(list(unfinished), logits, strict=True):
                if streams is None:
                    next_id = int(row_logits.argmax())
                else:
                    mass = next_id_probabilities(row_logits, temperature=temperature, top_k=top_k, top_p=top_p)
                    next_id = int(torch.multinomial(mass, 1, generator=streams[row]))
                if next_id == stop_id:
                    unfinished.remove(row)
                else:
                    new_ids[row].append(next_id)
            if not unfinished:
                break
    finally:
        model.train(was_training)
    return new_ids if is_batch else new_ids[0]


def generate_text(
    model: TransformerLM,
    tokenizer: TextCodec,
    prompt: str,
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_id: int | None = None,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> str:
    """Continue a text; the arguments are those of `generate`, whose `num_ids` the tokenizer tells.

    Returns:
        The text of the new ids, without the prompt.

    Raises:
        ValueError: As `generate`.
    """
    new_ids = generate(
        model,
        tokenizer.encode(prompt),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop_id=stop_id,
        num_ids=tokenizer.vocab_size,
        seed=seed,
        generator=generator,
    )
    return tokenizer.decode(new_ids)


def next_id_probabilities(
    logits: Float[Tensor, "*batch vocab"], *, temperature: float, top_k: int | None = None, top_p: float | None = None
) -> Float[Tensor, "*batch vocab"]:
    """Return the distribution that `generate` draws the next id from, in fp64.

    Raises:
        ValueError: The temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    logits = logits.double()
    # The greatest becomes 0 before the division, so that no temperature is too small.
    mass = softmax((logits - logits.amax(-1, keepdim=True)) / temperature, dim=-1)
    if top_k is None and top_p is None:
        return mass
    ranked, ids = mass.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        ranked[..., top_k:] = 0
        ranked = ranked / ranked.sum(-1, keepdim=True)
    if top_p is not None and top_p < 1:
        mass_before = ranked.cumsum(-1) - ranked
        ranked = torch.where(mass_before < top_p, ranked, 0)
    return torch.zeros_like(mass).scatter(-1, ids, ranked / ranked.sum(-1, keepdim=True))


@torch.inference_mode()
def _next_logits(model: TransformerLM, sequences: list[list[int]]) -> Float[Tensor, "batch vocab"]:
    """Return the logits after each sequence, on the CPU.

    The windows are padded on the right: under the causal mask no id sees what follows it, so padding changes nothing.
    """
    windows = [ids[-model.config.context_length :] for ids in sequences]
    lengths = torch.tensor([len(window) for window in windows])
    padded = torch.zeros(len(windows), int(lengths.max()), dtype=torch.long)
    for row, window in enumerate(windows):
        padded[row, : len(window)] = torch.tensor(window)
    device = model.lm_head.weight.device
    logits = cast(Tensor, model(padded.to(device)))
    last = logits[torch.arange(len(windows), device=device), (lengths - 1).to(device)].float().cpu()
    if not last.isfinite().all():
        raise ValueError("the model's logits are not finite; its training diverged: use an earlier checkpoint")
    return last


def _random_streams(num_streams: int, source: torch.Generator | None) -> list[torch.Generator]:
    """Seed one generator a row; a stream does not depend on how many follow it."""
    seeds = torch.randint(2**63 - 1, (num_streams,), generator=source).tolist()
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def _check_prompt(prompt: list[int], vocab_size: int) -> None:
    if not prompt:
        raise ValueError(
            "the prompt is empty; give at least one id, for example that of <|endoftext|> to begin a new document"
        )
    if not 0 <= min(prompt) <= max(prompt) < vocab_size:
        strange = min(prompt) if min(prompt) < 0 else max(prompt)
        raise ValueError(
            f"the prompt holds id {strange}, but the model's vocab_size is {vocab_size}; "
            "encode it with the tokenizer the model was trained with"
        )


def _check_sampling(max_new_tokens: int, temperature: float, top_k: int | None, top_p: float | None) -> None:
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must be at least 0, got {max_new_tokens}")
    if not math.isfinite(temperature):
        raise ValueError(f"temperature must be finite, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}")
