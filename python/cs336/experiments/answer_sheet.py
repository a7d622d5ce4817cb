"""Every experiment of the course, from corpus to report, in one call that can be stopped and called again.

The order is that of dependence: the learning rate first, since every other experiment runs at the best one. What is
done is passed over, down to the single run; a call with the same words goes on where the last one stopped.
"""

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from cs336.config import DataConfig
from cs336.experiments.ablations import ablations_of
from cs336.experiments.bracket import bracket_rates, losses_by_rate
from cs336.experiments.corpora import Texts, default_files, texts_of
from cs336.experiments.generation_study import (
    GENERATION_FILE,
    GenerationConfig,
    read_generation,
    study_generation,
)
from cs336.experiments.prepare import PrepareConfig, Prepared, documents, prepare
from cs336.experiments.recipe import load_recipe
from cs336.experiments.report import write_report
from cs336.experiments.report.sections import generation_section, tokenizer_section, toy_section
from cs336.experiments.report.studies import gather
from cs336.experiments.sweep import Execute, Outcome, plan_sweep, record_sweep, run_sweep
from cs336.experiments.table import best_row, tabulate
from cs336.experiments.tokenizer_report import write_study
from cs336.experiments.tokenizer_study import Corpus, study_tokenizers
from cs336.experiments.variants import Recipe
from cs336.train.durable import write_file
from cs336.train.learner import measure_tokens_per_s

