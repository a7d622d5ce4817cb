"""Wall clock -> tokens: what runs may see so that they are over in time, measured once and kept.

A run that was cut off goes on only with the same config, so that a budget, once chosen, stands in a file and is read
from there by every later call.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cs336.config import DataConfig, TrainConfig
from cs336.experiments.variants import Recipe
from cs336.train.durable import write_file
from cs336.train.learner import measure_tokens_per_s

NUM_VALIDATIONS = 8
FEWEST_STEPS = 60
_VALID_COST = 0.4  # of a training token's time, for a held-out one
_USED_SHARE = 0.97  # of the time: what starting, compiling and saving leave
_MEASURING_SHARE = 0.05  # of the time, at most


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What each run of a recipe may see.

    Attributes:
        tokens: Tokens a run; None leaves what the recipe says.
    """

    tokens: int | None

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
            f"eval_every={-(-num_steps // NUM_VALIDATIONS)}",
            f"checkpoint_every={-(-num_steps // 2)}",
            f"log_every={max(1, num_steps // 50)}",
        ]


def affordable_tokens(config: TrainConfig, *, seconds: float, num_runs: float = 1.0) -> tuple[int, float]:
    """Return how many tokens each of some runs can see if all are to be done in time, and the tokens/s measured here.

    Never fewer than `FEWEST_STEPS` steps.

    Raises:
        OSError: A token file cannot be read.
    """
    tokens_per_s = measure_tokens_per_s(
        config, num_steps=6, num_warmup_steps=2, time_limit_s=_MEASURING_SHARE * seconds
    )
    held_out = NUM_VALIDATIONS * _VALID_COST * _num_ids(config.data)
    tokens = _USED_SHARE * seconds * tokens_per_s / num_runs - held_out
    return max(FEWEST_STEPS * config.tokens_per_step, round(tokens)), tokens_per_s


def read_budget(path: Path, asked: Mapping[str, Any]) -> Budget | None:
    """Return the budget that was chosen for the same wishes; None if none was.

    Raises:
        ValueError: It was chosen for other wishes; names both.
    """
    if not path.exists():
        return None
    known = json.loads(path.read_text(encoding="utf-8"))
    changed = [f"{key} was {known.get(key)}, is {value}" for key, value in asked.items() if known.get(key) != value]
    if changed:
        raise ValueError(f"{path} was made for something else: {'; '.join(changed)}; choose another directory (--out)")
    return Budget(tokens=int(known["tokens"]))


def write_budget(path: Path, asked: Mapping[str, Any], *, tokens: int, tokens_per_s: float) -> Budget:
    """Keep a budget, and return it.

    Raises:
        OSError: It cannot be written.
    """
    facts = {**asked, "tokens": tokens, "tokens_per_s": round(tokens_per_s, 1)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, (json.dumps(facts) + "\n").encode())
    return Budget(tokens=tokens)


def budget_in_time(recipe: Recipe, *, data: DataConfig, out: Path, minutes: float) -> Budget:
    """Return what a run of a recipe may see in so many minutes on this machine; measured with its first variant.

    Raises:
        OSError: A token file cannot be read, or the budget not be kept.
        ValueError: The directory has a budget for another time.
    """
    path, asked = out / "budget.json", {"minutes": minutes}
    known = read_budget(path, asked)
    if known is not None:
        return known
    plan = recipe.with_vocab_of(data).config(recipe.variants[0], recipe.seeds[0], data=data, run_dir=out / "unused")
    tokens, tokens_per_s = affordable_tokens(plan, seconds=60 * minutes)
    return write_budget(path, asked, tokens=tokens, tokens_per_s=tokens_per_s)


def _num_ids(data: DataConfig) -> int:
    return 0 if data.valid is None else len(np.load(data.valid, mmap_mode="r"))
