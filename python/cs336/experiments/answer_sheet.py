"""Every experiment of the course, from corpus to report, in one call that can be stopped and called again.

The order is that of dependence: the learning rate first, since every other experiment runs at the best one. What is
done is passed over, down to the single run; a call with the same words goes on where the last one stopped.
"""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cs336.config import DataConfig
from cs336.experiments.ablations import ablations_of
from cs336.experiments.bracket import bracket_rates, losses_by_rate
from cs336.experiments.budget import FEWEST_STEPS, Budget, affordable_tokens, read_budget, write_budget
from cs336.experiments.corpora import Texts, default_files, texts_of
from cs336.experiments.documents import documents
from cs336.experiments.generation_study import GENERATION_FILE, GenerationConfig, study_generation
from cs336.experiments.prepare import PrepareConfig, Prepared, prepare
from cs336.experiments.recipe import load_recipe
from cs336.experiments.report import write_report
from cs336.experiments.report.studies import gather
from cs336.experiments.report.whole import Sheet
from cs336.experiments.sweep import Execute, Outcome, plan_sweep, record_sweep, run_sweep
from cs336.experiments.table import best_row, tabulate
from cs336.experiments.tokenizer_facts import Corpus, read_study, save_study
from cs336.experiments.tokenizer_study import study_tokenizers
from cs336.experiments.variants import Recipe

PresetName = Literal["smoke", "cpu", "gpu"]
SWEEPS = ("learning-rate", "batch-size", "batch-size-steps", "ablations", "best", "main-experiment")
_MOST_SAMPLED = 10  # documents, of each held-out text
_EXTRA_RATES = 9  # that searches add to their grids: eight from the highest rate to the edge of stability, one beside


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
        out.mkdir(parents=True, exist_ok=True)
        self._sheet(first, second).save(out)
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
        self._study_generation(scale)
        self.say("report")
        return write_report([out], out / "report")

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
        with contextlib.suppress(OSError, ValueError):
            read_study(folder)
            return
        self.say("tokenizer study")
        one, other = corpora = [
            Corpus(name=texts.name, train=texts.train, valid=texts.valid, vocab_size=size)
            for texts, size in zip((first, second), scale.vocab_sizes, strict=True)
        ]
        num_sampled = min(
            sum(1 for _ in itertools.islice(documents(corpus.valid), _MOST_SAMPLED)) for corpus in corpora
        )
        save_study(study_tokenizers(one, other, folder, num_sampled=num_sampled, say=self.say), folder)

    def _budget(self, data: DataConfig, scale: Scale) -> Budget:
        """Return the budget of a run: its share of the time that there is for all."""
        minutes = self.config.minutes or scale.minutes
        if minutes is None:
            return Budget(tokens=None)
        path = self.config.out / "budget.json"
        asked = {"minutes": minutes, "sweeps": list(self.config.sweeps)}
        known = read_budget(path, asked)
        if known is not None:
            return known
        self.say("measuring this machine's speed")
        base = load_recipe("base", preset=self.config.preset, overrides=self.config.overrides).with_vocab_of(data)
        plan = base.config(base.variants[0], 0, data=data, run_dir=self.config.out / "unused")
        tokens, tokens_per_s = affordable_tokens(
            dataclasses.replace(plan, compile=False), seconds=60 * minutes, num_runs=self._num_runs(plan.batch_size)
        )
        if tokens <= FEWEST_STEPS * plan.tokens_per_step:
            self.say(f"{minutes:g} minutes are too short for all runs; each gets its fewest tokens, {tokens:,}")
        return write_budget(path, asked, tokens=tokens, tokens_per_s=tokens_per_s)

    def _num_runs(self, batch_size: int) -> float:
        """Return how many runs there will be, as multiples of one at this batch size."""
        total = float(_EXTRA_RATES)
        for name in self.config.sweeps:
            recipe = load_recipe(name, preset=self.config.preset, overrides=self.config.overrides)
            for variant in recipe.variants:
                ratio = variant.settings.get("batch_size", batch_size) / batch_size
                total += len(recipe.seeds) * (ratio if recipe.mixed_budgets else 1.0)
        return total

    def _recipe(self, name: str, budget: Budget, *, lr: float | None = None) -> Recipe:
        plain = load_recipe(name, preset=self.config.preset, overrides=self.config.overrides)
        overrides = [*budget.settings(plain)]
        if lr is not None and name != "main-experiment":
            overrides.append(f"optim.lr={lr!r}")
        recipe = load_recipe(name, preset=self.config.preset, overrides=[*overrides, *self.config.overrides])
        if name != "ablations":
            return recipe
        base = load_recipe("base", preset=self.config.preset, overrides=[*overrides, *self.config.overrides])
        return ablations_of(base, preset=self.config.preset)

    def _best_rate(self, data: DataConfig, budget: Budget) -> float:
        self.say("learning rate")
        recipe = self._recipe("learning-rate", budget)
        outcomes = bracket_rates(recipe, self.execute, data=data, out=self.config.out / "runs" / "learning-rate")
        losses = {rate: loss for rate, loss in losses_by_rate(outcomes).items() if loss is not None}
        if not losses:
            raise ValueError("no learning rate was stable; look at the runs with `cs336 runs list`")
        return min(losses, key=lambda rate: losses[rate])

    def _sweep(self, name: str, data: DataConfig, budget: Budget, *, lr: float) -> list[Outcome]:
        recipe = self._recipe(name, budget, lr=lr)
        self.say(recipe.title.lower())
        out = self.config.out / "runs" / name
        if name == "main-experiment":
            return bracket_rates(recipe, self.execute, data=data, out=out, to_edge=False)
        runs = plan_sweep(recipe, data=data, out=out)
        record_sweep(recipe, out)
        return run_sweep(runs, self.execute)

    def _study_generation(self, scale: Scale) -> None:
        """Let the run with the lowest loss write."""
        name = "best" if "best" in self.config.sweeps else "learning-rate"
        out = self.config.out / "runs" / name
        run_dir = _lowest_run(out)
        if not (run_dir / GENERATION_FILE).exists():
            self.say(f"generation with {run_dir}")
            study_generation(run_dir, scale.generation)

    def _sheet(self, first: Texts, second: Texts) -> Sheet:
        return Sheet(
            title="Answer sheet",
            lead=(
                f"All experiments at the preset `{self.config.preset}`. First corpus: {first.name}; second corpus, for "
                f"the main experiment: {second.name}.",
            ),
            corpora={"data-1": first.name, "data-2": second.name},
        )


def _lowest_run(out: Path) -> Path:
    study = gather([out])[0]
    row = best_row(tabulate(study.outcomes, allow_mixed_budgets=True))
    if row is None:
        raise ValueError(f"no run in {out} ended well; look at them with `cs336 runs list {out}`")
    return Path(row.run_dirs[0])
