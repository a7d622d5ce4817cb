"""`cs336 generate`."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from cs336.cli.display import print_result
from cs336.cli.exit import ExitCode
from cs336.cli.trained import model_of, open_checkpoint, tokenizer_of

if TYPE_CHECKING:
    from cs336.generate import Step
    from cs336.tokenizer import Tokenizer
    from cs336.train.checkpoint import Checkpoint

_ODD_EOS = 0.1
"""From this probability of ending right after the prompt on we say so; in mid text it is below 0.001."""


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Continue prompts with a trained model; the text comes as it is written.

    Attributes:
        checkpoint: A run directory (its latest checkpoint is taken), or one checkpoint in it.
        prompt: Text to continue; <|endoftext|> begins a new document. Can be repeated.
        max_new_tokens: Most tokens to add.
        temperature: Below 1 plays safe, above 1 is daring, 0 always takes the likeliest token.
        top_k: Draw from the k likeliest tokens only.
        top_p: Draw from the smallest set of likeliest tokens with at least this mass.
        stop: A token that ends a continuation, beside the end of the text; can be repeated.
        num_samples: How many continuations of each prompt.
        seed: Makes the draws repeatable.
        slide_by: Past the context, forget this many of the oldest tokens at a time: 1 always shows the model all that
            fits, and reads that anew for each token; more is faster.
        no_cache: Read everything anew for each token, to compare.
        device: auto, cpu or cuda.
        tokenizer: tokenizer.json, if not the one saved in the run directory.
        json: Print the result as JSON.
    """

    checkpoint: Path
    prompt: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TEXT"), tyro.conf.UseAppendAction]
    max_new_tokens: int = 256
    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    stop: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TOKEN"), tyro.conf.UseAppendAction] = ()
    num_samples: int = 1
    seed: int | None = None
    slide_by: int = 1
    no_cache: bool = False
    device: str = "auto"
    tokenizer: Path | None = None
    json: bool = False

    def run(self) -> int:
        """Generate and print."""
        from cs336.generate import stream
        from cs336.train.device import choose_device

        if not self.prompt or not all(self.prompt):
            raise ValueError("the prompt is empty; give some text, or '<|endoftext|>' to begin a new document")
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")
        checkpoint = open_checkpoint(self.checkpoint)
        tokenizer = tokenizer_of(checkpoint, self.tokenizer)
        model = model_of(checkpoint, choose_device(self.device))
        prompts = [prompt for prompt in self.prompt for _ in range(self.num_samples)]
        _warn_of_trailing_spaces(self.prompt)
        steps = stream(
            model,
            [tokenizer.encode(prompt) for prompt in prompts],
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            stop_id=_stop_ids(checkpoint, tokenizer, self.stop),
            num_ids=tokenizer.vocab_size,
            seed=self.seed,
            slide_by=self.slide_by,
            use_cache=not self.no_cache,
        )
        continuations = _Continuations(tokenizer, prompts, eos_id=checkpoint.eos_id, shown=not self.json)
        begin_s, first_s = time.perf_counter(), 0.0
        try:
            for index, step in enumerate(steps):
                continuations.push(step)
                if index == 0:
                    first_s = time.perf_counter() - begin_s
        finally:
            continuations.finish()
        elapsed_s = time.perf_counter() - begin_s
        _warn_of_early_ends(prompts, continuations.eos_probabilities)
        if self.json:
            print_result(
                {
                    "checkpoint": str(checkpoint.path),
                    "step": checkpoint.step,
                    "prompts": prompts,
                    "texts": continuations.texts,
                    "ids": continuations.ids,
                    "eos_probabilities": continuations.eos_probabilities,
                    "num_tokens": continuations.num_tokens,
                    "first_token_s": first_s,
                    "elapsed_s": elapsed_s,
                },
                as_json=True,
            )
        else:
            sys.stderr.write(_speed(continuations.ids, first_s=first_s, elapsed_s=elapsed_s) + f", {checkpoint.path}\n")
        return ExitCode.OK


