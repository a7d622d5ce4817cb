"""Where the runs of a sweep are done: here one after another, here side by side, or as an array of SLURM jobs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cs336._extras import require_extra
from cs336.config import TrainConfig, to_toml
from cs336.experiments.sweep import PlannedRun, outcome_of
from cs336.train.launch import main
from cs336.train.runlog import Record

_POLL_S = 0.2


class InterruptedSweepError(Exception):
    """A signal stopped the run under way; it saved, and the sweep goes on when called again."""

    def __init__(self, number: int) -> None:
        super().__init__(f"the sweep was stopped by signal {number}; call it again to go on")
        self.signal = number


@dataclass(frozen=True, kw_only=True)
class InTurn:
    """One run after another in this process.

    Attributes:
        show: Called with a run before it begins; what it returns is entered, and called with the run's records.
    """

    show: Callable[[PlannedRun, int, int], AbstractContextManager[Callable[[Record], None]]] = (
        lambda _run, _index, _total: nullcontext(lambda _record: None)
    )

    def __call__(self, runs: Sequence[PlannedRun], /) -> None:
        """Do the runs.

        Raises:
            InterruptedSweepError: A signal came; the run under way has saved.
        """
        for index, run in enumerate(runs):
            with self.show(run, index, len(runs)) as on_record:
                result = main(run.config, resume=True, on_record=on_record)
            if result.signal is not None:
                raise InterruptedSweepError(result.signal)


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Several runs at once, each in a process of its own with its share of the threads.

    Attributes:
        num_jobs: How many at once.
        on_end: Called with a run and its exit code as it ends.
    """

    num_jobs: int
    on_end: Callable[[PlannedRun, int], None] = field(default=lambda _run, _code: None)

    def __post_init__(self) -> None:
        if self.num_jobs < 1:
            raise ValueError(f"the number of jobs must be at least 1, got {self.num_jobs}")

    def __call__(self, runs: Sequence[PlannedRun], /) -> None:
        """Do the runs.

        Raises:
            ValueError: Runs failed otherwise than by diverging; the others are done. Names the logs.
        """
        waiting, failed = list(runs), []
        working: dict[subprocess.Popen[bytes], PlannedRun] = {}
        try:
            while waiting or working:
                while waiting and len(working) < self.num_jobs:
                    run = waiting.pop(0)
                    working[self._start(run)] = run
                time.sleep(_POLL_S)
                for process in [process for process in working if process.poll() is not None]:
                    run = working.pop(process)
                    self.on_end(run, process.returncode)
                    if process.returncode and not _has_diverged(run):
                        failed.append(run)
        finally:
            _stop(working)
        if failed:
            logs = ", ".join(str(_log_path(run)) for run in failed)
            raise ValueError(f"{len(failed)} of {len(runs)} runs failed; read {logs}, and call again to go on")

    def _start(self, run: PlannedRun) -> "subprocess.Popen[bytes]":
        config_path = run.run_dir.with_name(run.run_dir.name + ".toml")
        config_path.parent.mkdir(parents=True, exist_ok=True)
        config_path.write_text(to_toml(run.config), encoding="utf-8")
        threads = max(1, len(os.sched_getaffinity(0)) // self.num_jobs) if hasattr(os, "sched_getaffinity") else 1
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-m", "cs336", "train", "--config", str(config_path), "--resume"]
        with _log_path(run).open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)


def _log_path(run: PlannedRun) -> Path:
    return run.run_dir.with_name(run.run_dir.name + ".log")


def _has_diverged(run: PlannedRun) -> bool:
    return outcome_of(run).state == "diverged"


def _stop(working: "dict[subprocess.Popen[bytes], PlannedRun]") -> None:
    """Let runs that are under way save and end."""
    for process in working:
        process.send_signal(signal.SIGTERM)
    for process in working:
        process.wait()


@dataclass(frozen=True, kw_only=True)
class Submitit:
    """An array of jobs, one a run, through submitit; a job that is put back into the queue goes on where it stopped.

    Attributes:
        folder: For the jobs' logs.
        cluster: `slurm`, or `local` and `debug` to try it.
        parameters: What to ask the cluster for, in submitit's words, such as `timeout_min` or `slurm_partition`.
        num_at_once: How many jobs run at the same time.
    """

    folder: Path
    cluster: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    num_at_once: int = 16

    def __call__(self, runs: Sequence[PlannedRun], /) -> None:
        """Submit the runs and wait for them.

        Raises:
            ModuleNotFoundError: submitit is not installed.
            ValueError: Jobs failed; the others are done.
        """
        require_extra("slurm", modules=("submitit",), needed_by="an array of jobs")
        import submitit  # noqa: PLC0415  (an extra)

        executor = submitit.AutoExecutor(folder=self.folder, cluster=self.cluster)
        executor.update_parameters(slurm_array_parallelism=self.num_at_once, **self.parameters)
        with executor.batch():
            jobs = [executor.submit(train_task, run.config) for run in runs]
        failed = [job.job_id for job in jobs if job.exception() is not None]
        if failed:
            raise ValueError(
                f"{len(failed)} of {len(runs)} jobs failed ({', '.join(failed)}); read their logs in {self.folder}, "
                "and call again to go on"
            )


def train_task(config: TrainConfig) -> str:
    """Do one run as a job of its own; return how it ended."""
    return main(config, resume=True).status
