"""Sweeps: the runs of a recipe, done once each, whatever happens on the way.

Each run has its directory, `OUT/VARIANT/seed-N`, and what stands there decides: a finished or diverged run is a result
and is passed over, one that was cut off goes on from its last checkpoint, one that is missing begins. So a sweep that
was stopped, or whose machine went down, is called again with the same words.
"""

import contextlib
import json
import math
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from cs336.config import DataConfig, TrainConfig, changed_keys, load_config
from cs336.experiments.recipe import Recipe, Variant
from cs336.settings import override_text
from cs336.train.durable import write_file
from cs336.train.history import RunSummary, read_run
from cs336.train.runlog import FREE_KEYS

State = Literal["missing", "cut off", "done", "diverged", "running"]
SWEEP_FILE = "sweep.json"
_RISE = 0.5  # nats above the lowest loss on the way, or a uniform guess: no schedule brings a run back from there


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of a sweep.

    Attributes:
        variant: What it differs in.
        seed: Its seed.
        config: All of it.
    """

    variant: Variant
    seed: int
    config: TrainConfig

    @property
    def run_dir(self) -> Path:
        """Where it is, or will be."""
        return Path(self.config.run_dir)

    @property
    def num_tokens(self) -> int:
        """Tokens it is trained on."""
        return self.config.num_steps * self.config.tokens_per_step


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a run.

    Attributes:
        planned: The run.
        state: `diverged` also where the loss stayed finite, but rose and did not come back.
        summary: Its numbers; None if it is missing.
    """

    planned: PlannedRun
    state: State
    summary: RunSummary | None

    @property
    def loss(self) -> float | None:
        """The validation loss at the end, in nats per token; None if there is none or the run diverged."""
        return self.summary.valid_loss if self.state == "done" and self.summary is not None else None


class Execute(Protocol):
    """Does planned runs: in this process, in others, or on a cluster."""

    def __call__(self, runs: Sequence[PlannedRun], /) -> None:
        """Do them; those that can go on do so from their last checkpoint."""


def plan_sweep(
    recipe: Recipe, *, data: DataConfig, out: str | Path, allow_mixed_budgets: bool = False
) -> list[PlannedRun]:
    """Return the runs of a recipe, variant by variant.

    Raises:
        OSError: The tokenizer cannot be read.
        ValueError: A setting does not fit; the runs cannot be compared, since they see different numbers of tokens or
            are cut off before their schedule ends; a directory holds another run.
    """
    recipe = recipe.with_vocab_of(data)
    runs = [
        PlannedRun(
            variant=variant,
            seed=seed,
            config=recipe.config(variant, seed, data=data, run_dir=Path(out) / variant.name / f"seed-{seed}"),
        )
        for variant in recipe.variants
        for seed in recipe.seeds
    ]
    if not (allow_mixed_budgets or recipe.mixed_budgets):
        require_equal_budgets(runs)
        _require_whole_schedules(runs)
    for run in runs:
        _require_own_directory(run, recipe)
    return runs


def require_equal_budgets(runs: Iterable[PlannedRun]) -> None:
    """Refuse to compare runs that see different numbers of tokens.

    A step's worth of difference is rounding: batch sizes need not divide the budget.

    Raises:
        ValueError: They do; names the smallest and the largest.
    """
    by_tokens = sorted(runs, key=lambda run: run.num_tokens)
    if not by_tokens:
        return
    least, most = by_tokens[0], by_tokens[-1]
    step = max(run.config.tokens_per_step for run in by_tokens)
    if most.num_tokens - least.num_tokens >= step:
        raise ValueError(
            f"the runs see different numbers of tokens, {least.num_tokens:,} ({least.variant.name}) to "
            f"{most.num_tokens:,} ({most.variant.name}), so that their losses cannot be compared; set tokens "
            "instead of steps, or allow it (--allow-mixed-budgets)"
        )


