"""The one way into a training run: alone, under torchrun, or as a task of a submitit job."""

from collections.abc import Callable
from pathlib import Path

from cs336.config import TrainConfig
from cs336.train.curves import plot_curves
from cs336.train.distributed import joined
from cs336.train.loop import train
from cs336.train.plan import warn
from cs336.train.progress import TrainResult
from cs336.train.runlog import Record


def main(
    config: TrainConfig,
    *,
    resume: bool = False,
    on_record: Callable[[Record], None] | None = None,
    time_limit_s: float | None = None,
) -> TrainResult:
    """Join the other processes of this run, if a launcher started any, and train; draw `curve.png` at the end.

    `cs336 train` calls it, `torchrun -m cs336 train` calls it in each process, and a submitit executor can be given it:
    `executor.submit(main, config, resume=True)` with as many tasks a node as devices. With `resume=True` a job that was
    put back into the queue goes on where it stopped.

    Args:
        config: The whole run.
        resume: Go on with the run in `config.run_dir`, if there is one.
        on_record: Called on the first rank with each record of `metrics.jsonl`.
        time_limit_s: Stop, validate and save once so much wall clock has gone by.

    Raises:
        ValueError, OSError: As `train`.
    """
    with joined(config.device) as ranks:
        result = train(config, resume=resume, on_record=on_record, time_limit_s=time_limit_s, ranks=ranks)
        if ranks.is_first and result.train_loss is not None:
            _draw_curve(Path(result.run_dir))
        return result


def _draw_curve(run_dir: Path) -> None:
    """Draw what the run recorded; no picture is worth the exit code of a run that has been saved."""
    try:
        plot_curves(run_dir, run_dir / "curve.png")
    except OSError as error:
        warn(f"the curve could not be drawn ({error}); once there is room: cs336 runs plot {run_dir}")
