"""The checkpoints of one run: where they lie, which of them stay, and who writes them.

The latest ones stay, the one with the lowest validation loss, and those at multiples of `permanent_every`.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cs336.config import TrainConfig, to_dict
from cs336.tokenizer import Tokenizer
from cs336.train.checkpoint import (
    STATE_FILE,
    latest_checkpoint,
    read_checkpoint,
    read_own_checkpoint,
    state_file,
    write_checkpoint,
)
from cs336.train.distributed import Ranks
from cs336.train.durable import begin_directory, finish_directory, write_synced
from cs336.train.learner import Learner
from cs336.train.parallel import is_sharded
from cs336.train.sharded import write_shards


class Shelf:
    """The `checkpoints/` of a run directory, which all ranks must see.

    Args:
        config: Of the run.
        learner: Whose weights and optimizer are saved and restored.
        tokenizer: The one the run reads with; its hash and the id that ends a document go into every checkpoint.
        ranks: Those that train together; each call is made by all of them.
    """

    def __init__(self, config: TrainConfig, learner: Learner, *, tokenizer: Tokenizer | None, ranks: Ranks) -> None:
        self.run_dir = Path(config.run_dir)
        self.directory = self.run_dir / "checkpoints"
        self._config, self._learner, self._tokenizer, self._ranks = config, learner, tokenizer, ranks

    def take_up_latest(self) -> tuple[Path, int, dict[str, Any]] | None:
        """Restore the whole checkpoint of the greatest step; return its path, step and state, or None without one.

        Raises:
            ValueError: It is of another model or optimizer.
        """
        path = self._ranks.from_first(lambda: latest_checkpoint(self.run_dir))
        if path is None:
            return None
        model, optimizer = self._learner.model, self._learner.optimizer
        if is_sharded(model):
            checkpoint = read_own_checkpoint(path, model=model, optimizer=optimizer, ranks=self._ranks)
        else:
            checkpoint = read_checkpoint(path)
        checkpoint.restore(model, optimizer)
        return path, checkpoint.step, checkpoint.state

    def put(self, step: int, state: Mapping[str, Any], *, best_step: int | None) -> Path:
        """Write a checkpoint of the learner as it is, then drop those that need not stay.

        Raises:
            OSError: The disk is full, or the place cannot be written; the earlier ones are untouched.
        """
        path = self._path(step)
        if is_sharded(self._learner.model):
            self._put_shards(path, step, state)
        elif self._ranks.is_first:
            model, optimizer = self._learner.model, self._learner.optimizer
            write_checkpoint(path, model=model, optimizer=optimizer, **self._facts(step, state))
        if self._ranks.is_first:
            self._drop_old(step, best_step)
        return path

    def _put_shards(self, path: Path, step: int, state: Mapping[str, Any]) -> None:
        """Fill a directory aside together; the first rank gives it its name once every share is on the disk."""
        aside = self._ranks.from_first(lambda: begin_directory(path))
        model, optimizer = self._learner.model, self._learner.optimizer
        facts = write_shards(aside, model=model, optimizer=optimizer, ranks=self._ranks)

        def finish() -> None:
            write_synced(aside / STATE_FILE, state_file(self._facts(step, state) | facts))
            finish_directory(path)

        self._ranks.from_first(finish)

    def _facts(self, step: int, state: Mapping[str, Any]) -> dict[str, Any]:
        tokenizer = self._tokenizer
        return {
            "step": step,
            "config": to_dict(self._config),
            "state": state,
            "tokenizer_hash": None if tokenizer is None else tokenizer.sha256,
            "eos_id": None if tokenizer is None else tokenizer.eos_id,
        }

    def _path(self, step: int) -> Path:
        return self.directory / f"step_{step:08d}"

    def _drop_old(self, step: int, best_step: int | None) -> None:
        steps = sorted(int(path.name.removeprefix("step_")) for path in self.directory.glob("step_" + "[0-9]" * 8))
        past = [one for one in steps if one <= step]
        # what lies ahead could not be read when the run was taken up, or it would have been taken up there
        kept = {*past[-self._config.keep_checkpoints :], best_step}
        permanent_every = self._config.permanent_every
        for one in steps:
            is_permanent = permanent_every is not None and one % permanent_every == 0 and one <= step
            if one not in kept and not is_permanent:
                shutil.rmtree(self._path(one))