PresetName = Literal["smoke", "cpu", "gpu"]
SWEEPS = ("learning-rate", "batch-size", "batch-size-steps", "ablations", "best", "main-experiment")
_MOST_SAMPLED = 10  # documents, of each held-out text
_FEWEST_STEPS = 60
_NUM_VALIDATIONS = 8
_EXTRA_RATES = 3  # that a search usually adds to its grid
_VALID_COST = 0.4  # of a training token's time, for a held-out one


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What a preset means beyond the runs themselves.

    Attributes:
        minutes: Wall clock for all runs together; None leaves their budgets as the recipes say.
        vocab_sizes: Ids of the two tokenizers.
        limit_bytes: Most text of a corpus that is gathered from many files.
        valid_share: Share of its documents that are held out.
        generation: What is tried when writing.
    """

    minutes: float | None
    vocab_sizes: tuple[int, int]
    limit_bytes: int | None
    valid_share: float
    generation: GenerationConfig


SCALES: dict[str, Scale] = {
    "smoke": Scale(
        minutes=None,
        vocab_sizes=(400, 400),
        limit_bytes=300_000,
        valid_share=0.2,
        generation=GenerationConfig(
            temperatures=(0.0, 1.0), top_ps=(1.0,), num_texts=2, num_prompt_ids=4, max_new_tokens=8
        ),
    ),
    "cpu": Scale(
        minutes=110.0,
        vocab_sizes=(4096, 4096),
        limit_bytes=30_000_000,
        valid_share=0.02,
        generation=GenerationConfig(num_texts=12),
    ),
    "gpu": Scale(
        minutes=None,
        vocab_sizes=(10_000, 32_000),
        limit_bytes=None,
        valid_share=0.01,
        generation=GenerationConfig(num_texts=64),
    ),
}


@dataclass(frozen=True, kw_only=True)
class SheetConfig:
    """What to answer, and on what.

    Attributes:
        preset: How large everything is.
        out: Directory for all of it.
        text: Training text of the first corpus, or files to make one of; none takes the standard library's source.
        valid: Held-out text of the first corpus.
        second_text: The same of the second, harder corpus; none takes PyTorch's headers.
        second_valid: Its held-out text.
        minutes: Wall clock for all runs, instead of the preset's.
        sweeps: Which of `SWEEPS`; the learning rate comes before all others.
        overrides: `key=value` for every run.
    """

    preset: PresetName
    out: Path
    text: tuple[Path, ...] = ()
    valid: Path | None = None
    second_text: tuple[Path, ...] = ()
    second_valid: Path | None = None
    minutes: float | None = None
    sweeps: tuple[str, ...] = SWEEPS
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.sweeps:
            if name not in SWEEPS:
                raise ValueError(f"there is no sweep {name!r} here; name some of {', '.join(SWEEPS)}")
        if self.minutes is not None and not (self.minutes > 0 and math.isfinite(self.minutes)):
            raise ValueError(f"minutes must be positive, got {self.minutes}")


@dataclass(kw_only=True)
class AnswerSheet:
    """The experiments on their way to a report.

    Attributes:
        config: What to answer.
        execute: Does runs.
        say: Told what begins.
    """

    config: SheetConfig
    execute: Execute
    say: Callable[[str], object] = field(default=lambda _text: None)

    def run(self) -> dict[str, Path]:
        """Do everything that is not done, and write the report; return its paths.

        Raises:
            InterruptedSweepError: A signal came; what is done stays done.
            ValueError, OSError: A text is too short, a file cannot be read or written, or no rate is stable.
        """
        scale, out = SCALES[self.config.preset], self.config.out
        first, second = self._texts(scale)
        self.say(f"tokenizers and token files of {first.name} and {second.name}")
        data = [
            self._prepare(texts, out / f"data-{index + 1}", vocab_size=size)
            for index, (texts, size) in enumerate(zip((first, second), scale.vocab_sizes, strict=True))
        ]
        self._study_tokenizers(first, second, scale)
        budget = self._budget(data[0], scale)
        lr = self._best_rate(data[0], budget)
        for name in SWEEPS[1:]:
            if name in self.config.sweeps:
                self._sweep(name, data[1 if name == "main-experiment" else 0], budget, lr=lr)
        writer = self._study_generation(scale)
        self.say("report")
        return self._report(first, second, writer)

    def _texts(self, scale: Scale) -> tuple[Texts, Texts]:
        config = self.config
        given = ((config.text, config.valid), (config.second_text, config.second_valid))
        found = []
        for index, (files, valid) in enumerate(given):
            name, chosen = (files[0].stem, list(files)) if files else default_files(index)
            limit = None if files else self._limit_bytes(scale)
            folder = config.out / f"text-{index + 1}"
            texts = texts_of(name, chosen, folder, valid=valid, limit_bytes=limit, valid_share=self._valid_share(scale))
            found.append(texts)
        return found[0], found[1]

    def _limit_bytes(self, scale: Scale) -> int | None:
        """Return how much text to gather: less for less time, since every run reads all that is held out."""
        if scale.limit_bytes is None or scale.minutes is None or self.config.minutes is None:
            return scale.limit_bytes
        return round(scale.limit_bytes * min(1.0, self.config.minutes / scale.minutes))

    def _valid_share(self, scale: Scale) -> float:
        """Return the share held out: a larger one of a smaller text, or its loss would be that of a few documents."""
        limit = self._limit_bytes(scale)
        if limit is None or scale.limit_bytes is None:
            return scale.valid_share
        return max(scale.valid_share, min(0.06, scale.valid_share * scale.limit_bytes / limit))

    def _prepare(self, texts: Texts, folder: Path, *, vocab_size: int) -> DataConfig:
        prepared: Prepared = prepare(
            PrepareConfig(train=(texts.train,), valid=(texts.valid,), out=folder, vocab_size=vocab_size)
        )
        return DataConfig(
            train=str(prepared.train.path), valid=str(prepared.valid.path), tokenizer=str(prepared.tokenizer)
        )

    def _study_tokenizers(self, first: Texts, second: Texts, scale: Scale) -> None:
        folder = self.config.out / "tokenizers"
        if (folder / "study.json").exists():
            return
        self.say("tokenizer study")
        corpora = [
            Corpus(name=texts.name, train=texts.train, valid=texts.valid, vocab_size=size)
            for texts, size in zip((first, second), scale.vocab_sizes, strict=True)
        ]
        num_sampled = min(
            sum(1 for _ in itertools.islice(documents(corpus.valid), _MOST_SAMPLED)) for corpus in corpora
        )
        study = study_tokenizers(corpora[0], corpora[1], folder, num_sampled=num_sampled, say=self.say)
        write_study(study, folder)

    def _budget(self, data: DataConfig, scale: Scale) -> "Budget":
        """Return the budget of a run; chosen once, since a run that was cut off goes on only with the same config."""
        minutes = self.config.minutes or scale.minutes
        if minutes is None:
            return Budget(tokens=None, overrides=self.config.overrides)
        path = self.config.out / "budget.json"
        if path.exists():
            known = json.loads(path.read_text(encoding="utf-8"))
            if known["minutes"] != minutes or known["sweeps"] != list(self.config.sweeps):
                raise ValueError(
                    f"{path} was made for {known['minutes']:g} minutes and {', '.join(known['sweeps'])}; ask for the "
                    "same, or choose another directory (--out)"
                )
            return Budget(tokens=int(known["tokens"]), overrides=self.config.overrides)
        self.say("measuring this machine's speed")
        tokens, tokens_per_s = self._affordable_tokens(data, minutes)
        facts = {
            "minutes": minutes,
            "sweeps": list(self.config.sweeps),
            "tokens": tokens,
            "tokens_per_s": round(tokens_per_s, 1),
        }
        write_file(path, (json.dumps(facts) + "\n").encode())
        return Budget(tokens=tokens, overrides=self.config.overrides)

    def _affordable_tokens(self, data: DataConfig, minutes: float) -> tuple[int, float]:
        """Return how many tokens each run can see if all of them are to be done in time, and the speed."""
        base = load_recipe("base", preset=self.config.preset, overrides=self.config.overrides).with_vocab_of(data)
        plan = base.config(base.variants[0], 0, data=data, run_dir=self.config.out / "unused")
        tokens_per_s = measure_tokens_per_s(dataclasses.replace(plan, compile=False), num_steps=6, num_warmup_steps=2)
        shares = float(_EXTRA_RATES)
        for name in self.config.sweeps:
            recipe = load_recipe(name, preset=self.config.preset, overrides=self.config.overrides)
            for variant in recipe.variants:
                ratio = variant.settings.get("batch_size", plan.batch_size) / plan.batch_size
                shares += len(recipe.seeds) * (ratio if recipe.mixed_budgets else 1.0)
        held_out = _NUM_VALIDATIONS * _VALID_COST * _num_ids(data)
        tokens = minutes * 60 * tokens_per_s / shares - held_out
        fewest = _FEWEST_STEPS * plan.tokens_per_step
        if tokens < fewest:
            self.say(f"{minutes:g} minutes are too short for all runs; each gets its fewest tokens, {fewest:,}")
        return max(fewest, round(tokens)), tokens_per_s

    def _recipe(self, name: str, budget: "Budget", *, lr: float | None = None) -> Recipe:
        plain = load_recipe(name, preset=self.config.preset, overrides=self.config.overrides)
        overrides = [*budget.settings(plain)]
        if lr is not None and name != "main-experiment":
            overrides.append(f"optim.lr={lr!r}")
        recipe = load_recipe(name, preset=self.config.preset, overrides=[*overrides, *self.config.overrides])
        if name != "ablations":
            return recipe
        base = load_recipe("base", preset=self.config.preset, overrides=[*overrides, *self.config.overrides])
        return ablations_of(base, preset=self.config.preset)

    def _best_rate(self, data: DataConfig, budget: "Budget") -> float:
        self.say("learning rate")
        recipe = self._recipe("learning-rate", budget)
        outcomes = bracket_rates(recipe, self.execute, data=data, out=self.config.out / "runs" / "learning-rate")
        losses = {rate: loss for rate, loss in losses_by_rate(outcomes).items() if loss is not None}
        if not losses:
            raise ValueError("no learning rate was stable; look at the runs with `cs336 runs list`")
        return min(losses, key=lambda rate: losses[rate])

    def _sweep(self, name: str, data: DataConfig, budget: "Budget", *, lr: float) -> list[Outcome]:
        recipe = self._recipe(name, budget, lr=lr)
        self.say(recipe.title.lower())
        out = self.config.out / "runs" / name
        if name == "main-experiment":
            return bracket_rates(recipe, self.execute, data=data, out=out)
        runs = plan_sweep(recipe, data=data, out=out)
        record_sweep(recipe, out)
        return run_sweep(runs, self.execute)

    def _study_generation(self, scale: Scale) -> Path:
        """Let the run with the lowest loss write; return it."""
        name = "best" if "best" in self.config.sweeps else "learning-rate"
        out = self.config.out / "runs" / name
        run_dir = _lowest_run(out)
        if not (run_dir / GENERATION_FILE).exists():
            self.say(f"generation with {run_dir}")
            study_generation(run_dir, scale.generation)
        return run_dir

    def _report(self, first: Texts, second: Texts, writer: Path) -> dict[str, Path]:
        out = self.config.out
        lead = [
            f"All experiments at the preset `{self.config.preset}`. First corpus: {first.name}; second corpus, for the "
            f"main experiment: {second.name}. Losses of different tokenizers cannot be compared in nats/token, only in "
            "bits/byte.",
        ]
        before = [tokenizer_section(out / "tokenizers"), toy_section()]
        after = [generation_section(writer, read_generation(writer))]
        places: Sequence[Path] = [out / "runs" / name for name in SWEEPS if (out / "runs" / name).exists()]
        return write_report(places, out / "report", title="Answer sheet", lead=lead, before=before, after=after)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a run may see.

    Attributes:
        tokens: Tokens a run; None leaves what the recipe says.
        overrides: For every run.
    """

    tokens: int | None
    overrides: tuple[str, ...] = ()

    def settings(self, recipe: Recipe) -> list[str]:
        """Return the overrides that bring a recipe to this budget, with a warm-up and validations that fit it."""
        if self.tokens is None:
            return []
        data = DataConfig(train="unused")
        shape = recipe.config(recipe.variants[0], recipe.seeds[0], data=data, run_dir="unused")
        num_steps = -(-self.tokens // shape.tokens_per_step)
        length = [f"steps={num_steps}"] if recipe.mixed_budgets else [f"tokens={self.tokens}"]
        return [
            *length,
            f"schedule.warmup_steps={max(1, num_steps // 20)}",
            f"eval_every={-(-num_steps // _NUM_VALIDATIONS)}",
            f"checkpoint_every={-(-num_steps // 2)}",
            f"log_every={max(1, num_steps // 50)}",
        ]


def _num_ids(data: DataConfig) -> int:
    return 0 if data.valid is None else len(np.load(data.valid, mmap_mode="r"))


def _lowest_run(out: Path) -> Path:
    study = gather([out])[0]
    row = best_row(tabulate(study.outcomes, allow_mixed_budgets=True))
    if row is None:
        raise ValueError(f"no run in {out} ended well; look at them with `cs336 runs list {out}`")
    return Path(row.run_dirs[0])
