"""`cs336 sweep` and `cs336 ablate`."""

import contextlib
import dataclasses
import math
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console

from cs336.cli.display import print_result
from cs336.cli.exit import ExitCode, UsageError, signal_exit_code
from cs336.cli.live import show_training

if TYPE_CHECKING:
    from cs336.config import DataConfig
    from cs336.experiments.recipe import Recipe
    from cs336.experiments.sweep import Execute, Outcome, PlannedRun
    from cs336.experiments.table import Row


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Run a recipe's grid or list of runs, each for several seeds, and compare them.

    What is done is passed over, what was cut off goes on, what diverged is a result: call it again with the same words
    to go on. Runs that see different numbers of tokens are refused, since their losses cannot be compared.

    Attributes:
        recipe: A recipe of the package (`cs336 sweep list` names them) or a .toml file.
        data: Directory with train.npy, valid.npy and tokenizer.json, as `cs336 experiments prepare` writes it.
        preset: Make the recipe fit a kind of machine: gpu (the course's size), cpu or smoke.
        set_: Override a common setting (optim.lr=1e-3), or make a grid of it (optim.lr=1e-3,3e-3); can be repeated.
        only: Run these of its variants only.
        seeds: Seeds instead of the recipe's.
        out: Directory of the runs; the default is runs/RECIPE.
        minutes: Give each run so much wall clock, as tokens: the speed here is measured first, and the budget kept.
        bracket: Go on beyond a grid of rates until the best lies inside and divergence is bracketed.
        jobs: Runs at the same time, each in a process of its own.
        executor: Here, or as an array of SLURM jobs through submitit (`debug`: submitit within this process), or as a
            script for sbatch, which is written and left to you.
        slurm: What to ask SLURM for: in submitit's words (slurm_partition=gpu), or for a script in sbatch's
            (partition=gpu); can be repeated.
        allow_mixed_budgets: Compare runs although they see different numbers of tokens, or cut their schedule short.
        dry_run: List the runs and how they stand, and do none.
        json: Print the table as JSON.
    """

    recipe: tyro.conf.Positional[str]
    data: Path | None = None
    preset: str | None = None
    set_: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE"), tyro.conf.UseAppendAction] = ()
    only: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    out: Path | None = None
    minutes: float | None = None
    bracket: bool = False
    jobs: int = 1
    executor: Literal["local", "slurm", "debug", "sbatch"] = "local"
    slurm: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE"), tyro.conf.UseAppendAction] = ()
    allow_mixed_budgets: bool = False
    dry_run: bool = False
    json: bool = False

    def run(self) -> int:
        """Do the sweep and print its table."""
        from cs336.experiments.recipe import load_recipe, recipe_names

        if self.recipe == "list":
            for name in recipe_names():
                sys.stdout.write(f"{name:<20}  {load_recipe(name).question}\n")
            return ExitCode.OK
        recipe = load_recipe(self.recipe, overrides=self.set_, seeds=self.seeds or None, preset=self.preset)
        out = self.out or Path("runs") / recipe.name
        if self.minutes is not None:
            recipe = self._in_time(recipe, self.minutes, out)
        if self.only:
            recipe = recipe.only(self.only)
        return Work(recipe, self, out=out, bracket=self.bracket).run()

    def _in_time(self, recipe: "Recipe", minutes: float, out: Path) -> "Recipe":
        """Return the recipe with the budget that fits into the time; what `--set` says wins."""
        from cs336.experiments.budget import budget_in_time
        from cs336.experiments.recipe import load_recipe

        if not (minutes > 0 and math.isfinite(minutes)):
            raise UsageError(f"--minutes must be positive, got {minutes:g}")
        budget = budget_in_time(recipe, data=data_config(self.data), out=out, minutes=minutes)
        overrides = (*budget.settings(recipe), *self.set_)
        return load_recipe(self.recipe, overrides=overrides, seeds=self.seeds or None, preset=self.preset)


@dataclass(frozen=True, kw_only=True)
class Ablate:
    """Take the parts of a recipe's model away one by one: the same schedule, budget and seeds as the whole.

    No norm and post-norm, each at the recipe's rate and at a tenth of it (beside the whole model at a tenth), no
    position embedding, and SiLU without a gate at as many parameters. What is done is passed over, as by `cs336 sweep`.

    Attributes:
        recipe: A recipe of the package or a .toml file; of one with several variants name the --variant.
        variant: Which of the recipe's variants is the baseline.
        data: Directory with train.npy, valid.npy and tokenizer.json, as `cs336 experiments prepare` writes it.
        preset: Make the recipe fit a kind of machine: gpu (the course's size), cpu or smoke.
        set_: Override a common setting, such as optim.lr=4.8e-3, the best of your sweep; can be repeated.
        seeds: Seeds instead of those of the recipe `ablations`.
        out: Directory of the runs; the default is runs/ablations.
        jobs: Runs at the same time, each in a process of its own.
        executor: As for `cs336 sweep`.
        slurm: As for `cs336 sweep`; can be repeated.
        dry_run: List the runs and how they stand, and do none.
        json: Print the table as JSON.
    """

    recipe: tyro.conf.Positional[str] = "base"
    variant: str | None = None
    data: Path | None = None
    preset: str | None = None
    set_: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE"), tyro.conf.UseAppendAction] = ()
    seeds: tuple[int, ...] = ()
    out: Path | None = None
    jobs: int = 1
    executor: Literal["local", "slurm", "debug", "sbatch"] = "local"
    slurm: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE"), tyro.conf.UseAppendAction] = ()
    dry_run: bool = False
    json: bool = False

    def run(self) -> int:
        """Do the ablations and print their table."""
        from cs336.experiments.ablations import ablations_of
        from cs336.experiments.recipe import load_recipe

        recipe = load_recipe(self.recipe, overrides=self.set_, preset=self.preset)
        ablations = ablations_of(recipe, variant=self.variant, seeds=self.seeds or None, preset=self.preset)
        return Work(ablations, self, out=self.out or Path("runs") / "ablations").run()


class Work:
    """A recipe on its way to a table.

    Args:
        recipe: What to run.
        options: Where and how, as the verb was told.
        out: Directory of the runs.
        bracket: Search beyond the recipe's rates.
    """

    def __init__(self, recipe: "Recipe", options: Sweep | Ablate, *, out: Path, bracket: bool = False) -> None:
        self.recipe = recipe
        self.options = options
        self.out = out
        self.bracket = bracket
        self.mixed = recipe.mixed_budgets or (isinstance(options, Sweep) and options.allow_mixed_budgets)

    def run(self) -> int:
        """Do what is to be done and print it."""
        from cs336.experiments.executors import InterruptedSweepError
        from cs336.experiments.slurm_script import write_sbatch
        from cs336.experiments.sweep import outcome_of, plan_sweep, record_sweep
        from cs336.experiments.table import tabulate

        options = self.options
        data = data_config(options.data)
        runs = plan_sweep(self.recipe, data=data, out=self.out, allow_mixed_budgets=self.mixed)
        if options.dry_run:
            outcomes = [outcome_of(run) for run in runs]
        elif options.executor == "sbatch":
            if self.bracket:
                raise UsageError("a search reads the results of each round: give --bracket another --executor")
            record_sweep(self.recipe, self.out)
            script = write_sbatch(
                runs, self.out, name=self.recipe.name, at_once=max(options.jobs, 1), options=options.slurm
            )
            print_result({"submit": f"sbatch {shlex.quote(str(script))}"}, as_json=options.json)
            return ExitCode.OK
        else:
            try:
                outcomes = self._outcomes(data, runs)
            except InterruptedSweepError as stop:
                sys.stderr.write(f"{stop}: {shlex.join(['cs336', *sys.argv[1:]])}\n")
                return signal_exit_code(stop.signal)
        print_rows(tabulate(outcomes, allow_mixed_budgets=self.mixed), as_json=options.json)
        return ExitCode.OK

    def _outcomes(self, data: "DataConfig", runs: "list[PlannedRun]") -> "list[Outcome]":
        from cs336.experiments.bracket import bracket_rates, edge_of_stability, losses_by_rate
        from cs336.experiments.sweep import record_sweep, run_sweep

        if not self.bracket:
            record_sweep(self.recipe, self.out)
            return run_sweep(runs, self._executor(), on_skip=_say_skipped)
        outcomes = bracket_rates(self.recipe, self._executor(), data=data, out=self.out, on_skip=_say_skipped)
        edge = edge_of_stability(losses_by_rate(outcomes))
        _say("no edge of stability was found" if edge is None else f"stable at {edge[0]:g}, broken at {edge[1]:g}")
        return outcomes

    def _executor(self) -> "Execute":
        from cs336.experiments.executors import InTurn, SideBySide, Submitit

        options = self.options
        if options.executor == "local":
            return SideBySide(num_jobs=options.jobs, on_end=_say_ended) if options.jobs > 1 else InTurn(show=show_run)
        parameters = dict(_slurm_parameter(item) for item in options.slurm)
        return Submitit(
            folder=self.out / "jobs",
            cluster=options.executor,
            parameters=parameters,
            num_at_once=max(options.jobs, 1),
        )


def data_config(folder: Path | None) -> "DataConfig":
    """Return the data that a directory holds.

    Raises:
        UsageError: There is none.
        FileNotFoundError: A file is missing.
    """
    from cs336.config import DataConfig

    if folder is None:
        raise UsageError("say what to train on: --data DIRECTORY, as `cs336 experiments prepare` writes it")
    train, valid, tokenizer = (folder / name for name in ("train.npy", "valid.npy", "tokenizer.json"))
    for path in (train, valid, tokenizer):
        path.stat()
    return DataConfig(train=str(train), valid=str(valid), tokenizer=str(tokenizer))


@contextlib.contextmanager
def show_run(run: "PlannedRun", index: int, total: int) -> Iterator[Callable[[Any], None]]:
    """Show a run of a sweep on stderr as `cs336 train` shows one."""
    sys.stderr.write(f"run {index + 1} of {total}: {run.run_dir}\n")
    with show_training(str(run.run_dir), num_steps=run.config.num_steps) as display:
        yield display


def print_rows(rows: "list[Row]", *, as_json: bool) -> None:
    """Print a table of variants to stdout: Markdown, which reads well as it is."""
    from cs336.experiments.table import HEADER, cells, markdown

    if as_json:
        values = [dataclasses.asdict(row) | {"mean": row.mean, "spread": row.spread} for row in rows]
        print_result({"variants": values}, as_json=True)
    else:
        sys.stdout.write(markdown(HEADER, cells(rows)))


def _say_skipped(outcome: "Outcome") -> None:
    _say(f"{outcome.planned.run_dir}: {outcome.state} already")


def _say_ended(run: "PlannedRun", code: int) -> None:
    _say(f"{run.run_dir}: ended with exit code {code}")


def _say(text: str) -> None:
    Console(stderr=True, highlight=False).print(text, soft_wrap=True, markup=False)


def _slurm_parameter(item: str) -> tuple[str, str | int]:
    key, equals, value = item.partition("=")
    if not equals:
        raise UsageError(f"--slurm must look like slurm_partition=gpu, got {item!r}")
    return key, int(value) if value.isdigit() else value
