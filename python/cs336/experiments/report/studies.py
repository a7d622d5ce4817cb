"""What runs there are, gathered into the sweeps that they belong to."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs336.config import load_config, to_dict
from cs336.experiments.sweep import SWEEP_FILE, Outcome, PlannedRun, outcome_of
from cs336.experiments.table import Row, tabulate
from cs336.experiments.variants import Variant
from cs336.settings import flatten
from cs336.train.history import find_runs

_FOLLOWING = (
    "schedule.warmup_steps",
    "micro_batch_size",
    "eval_every",
    "checkpoint_every",
    "log_every",
    "seed",
    "run_dir",
)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Runs that are compared with one another.

    Attributes:
        folder: Where they are.
        title: A few words.
        question: What they are to answer; empty if nobody asked.
        outcomes: The runs, variant by variant, the baseline first.
        mixed_budgets: They see different numbers of tokens, and somebody wanted that.
        not_begun: Variants that were planned and of which no run exists.
    """

    folder: Path
    title: str
    question: str
    outcomes: tuple[Outcome, ...]
    mixed_budgets: bool
    not_begun: tuple[str, ...] = ()

    @property
    def rows(self) -> list[Row]:
        """A line for each variant."""
        return tabulate(self.outcomes, allow_mixed_budgets=True)

    @property
    def budgets(self) -> list[int]:
        """The different numbers of tokens that variants see, batch sizes' rounding left aside."""
        step = max(outcome.planned.config.tokens_per_step for outcome in self.outcomes)
        kept: list[int] = []
        for num_tokens in sorted({outcome.planned.num_tokens for outcome in self.outcomes}):
            if not kept or num_tokens - kept[-1] >= step:
                kept.append(num_tokens)
        return kept

    def varied(self) -> dict[str, dict[str, Any]]:
        """Return the settings in which variants differ, with their values by variant, but for what follows."""
        settings = {outcome.planned.variant.name: flatten(to_dict(outcome.planned.config)) for outcome in self.outcomes}
        first = next(iter(settings.values()))
        return {
            key: {name: values[key] for name, values in settings.items()}
            for key in first
            if key not in _FOLLOWING and len({repr(values[key]) for values in settings.values()}) > 1
        }


def gather(places: Sequence[Path]) -> list[Study]:
    """Return the sweeps, and the single runs together, in and below some directories, the first begun first.

    Raises:
        FileNotFoundError: A place does not exist.
        ValueError: There is no run, or one's files are damaged.
    """
    by_folder: dict[Path, list[Outcome]] = {}
    for run in find_runs(*places):
        is_of_sweep = (run.path.parent.parent / SWEEP_FILE).exists()
        folder = run.path.parent.parent if is_of_sweep else run.path.parent
        name = run.path.parent.name if is_of_sweep else run.path.name
        config = dataclasses.replace(load_config(run.path / "config.toml"), run_dir=str(run.path))
        planned = PlannedRun(variant=Variant(name=name), seed=config.seed, config=config)
        by_folder.setdefault(folder, []).append(outcome_of(planned))
    if not by_folder:
        raise ValueError(f"no runs in {', '.join(map(str, places))}; `cs336 train` and `cs336 sweep` make them")
    return _told_apart([_study(folder, outcomes) for folder, outcomes in by_folder.items()])


def _told_apart(studies: Sequence[Study]) -> list[Study]:
    """Return the studies, those of one title with their directories in it."""
    times = Counter(study.title for study in studies)
    names = Counter((study.title, study.folder.name) for study in studies)
    return [
        dataclasses.replace(study, title=f"{study.title} ({_shortest(study, names)})")
        if times[study.title] > 1
        else study
        for study in studies
    ]


def _shortest(study: Study, names: Mapping[tuple[str, str], int]) -> str:
    return study.folder.name if names[study.title, study.folder.name] == 1 else str(study.folder)


def _study(folder: Path, outcomes: list[Outcome]) -> Study:
    path = folder / SWEEP_FILE
    facts: dict[str, Any] = {}
    if path.exists():
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
    order = {name: index for index, name in enumerate(facts.get("variants", ()))}
    begun = {outcome.planned.variant.name for outcome in outcomes}
    outcomes.sort(key=lambda each: (order.get(each.planned.variant.name, len(order)), each.planned.seed))
    return Study(
        folder=folder,
        title=str(facts.get("title", folder.name)),
        question=str(facts.get("question", "")),
        outcomes=tuple(outcomes),
        mixed_budgets=bool(facts.get("mixed_budgets", False)),
        not_begun=tuple(name for name in order if name not in begun),
    )
