"""One of several ranks: joins the others, makes the runs of a plan one after the other, says how they ended.

Usage: rank_worker.py PLAN.json; the environment says which rank this is. A run of the plan has a config file, and may
name a rank, a step and a signal that this rank then sends itself.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from cs336.config import load_config
from cs336.train.distributed import Ranks, joined
from cs336.train.learner import Learner
from cs336.train.loop import train

UPDATE = Learner.update


def make(run: dict[str, Any], ranks: Ranks) -> list[Any]:
    def update(self: Learner, step: int) -> None:
        UPDATE(self, step)
        if [ranks.rank, step] == run.get("rank_and_step"):
            os.kill(os.getpid(), run["signal"])

    Learner.update = update  # type: ignore[method-assign]
    try:
        result = train(load_config(run["config"]), resume=run.get("resume", True), ranks=ranks)
    except ValueError as error:
        return ["refused", str(error)]
    return [result.status, result.step, result.signal]


if __name__ == "__main__":
    plan = json.loads(Path(sys.argv[1]).read_text())
    with joined("cpu") as ranks:
        sys.stdout.write(json.dumps([make(run, ranks) for run in plan]) + "\n")