class _Continuations:
    """Gathers the ids of each row, and shows the texts one after the other: the first unfinished one as it comes.

    Args:
        tokenizer: Decodes, holding back half characters.
        prompts: One a row.
        eos_id: The id that ends a document, if there is one.
        shown: Whether to write to stdout.
    """

    def __init__(self, tokenizer: "Tokenizer", prompts: Sequence[str], *, eos_id: int | None, shown: bool) -> None:
        self.ids: list[list[int]] = [[] for _ in prompts]
        self.texts = [""] * len(prompts)
        self.eos_probabilities: list[float | None] = [None] * len(prompts)  # right after the prompt
        self._decoders = [tokenizer.decode_stream() for _ in prompts]
        self._has_ended = [False] * len(prompts)
        self._prompts = prompts
        self._eos_id = eos_id
        self._shown = shown
        self._current = 0  # the row that is being shown
        self._num_shown = 0  # characters of its text
        self._begin_row()

    @property
    def num_tokens(self) -> int:
        """All new ids."""
        return sum(map(len, self.ids))

    def push(self, step: "Step") -> None:
        """Take in the new ids of all rows, and show what can be shown."""
        for row, id_ in enumerate(step.ids):
            if id_ is not None:
                self.ids[row].append(id_)
                self.texts[row] += self._decoders[row].push(id_)
            elif not self._has_ended[row]:
                self._end(row)
            of_stops = step.stop_probabilities[row]
            if self.eos_probabilities[row] is None and of_stops is not None and self._eos_id is not None:
                self.eos_probabilities[row] = of_stops[self._eos_id]
        self._show()

    def finish(self) -> None:
        """End the rows that have come to the greatest length, or were interrupted."""
        for row, has_ended in enumerate(self._has_ended):
            if not has_ended:
                self._end(row)
        self._show()

    def _end(self, row: int) -> None:
        self._has_ended[row] = True
        self.texts[row] += self._decoders[row].finish()

    def _begin_row(self) -> None:
        if self._current < len(self._prompts):
            self._write(("\n\n" if self._current else "") + self._prompts[self._current])

    def _show(self) -> None:
        while self._current < len(self._prompts):
            text = self.texts[self._current]
            self._write(text[self._num_shown :])
            self._num_shown = len(text)
            if not self._has_ended[self._current]:
                return
            self._current, self._num_shown = self._current + 1, 0
            self._begin_row()
            if self._current == len(self._prompts):
                self._write("\n")

    def _write(self, text: str) -> None:
        if self._shown and text:
            sys.stdout.write(text)
            sys.stdout.flush()


def _speed(ids: Sequence[Sequence[int]], *, first_s: float, elapsed_s: float) -> str:
    """Say how fast it was, the first token of each row and the reading of the prompt apart."""
    num_tokens = sum(map(len, ids))
    num_later = sum(max(0, len(row) - 1) for row in ids)
    rate = f", then {num_later / (elapsed_s - first_s):,.0f} tokens/s" if num_later else ", 0 tokens/s"
    return f"{num_tokens} tokens in {elapsed_s:.2f} s: the first after {1000 * first_s:.0f} ms{rate}"


def _warn(text: str) -> None:
    sys.stderr.write(f"cs336: warning: {text}\n")


def _warn_of_trailing_spaces(prompts: Sequence[str]) -> None:
    for prompt in prompts:
        if prompt.endswith(" "):
            _warn(
                f"the prompt {_tail(prompt)} ends in a space; a word's token begins with its own space, so that after "
                "a lone one the model is where it has seldom been: leave it out"
            )


def _warn_of_early_ends(prompts: Sequence[str], probabilities: Sequence[float | None]) -> None:
    """Say where the model took the prompt for a whole text; of several samples of a prompt once."""
    for prompt, probability in dict(zip(prompts, probabilities, strict=True)).items():
        if probability is not None and probability >= _ODD_EOS:
            _warn(
                f"P(end of text) is {probability:.2f} right after the prompt {_tail(prompt)}; if that is not a whole "
                "text, check that it has no space at its end and is of the kind the model has learned"
            )


def _tail(prompt: str) -> str:
    return repr(prompt if len(prompt) <= 30 else "..." + prompt[-27:])


def _stop_ids(checkpoint: "Checkpoint", tokenizer: "Tokenizer", stops: Sequence[str]) -> list[int]:
    """Return the id that ends a document, if there is one, and those of the tokens that were asked for."""
    stop_ids = [] if checkpoint.eos_id is None else [checkpoint.eos_id]
    for stop in stops:
        ids = tokenizer.encode(stop)
        if len(ids) != 1:
            raise ValueError(f"stop must be one token of the tokenizer, got {stop!r}, which is {len(ids)}")
        stop_ids += ids
    return stop_ids
