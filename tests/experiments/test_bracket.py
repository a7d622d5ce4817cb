import itertools
import math

import pytest

from cs336.config import DataConfig
from cs336.experiments.bracket import bracket_rates, edge_of_stability, losses_by_rate, next_rates
from cs336.experiments.executors import InTurn
from cs336.experiments.recipe import load_recipe


def bowl(rate, *, best, edge):
    """A loss with its lowest point at `best` that breaks from `edge` on."""
    return None if rate >= edge else 2 + math.log(rate / best) ** 2


@pytest.mark.parametrize("start", [[1e-4], [1e-3, 2e-3], [3e-4, 3e-2], [1.0, 2.0]])
def test_the_search_ends_with_the_best_inside_and_the_edge_bracketed(start):
    losses = {rate: bowl(rate, best=4e-3, edge=2e-2) for rate in start}
    for _ in range(20):
        wanted = next_rates(losses)
        if not wanted:
            break
        losses |= {rate: bowl(rate, best=4e-3, edge=2e-2) for rate in wanted}
    rates = sorted(losses)
    low, high = edge_of_stability(losses)
    assert low < 2e-2 <= high <= 2.001 * low
    stable = [rate for rate in rates if losses[rate] is not None]
    best = min(stable, key=losses.get)
    assert best != rates[0]
    assert 4e-3 / 2 <= best <= 4e-3 * 2
    assert all(b / a <= 2.001 for a, b in itertools.pairwise(rates))


def test_a_search_for_the_best_rate_alone_stops_above_it():
    losses = {rate: bowl(rate, best=4e-3, edge=1.0) for rate in (1e-3, 2e-3)}
    while wanted := next_rates(losses, to_edge=False):
        losses |= {rate: bowl(rate, best=4e-3, edge=1.0) for rate in wanted}
    assert max(losses) == 8e-3
    assert min(losses, key=losses.get) == 4e-3


def test_no_edge_is_named_where_none_was_seen():
    assert edge_of_stability({1e-3: 2.0, 2e-3: 1.9}) is None
    assert edge_of_stability({1e-3: None}) is None
    assert edge_of_stability({1e-3: 2.0, 2e-3: None, 4e-3: 3.0}) == (1e-3, 2e-3)


def test_rates_are_run_beyond_the_recipes_grid_until_training_breaks(tiny_recipe, data_dir, tmp_path):
    recipe = load_recipe(
        tiny_recipe('[grid]\n"optim.lr" = [0.5, 1.0]\n'),
        overrides=["optim.max_grad_norm=none", "model.norm=none"],
        seeds=[0],
    )
    data = DataConfig(train=str(data_dir / "train.npy"), valid=str(data_dir / "valid.npy"))
    outcomes = bracket_rates(recipe, InTurn(), data=data, out=tmp_path / "out")
    losses = losses_by_rate(outcomes)
    assert list(losses) == sorted(losses)
    assert len(losses) > 2
    assert edge_of_stability(losses) is not None
    assert next_rates(losses) == []
