"""Studies whose runs came out as a test says, without running any."""

import dataclasses
import math
from pathlib import Path

import pytest

from cs336.config import DataConfig
from cs336.experiments.recipe import load_recipe
from cs336.experiments.report.studies import Study
from cs336.experiments.sweep import Outcome, plan_sweep
from cs336.train.history import RunSummary


@pytest.fixture
def study_of(tiny_recipe):
    """Return a study of the tiny recipe with more in it; `loss_of` tells the loss by variant and seed, None breaks."""

    def make(more, loss_of, *, seeds=(0,), valid=None, bytes_per_token=4.0):
        recipe = load_recipe(tiny_recipe(more), seeds=seeds)
        data = DataConfig(train="train.npy", valid=valid)
        outcomes = []
        for run in plan_sweep(recipe, data=data, out=Path("out"), allow_mixed_budgets=True):
            loss = loss_of(run.variant.name, run.seed)
            bits = None if loss is None else loss / math.log(2) / bytes_per_token
            values = {field.name: None for field in dataclasses.fields(RunSummary)}
            values |= {"path": run.run_dir, "valid_loss": loss, "bits_per_byte": bits, "elapsed_s": 1.0, "facts": {}}
            state = "diverged" if loss is None else "done"
            outcomes.append(Outcome(planned=run, state=state, summary=RunSummary(**values)))
        return Study(
            folder=Path("out"), title="T", question="?", outcomes=tuple(outcomes), mixed_budgets=recipe.mixed_budgets
        )

    return make
