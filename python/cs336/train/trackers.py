"""Other places for a run's measurements: TensorBoard and Weights & Biases, imported only when a config names them.

`metrics.jsonl` stays the truth: a tracker that fails is reported once and left out, and the run goes on.
"""

import contextlib
import math
import os
import secrets
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from cs336._extras import require_extra
from cs336.config import TrainConfig, to_dict
from cs336.train.runlog import Record

_NO_MEASUREMENT = ("kind", "step", "prompt", "text", "batch")


class Tracker(Protocol):
    """Takes the records of a run."""

    def record(self, record: Record) -> None:
        """Take one record."""

    def close(self) -> None:
        """Bring everything to where it belongs."""


def require_trackers(config: TrainConfig) -> None:
    """Check that what the config's trackers need is installed, without importing it.

    Raises:
        ModuleNotFoundError: It is not; the message names the command to run.
    """
    for name in config.trackers:
        require_extra(name, modules=(name,), needed_by=f"the tracker {name}")


class Trackers:
    """All trackers of a config; one that fails is left out of what follows.

    Args:
        config: Of the run; the trackers write into its run directory.
        step: Where the run goes on; what was recorded past it is dropped where the tracker can.
    """

    def __init__(self, config: TrainConfig, *, step: int) -> None:
        self._trackers: dict[str, Tracker] = {}
        for name in config.trackers:
            with self._left_out_on_failure(name):
                self._trackers[name] = _TRACKERS[name](config, step)

    def record(self, record: Record) -> None:
        """Pass a record on."""
        for name, tracker in list(self._trackers.items()):
            with self._left_out_on_failure(name):
                tracker.record(record)

    def close(self) -> None:
        """Bring everything to where it belongs."""
        for name, tracker in list(self._trackers.items()):
            with self._left_out_on_failure(name):
                tracker.close()

    @contextlib.contextmanager
    def _left_out_on_failure(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a tracker can fail in any way, and none is worth a run
            self._trackers.pop(name, None)
            warnings.warn(f"the tracker {name} failed and is left out from here on: {error!r}", stacklevel=2)


class _TensorBoard:
    def __init__(self, config: TrainConfig, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  (only when asked for)

        self._writer = SummaryWriter(str(Path(config.run_dir) / "tensorboard"), purge_step=step + 1 if step else None)

    def record(self, record: Record) -> None:
        for name, value in _measurements(record).items():
            self._writer.add_scalar(name, value, record["step"])
        if record["kind"] == "sample":
            self._writer.add_text("sample", f"**{record['prompt']}**{record['text']}", record["step"])

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    """W&B's own environment variables say where to: WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline."""

    def __init__(self, config: TrainConfig, step: int) -> None:
        import wandb  # noqa: PLC0415  (only when asked for)

        run_dir = Path(config.run_dir)
        id_file = run_dir / "wandb_id"
        if not id_file.exists():
            id_file.write_text(secrets.token_hex(4), encoding="utf-8")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "cs336"),
            name=run_dir.name,
            dir=str(run_dir),
            id=id_file.read_text(encoding="utf-8"),
            resume="allow",
            config=to_dict(config),
        )
        # our steps are an axis, not W&B's own count, which may not go back: a resumed run repeats steps
        self._run.define_metric("*", step_metric="step")

    def record(self, record: Record) -> None:
        values: dict[str, Any] = _measurements(record)
        if record["kind"] == "sample":
            values["sample"] = f"{record['prompt']}{record['text']}"
        self._run.log(values | {"step": record["step"]})

    def close(self) -> None:
        self._run.finish()


_TRACKERS: Mapping[str, Any] = {"tensorboard": _TensorBoard, "wandb": _Wandb}


def _measurements(record: Record) -> dict[str, float]:
    values = {name: value for name, value in record.items() if name not in _NO_MEASUREMENT}
    numbers = {f"{record['kind']}/{name}": float(value) for name, value in values.items() if value is not None}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}