def _require_whole_schedules(runs: Iterable[PlannedRun]) -> None:
    for run in runs:
        end = run.config.schedule.cosine_steps
        if end is not None and end != run.config.num_steps:
            raise ValueError(
                f"{run.variant.name}: the schedule ends at step {end:,}, the run at step {run.config.num_steps:,}; "
                "a rate that has not come down costs hundredths of loss, so leave schedule.cosine_steps out, "
                "or allow it (--allow-mixed-budgets)"
            )


def _require_own_directory(run: PlannedRun, recipe: Recipe) -> None:
    path = run.run_dir / "config.toml"
    if not path.exists():
        return
    there = load_config(path)
    changes = {key: change for key, change in changed_keys(there, run.config).items() if key not in FREE_KEYS}
    if not changes:
        return
    said = "; ".join(f"{key} was {old}, is {new}" for key, (old, new) in changes.items())
    earlier = {key: old for key, (old, _) in changes.items()}
    remedy = "choose another directory (--out)"
    if _is_made_by(recipe.with_settings(earlier), run, there):
        words = " ".join(f"--set {shlex.quote(f'{key}={override_text(old)}')}" for key, old in earlier.items())
        remedy = f"to go on with it say {words}, otherwise {remedy}"
    raise ValueError(f"{run.run_dir} holds a run with another config: {said}; {remedy}")


def _is_made_by(recipe: Recipe, run: PlannedRun, there: TrainConfig) -> bool:
    """Tell whether a recipe plans what is there: not so where the difference is the variant's own, or its data's."""
    with contextlib.suppress(ValueError):
        planned = recipe.config(run.variant, run.seed, data=run.config.data, run_dir=run.run_dir)
        return not changed_keys(there, planned).keys() - FREE_KEYS
    return False


def outcome_of(run: PlannedRun) -> Outcome:
    """Read how a run stands."""
    if not (run.run_dir / "run.json").exists():
        return Outcome(planned=run, state="missing", summary=None)
    summary = read_run(run.run_dir)
    state: State
    if summary.status == "running":
        state = "running"
    elif summary.status == "diverged" or (summary.status == "finished" and _has_risen(summary)):
        state = "diverged"
    else:
        state = "done" if summary.status == "finished" else "cut off"
    return Outcome(planned=run, state=state, summary=summary)


def _has_risen(summary: RunSummary) -> bool:
    """Tell whether the loss left where it had been and stayed away, or ended far above a uniform guess."""
    last, best = summary.valid_loss, summary.best_valid_loss
    if last is None or best is None:
        return False
    vocab_size = summary.facts["config"]["model"]["vocab_size"]
    return not math.isfinite(last) or last > min(best, math.log(vocab_size)) + _RISE


def record_sweep(recipe: Recipe, out: str | Path) -> None:
    """Write what a sweep asks, for reports, into the directory of its runs: `sweep.json`.

    Raises:
        OSError: It cannot be written.
    """
    Path(out).mkdir(parents=True, exist_ok=True)
    facts = {
        "recipe": recipe.name,
        "title": recipe.title,
        "question": recipe.question,
        "mixed_budgets": recipe.mixed_budgets,
        "seeds": list(recipe.seeds),
        "variants": [variant.name for variant in recipe.variants],
    }
    write_file(Path(out) / SWEEP_FILE, (json.dumps(facts, indent=1) + "\n").encode())


def run_sweep(
    runs: Sequence[PlannedRun], execute: Execute, *, on_skip: Callable[[Outcome], None] | None = None
) -> list[Outcome]:
    """Do what is missing of a sweep, and return what came of each run.

    Raises:
        ValueError, OSError: A run failed for another reason than divergence; those before it are done.
    """
    missing = []
    for run in runs:
        outcome = outcome_of(run)
        if outcome.state in ("done", "diverged", "running"):
            if on_skip is not None:
                on_skip(outcome)
        else:
            missing.append(run)
    execute(missing)
    return [outcome_of(run) for run in runs]
