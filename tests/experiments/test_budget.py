import json

import pytest

from cs336.config import DataConfig
from cs336.experiments import budget
from cs336.experiments.answer_sheet import SWEEPS
from cs336.experiments.budget import FEWEST_STEPS, Budget, affordable_tokens, budget_in_time, read_budget, write_budget
from cs336.experiments.recipe import load_recipe


@pytest.fixture
def data(data_dir):
    names = {"train": "train.npy", "valid": "valid.npy", "tokenizer": "tokenizer.json"}
    return DataConfig(**{key: str(data_dir / name) for key, name in names.items()})


def test_a_budget_brings_recipes_to_its_tokens_with_a_warm_up_that_fits():
    for name in SWEEPS:
        plain = load_recipe(name, preset="cpu")
        overrides = Budget(tokens=500_000).settings(plain)
        recipe = load_recipe(name, preset="cpu", overrides=overrides)
        config = recipe.config(recipe.variants[0], 0, data=DataConfig(train="x"), run_dir="x")
        step = config.tokens_per_step
        assert 0 <= config.num_steps * step - 500_000 < step, name
        assert 0 < config.schedule.warmup_steps <= config.num_steps // 10
    assert Budget(tokens=None).settings(load_recipe("base")) == []


def test_the_tokens_are_what_the_speed_allows_each_run_less_what_validating_takes(tiny_recipe, data, monkeypatch):
    monkeypatch.setattr(budget, "measure_tokens_per_s", lambda *_, **__: 10_000.0)
    recipe = load_recipe(tiny_recipe())
    plan = recipe.config(recipe.variants[0], 0, data=data, run_dir="unused")
    alone, speed = affordable_tokens(plan, seconds=600)
    assert speed == 10_000.0
    assert 0.9 * 6_000_000 < alone < 6_000_000
    halves, _ = affordable_tokens(plan, seconds=600, num_runs=2)
    assert halves < alone / 2
    assert affordable_tokens(plan, seconds=0.001)[0] == FEWEST_STEPS * plan.tokens_per_step


def test_a_budget_is_measured_once_and_kept_for_the_same_time(tiny_recipe, data, tmp_path, monkeypatch):
    recipe = load_recipe(tiny_recipe())
    monkeypatch.setattr(budget, "measure_tokens_per_s", lambda *_, **__: 10_000.0)
    first = budget_in_time(recipe, data=data, out=tmp_path, minutes=2)
    monkeypatch.setattr(budget, "measure_tokens_per_s", lambda *_, **__: 1.0)
    assert budget_in_time(recipe, data=data, out=tmp_path, minutes=2) == first
    assert json.loads((tmp_path / "budget.json").read_text())["tokens"] == first.tokens
    with pytest.raises(ValueError, match=r"made for something else: minutes was 2, is 3; choose another directory"):
        budget_in_time(recipe, data=data, out=tmp_path, minutes=3)


def test_part_of_what_a_budget_was_made_for_may_be_done_first(tmp_path):
    path = tmp_path / "budget.json"
    whole = {"minutes": 9, "sweeps": ["learning-rate", "best", "ablations"]}
    made = write_budget(path, whole, tokens=1000, tokens_per_s=1.0)
    for sweeps in (["learning-rate"], ["ablations", "learning-rate"]):
        assert read_budget(path, {"minutes": 9, "sweeps": sweeps}) == made
    with pytest.raises(ValueError, match=r"sweeps was .*, is .*batch-size.*; choose another directory"):
        read_budget(path, {"minutes": 9, "sweeps": ["learning-rate", "batch-size"]})
    with pytest.raises(ValueError, match="minutes was 9, is 5"):
        read_budget(path, {"minutes": 5, "sweeps": ["learning-rate"]})
