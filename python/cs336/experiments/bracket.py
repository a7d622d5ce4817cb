"""A search for the learning rate that does not stop at an edge of its own making.

A grid that ends before training breaks has not found the edge of stability, and one whose best point is its first or
last has not found the best. So the search goes on: upward in steps of two until a rate diverges, downward until the
lowest rate is not the best one, and into gaps wider than a factor of two.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from cs336.config import DataConfig
from cs336.experiments.recipe import grid_variant
from cs336.experiments.sweep import Execute, Outcome, plan_sweep, record_sweep, run_sweep
from cs336.experiments.table import tabulate
from cs336.experiments.variants import Recipe

RATE = "optim.lr"
_STEP = 2.0
_ROUNDING = 1 + 1e-6


def next_rates(losses: Mapping[float, float | None], *, to_edge: bool = True) -> list[float]:
    """Return the rates to try next; none once the best lies inside and divergence is bracketed.

    Args:
        losses: Mean loss by rate; None where a run diverged.
        to_edge: Go upward until training breaks, rather than until the highest rate is not the best.
    """
    rates = sorted(losses)
    stable = {rate: loss for rate, loss in losses.items() if loss is not None}
    if not stable:
        return [rates[0] / _STEP]
    best = min(stable, key=lambda rate: stable[rate])
    wanted = [
        math.sqrt(low * high) for low, high in itertools.pairwise(rates) if high / low > _STEP * _ROUNDING
    ]  # one halving a round: a gap that stays too wide is halved again
    if losses[rates[-1]] is not None and (to_edge or best == rates[-1]):
        wanted.append(rates[-1] * _STEP)
    if best == rates[0]:
        wanted.append(rates[0] / _STEP)
    return wanted


def edge_of_stability(losses: Mapping[float, float | None]) -> tuple[float, float] | None:
    """Return the highest rate below which every rate is stable, and the next one, which diverges; None if unknown."""
    for low, high in itertools.pairwise(sorted(losses)):
        if losses[low] is not None and losses[high] is None:
            return low, high
    return None


def losses_by_rate(outcomes: Iterable[Outcome]) -> dict[float, float | None]:
    """Return the mean loss of each rate that was run; None where any of its seeds diverged."""
    outcomes = list(outcomes)
    rates = {outcome.planned.variant.name: outcome.planned.config.optim.lr for outcome in outcomes}
    rows = [row for row in tabulate(outcomes) if not row.num_open]
    return {rates[row.name]: None if row.has_diverged else row.mean for row in rows}


def bracket_rates(
    recipe: Recipe,
    execute: Execute,
    *,
    data: DataConfig,
    out: str | Path,
    to_edge: bool = True,
    max_rates: int = 16,
    on_skip: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run a recipe's rates and those that must follow, and return what came of all of them, by rising rate.

    Args:
        recipe: Its grid must be over `optim.lr` alone.
        execute: Does runs.
        data: What to train on.
        out: Directory of the runs.
        to_edge: Search for the edge of stability as well as for the best rate.
        max_rates: Give up beyond so many rates.
        on_skip: Told of runs that are done already.

    Raises:
        ValueError: The recipe compares something else; or as `run_sweep`.
        OSError: As `run_sweep`.
    """
    if any(set(variant.settings) != {RATE} or variant.factors for variant in recipe.variants):
        raise ValueError(
            f"recipe {recipe.name}: a search needs a grid over {RATE} alone; use --set {RATE}=1e-3,2e-3,4e-3"
        )
    while True:
        record_sweep(recipe, out)
        runs = plan_sweep(recipe, data=data, out=out)
        outcomes = sorted(run_sweep(runs, execute, on_skip=on_skip), key=lambda each: each.planned.config.optim.lr)
        losses = losses_by_rate(outcomes)
        wanted = next_rates(losses, to_edge=to_edge) if losses else []
        if not wanted or len(recipe.variants) + len(wanted) > max_rates:
            return outcomes
        on_skip = None  # what this call has done itself is no news
        more = (grid_variant({RATE: float(f"{rate:.6g}")}) for rate in wanted)
        recipe = dataclasses.replace(recipe, variants=(*recipe.variants, *more))
