"""The loop: read, draw, append, until every row has ended."""

import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict, Unpack, cast, overload

import numpy as np
import torch

from cs336.generate.reading import Reader
from cs336.generate.sampling import Sampler, random_streams
from cs336.model import TransformerLM


class TextCodec(Protocol):
    """What `generate_text` needs of a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """The greatest id and one."""

    def encode(self, text: str, /) -> list[int]:
        """Return the ids of a text."""

    def decode(self, ids: list[int], /) -> str:
        """Return the text of ids."""


class Options(TypedDict, total=False):
    """What `generate`, `generate_text` and `stream` may be told; the defaults are `stream`'s."""

    temperature: float
    top_k: int | None
    top_p: float | None
    stop_id: int | Collection[int] | None
    num_ids: int | None
    seed: int | None
    generator: torch.Generator | None
    slide_by: int
    use_cache: bool


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step brought.

    Attributes:
        ids: The new id of each row; None for a row that ends here or has ended.
        stop_probabilities: What the model itself, at temperature 1 and with nothing cut off, gives to each stop id
            here; None for a row that had ended before.
    """

    ids: tuple[int | None, ...]
    stop_probabilities: tuple[Mapping[int, float] | None, ...]


def stream(
    model: TransformerLM,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_id: int | Collection[int] | None = None,
    num_ids: int | None = None,
    seed: int | None = None,
    generator: torch.Generator | None = None,
    slide_by: int = 1,
    use_cache: bool = True,
) -> Iterator[Step]:
    """Continue prompts of any lengths side by side, and yield each step as it is made, until all have ended.

    The model sees the last `context_length` ids, at the positions it was trained with. Every row has a random stream of
    its own, which depends on the seed and on its place: what the other prompts are changes nothing, and equal prompts
    get different continuations. Draws are made on the CPU, so that the device changes nothing either.

    Args:
        model: Read in evaluation mode; its own mode is restored after each step.
        prompts: The ids of each prompt; arrays and tensors of integers will do.
        max_new_tokens: The most ids to add to each prompt.
        temperature: Divides the logits; 0 or less takes the likeliest id (greedy).
        top_k: Draw from the k likeliest ids only.
        top_p: Draw from the smallest set of likeliest ids whose mass is at least p (Holtzman et al. 2020,
            arXiv:1904.09751); after top_k, if both are given.
        stop_id: Ends a continuation, and is not part of it; or several that do.
        num_ids: Draw from the ids below this only: a model may have more ids than its tokenizer has tokens.
        seed: Makes the draws repeatable.
        generator: Source of the draws instead of a seed, on the CPU; PyTorch's global one if neither is given.
        slide_by: How many of the oldest ids leave the window at once when it is full. 1 always shows the last
            `context_length` ids, and reads them all anew for each; k shows at least `context_length - k + 1` of them,
            and reads anew once in k ids.
        use_cache: Keep keys and values rather than read everything anew for each id; changes rounding and time only.

    Raises:
        TypeError: An id is not an integer.
        ValueError: A prompt is empty or holds an id the model does not know, an argument is out of range, or the model
            yields logits that are not finite.
    """
    if seed is not None and generator is not None:
        raise ValueError("give a seed or a generator, not both")
    sequences = [[operator.index(id_) for id_ in row] for row in prompts]
    for sequence in sequences:
        _check_prompt(sequence, model.config.vocab_size)
    stop_ids = _as_stop_ids(stop_id, model.config.vocab_size)
    _check_range("num_ids", num_ids, least=1)
    _check_range("max_new_tokens", max_new_tokens, least=0)
    _check_range("slide_by", slide_by, least=1, most=model.config.context_length)
    source = generator if seed is None else torch.Generator().manual_seed(seed)
    streams = random_streams(len(sequences), source) if temperature > 0 else []
    sampler = Sampler(temperature=temperature, top_k=top_k, top_p=top_p, streams=streams)
    longest = max(map(len, sequences), default=0) + max_new_tokens
    capacity = min(longest, model.config.context_length)
    reader = Reader(model, sequences, capacity=capacity, slide_by=slide_by, use_cache=use_cache)
    return _steps(reader, sampler, sequences, max_new_tokens=max_new_tokens, stop_ids=stop_ids, num_ids=num_ids)


def _steps(
    reader: Reader,
    sampler: Sampler,
    sequences: list[list[int]],
    *,
    max_new_tokens: int,
    stop_ids: list[int],
    num_ids: int | None,
) -> Iterator[Step]:
    unfinished = list(range(len(sequences)))
    for _ in range(max_new_tokens):
        if not unfinished:
            return
        logits = reader.next_logits(unfinished)
        of_stops = [dict(zip(stop_ids, mass, strict=True)) for mass in logits.softmax(-1)[:, stop_ids].tolist()]
        drawn = dict(zip(unfinished, sampler.draw(logits[:, :num_ids], unfinished), strict=True))
        stop_probabilities = dict(zip(unfinished, of_stops, strict=True))
        unfinished = [row for row in unfinished if drawn[row] not in stop_ids]
        for row in unfinished:
            sequences[row].append(drawn[row])
        yield Step(
            ids=tuple(drawn[row] if row in unfinished else None for row in range(len(sequences))),
            stop_probabilities=tuple(stop_probabilities.get(row) for row in range(len(sequences))),
        )


@overload
def generate(
    model: TransformerLM, prompt_ids: Sequence[int], *, max_new_tokens: int, **options: Unpack[Options]
) -> list[int]: ...
@overload
def generate(
    model: TransformerLM, prompt_ids: Sequence[Sequence[int]], *, max_new_tokens: int, **options: Unpack[Options]
) -> list[list[int]]: ...
def generate(
    model: TransformerLM,
    prompt_ids: Sequence[int] | Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    **options: Unpack[Options],
) -> list[int] | list[list[int]]:
    """Continue one prompt, or several of any lengths at once.

    Args:
        model: Its training mode is restored.
        prompt_ids: The ids of one prompt, or a list of prompts; arrays and tensors of integers will do.
        max_new_tokens: The most ids to add to each prompt.
        options: temperature, top_k, top_p, stop_id, num_ids, seed, generator, slide_by, use_cache: see `stream`.

    Returns:
        The new ids, without the prompt; a list of them for a list of prompts.

    Raises:
        TypeError: As `stream`.
        ValueError: As `stream`.
    """
    is_batch = len(prompt_ids) > 0 and np.ndim(prompt_ids[0]) > 0
    prompts = cast(Sequence[Sequence[int]], prompt_ids if is_batch else [prompt_ids])
    new_ids: list[list[int]] = [[] for _ in prompts]
    for step in stream(model, prompts, max_new_tokens=max_new_tokens, **options):
        for row, id_ in enumerate(step.ids):
            if id_ is not None:
                new_ids[row].append(id_)
    return new_ids if is_batch else new_ids[0]


def generate_text(
    model: TransformerLM, tokenizer: TextCodec, prompt: str, *, max_new_tokens: int, **options: Unpack[Options]
) -> str:
    """Continue a text; the options are those of `stream`, whose `num_ids` the tokenizer tells.

    Returns:
        The text of the new ids, without the prompt.

    Raises:
        ValueError: As `stream`.
    """
    options.setdefault("num_ids", tokenizer.vocab_size)
    new_ids = generate(model, tokenizer.encode(prompt), max_new_tokens=max_new_tokens, **options)
    return tokenizer.decode(new_ids)


def _as_stop_ids(stop_id: int | Collection[int] | None, vocab_size: int) -> list[int]:
    """Return the distinct stop ids, checked."""
    given = () if stop_id is None else stop_id if isinstance(stop_id, Collection) else (stop_id,)
    stop_ids = sorted({operator.index(id_) for id_ in given})
    for id_ in stop_ids:
        if not 0 <= id_ < vocab_size:
            raise ValueError(
                f"stop_id {id_} never comes, because the model's vocab_size is {vocab_size}; "
                "take it from the tokenizer the model was trained with"
            )
    return stop_ids


def _check_range(name: str, value: int | None, *, least: int, most: int | None = None) -> None:
    if value is None or (value >= least and (most is None or value <= most)):
        return
    expected = f"at least {least}" if most is None else f"from {least} to {most}"
    raise ValueError(f"{name} must be {expected}, got {value}")


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
