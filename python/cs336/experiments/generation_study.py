"""What decides how a model writes: the same prompts at several temperatures and top-p, measured.

Fluency cannot be measured, but what spoils it can: repetition (the share of 4-grams that have come before in the same
text), poverty of words (distinct ids over ids), texts that do not end by themselves, and text that the model itself
finds unlikely (its loss at temperature 1, over the new ids alone). Each is shown beside the same numbers of held-out
text, cut at the same length: a good setting is one whose numbers lie near those, not one that has the lowest.
"""

import itertools
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cs336.config import from_dict
from cs336.generate import stream
from cs336.model import ModelConfig, TransformerLM
from cs336.tokenizer import Tokenizer
from cs336.train.checkpoint import latest_checkpoint, read_checkpoint
from cs336.train.device import choose_device, cpu_threads, default_num_threads
from cs336.train.durable import write_file
from cs336.train.loss import cross_entropy

_NGRAM = 4
GENERATION_FILE = "generation.json"


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """What is tried.

    Attributes:
        temperatures: 0 takes the likeliest id.
        top_ps: 1 leaves all ids.
        num_texts: Texts a setting.
        num_prompt_ids: Ids of held-out documents that each text continues; 0 begins with the end-of-text id alone.
        max_new_tokens: Most ids of a text.
        seed: Makes the draws repeatable.
    """

    temperatures: tuple[float, ...] = (0.0, 0.5, 0.8, 1.0, 1.3)
    top_ps: tuple[float, ...] = (1.0, 0.9)
    num_texts: int = 16
    num_prompt_ids: int = 16
    max_new_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("num_texts", 1), ("num_prompt_ids", 0), ("max_new_tokens", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not self.temperatures or not self.top_ps:
            raise ValueError("give at least one temperature and one top-p")


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How texts of one setting came out.

    Attributes:
        name: The setting, or `held-out text`.
        num_texts: How many.
        mean_length: New ids a text.
        ended: Share of the texts that ended by themselves.
        repeated: Share of 4-grams that came before in their text.
        distinct: Distinct ids over ids, mean over texts.
        loss: Of the model on the new ids, in nats.
        sample: One of the texts.
    """

    name: str
    num_texts: int
    mean_length: float
    ended: float
    repeated: float
    distinct: float
    loss: float
    sample: str


def study_generation(run_dir: Path, config: GenerationConfig) -> list[Writing]:
    """Return how held-out text measures, and then each setting's; write both to `generation.json` in the run directory.

    Raises:
        OSError: A file of the run is missing.
        ValueError: The run has no whole checkpoint, no tokenizer or no held-out file, or its tokenizer has no
            end-of-text id.
    """
    latest = latest_checkpoint(run_dir)
    if latest is None:
        raise ValueError(f"{run_dir} holds no whole checkpoint; train it first")
    checkpoint = read_checkpoint(latest, with_optimizer=False)
    tokenizer = Tokenizer.load(run_dir / "tokenizer.json")
    if tokenizer.eos_id is None:
        raise ValueError(
            f"the tokenizer of {run_dir} has no end-of-text id, so that no text can end; train one with it"
        )
    valid = checkpoint.config["data"].get("valid")
    if valid is None:
        raise ValueError(f"{run_dir} has no held-out file to take prompts from; train with data.valid")
    shape = from_dict(ModelConfig, checkpoint.config["model"], source=str(latest))
    model = TransformerLM(shape, device=choose_device("auto"))
    checkpoint.restore(model)
    model.eval()
    documents = list(
        itertools.islice(_documents(np.load(valid, mmap_mode="r"), tokenizer.eos_id, config), config.num_texts)
    )
    if not documents:
        raise ValueError(f"{valid} holds no document longer than {config.num_prompt_ids} ids to take prompts from")
    with cpu_threads(default_num_threads()):
        results = [_held_out(model, tokenizer, documents, config)]
        for temperature, top_p in itertools.product(config.temperatures, config.top_ps):
            if temperature > 0 or top_p == config.top_ps[0]:  # the likeliest id is the same whatever is cut off
                results.append(_at(model, tokenizer, documents, config, temperature=temperature, top_p=top_p))
    values = [vars(result) for result in results]
    write_file(run_dir / GENERATION_FILE, (json.dumps(values, indent=1) + "\n").encode())
    return results


def read_generation(run_dir: Path) -> list[Writing]:
    """Return what `study_generation` wrote.

    Raises:
        OSError: It has not.
    """
    values: list[dict[str, Any]] = json.loads((run_dir / GENERATION_FILE).read_text(encoding="utf-8"))
    return [Writing(**each) for each in values]


HEADER = ("setting", "ended", "length", "repeated 4-grams", "distinct ids", "loss under the model")


def cells(writings: Sequence[Writing]) -> list[tuple[str, ...]]:
    """Return a row for each setting under `HEADER`."""
    return [
        (
            each.name,
            f"{each.ended:.0%}",
            f"{each.mean_length:.0f}",
            f"{each.repeated:.1%}",
            f"{each.distinct:.2f}",
            f"{each.loss:.3f}",
        )
        for each in writings
    ]


def words(writings: Sequence[Writing]) -> list[str]:
    """Return what the numbers say, in words."""
    reference, *settings = writings
    nearest = min(settings, key=lambda each: abs(each.repeated - reference.repeated) + abs(each.loss - reference.loss))
    dullest = max(settings, key=lambda each: each.repeated)
    wildest = max(settings, key=lambda each: each.loss)
    return [
        f"Held-out text repeats {reference.repeated:.1%} of its 4-grams and costs the model {reference.loss:.3f} nats "
        f"an id; nearest to both is {nearest.name} ({nearest.repeated:.1%}, {nearest.loss:.3f}).",
        f"{_capital(dullest.name)} repeats most ({dullest.repeated:.1%}); {wildest.name} strays furthest from what the "
        f"model holds likely ({wildest.loss:.3f} nats an id).",
        f"{_share_ended(settings)} end by themselves within the limit; of the held-out ones {reference.ended:.0%} do.",
    ]


def _share_ended(settings: Sequence[Writing]) -> str:
    least, most = (choose(each.ended for each in settings) for choose in (min, max))
    between = f"{least:.0%}" if least == most else f"Between {least:.0%} and {most:.0%}"
    return f"{between} of {settings[0].num_texts} texts a setting"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _documents(ids: Any, eos_id: int, config: GenerationConfig) -> Iterator[list[int]]:
    """Yield held-out documents between two end-of-text ids, if they are long enough to give a prompt."""
    ends = np.flatnonzero(np.asarray(ids) == eos_id)
    for begin, end in itertools.pairwise([-1, *ends]):
        if end - begin > config.num_prompt_ids + _NGRAM:
            yield [eos_id, *ids[begin + 1 : end + 1].tolist()]


def _held_out(
    model: TransformerLM, tokenizer: Tokenizer, documents: Sequence[list[int]], config: GenerationConfig
) -> Writing:
    start = 1 + config.num_prompt_ids
    texts = [document[start : start + config.max_new_tokens] for document in documents]
    prompts = [document[:start] for document in documents]
    ended = [text[-1] == tokenizer.eos_id for text in texts]
    bodies = [text[:-1] if end else text for text, end in zip(texts, ended, strict=True)]
    return _measure("held-out text", model, tokenizer, prompts=prompts, bodies=bodies, ended=ended)


def _at(
    model: TransformerLM,
    tokenizer: Tokenizer,
    documents: Sequence[list[int]],
    config: GenerationConfig,
    *,
    temperature: float,
    top_p: float,
) -> Writing:
    assert tokenizer.eos_id is not None, "checked by the caller"
    prompts = [document[: 1 + config.num_prompt_ids] for document in documents]
    bodies: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    steps = stream(
        model,
        prompts,
        max_new_tokens=config.max_new_tokens,
        temperature=temperature,
        top_p=None if top_p >= 1 else top_p,
        stop_id=tokenizer.eos_id,
        num_ids=tokenizer.vocab_size,
        seed=config.seed,
        slide_by=max(1, model.config.context_length // 4),
    )
    for step in steps:
        for row, id_ in enumerate(step.ids):
            if id_ is not None:
                bodies[row].append(id_)
            else:
                ended[row] = True
    name = (
        "greedy" if temperature == 0 else f"temperature {temperature:g}" + ("" if top_p >= 1 else f", top-p {top_p:g}")
    )
    return _measure(name, model, tokenizer, prompts=prompts, bodies=bodies, ended=ended)


def _measure(
    name: str,
    model: TransformerLM,
    tokenizer: Tokenizer,
    *,
    prompts: Sequence[list[int]],
    bodies: Sequence[list[int]],
    ended: Sequence[bool],
) -> Writing:
    whole = [body for body in bodies if body]
    losses = [_loss(model, prompt, body) for prompt, body in zip(prompts, bodies, strict=True) if body]
    num_ids = sum(map(len, whole))
    return Writing(
        name=name,
        num_texts=len(bodies),
        mean_length=num_ids / len(bodies),
        ended=sum(ended) / len(bodies),
        repeated=statistics.fmean(map(repeated_share, whole)) if whole else 0.0,
        distinct=statistics.fmean(len(set(body)) / len(body) for body in whole) if whole else 0.0,
        loss=sum(losses) / num_ids if num_ids else 0.0,
        sample=tokenizer.decode(list(prompts[0][1:]) + list(bodies[0])),
    )


def repeated_share(ids: Sequence[int], *, length: int = _NGRAM) -> float:
    """Return the share of a text's n-grams that came before in it; 0 for a text of fewer ids than one has."""
    grams = [tuple(ids[start : start + length]) for start in range(len(ids) - length + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


@torch.inference_mode()
def _loss(model: TransformerLM, prompt: Sequence[int], body: Sequence[int]) -> float:
    """Return the sum of the losses of a text's ids; the context is cut into windows that overlap by a half."""
    context, ids = model.config.context_length, [*prompt, *body]
    total, done = 0.0, len(prompt)
    while done < len(ids):
        start = max(0, done - context // 2) if len(ids) - 1 > context else 0
        window = ids[start : start + context + 1]
        first = done - start - 1  # position in the window that predicts the first id not yet counted
        inputs = torch.tensor(window, device=model.token_embeddings.weight.device)
        logits: Tensor = model(inputs[:-1])
        targets = inputs[1 + first :]
        total += cross_entropy(logits[first:], targets).item() * len(targets)
        done = start + len(window)
    return total
