"""Doing a plan, or a share of it, from wherever it stands."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cs336.corpus.executors import Failures, Progress, Report, executor_named
from cs336.corpus.lock import CorpusLock, CorpusLockedError
from cs336.corpus.planning import Plan, check_is_planned
from cs336.corpus.sealing import check_budget, in_order, journals, seal, unfinished
from cs336.corpus.shuffling import Progress as ShuffleProgress
from cs336.corpus.shuffling import discard_unshuffled, shuffle
from cs336.shards import MANIFEST, Manifest, Shard, read_manifest


class TasksFailedError(ValueError):
    """Several tasks could not be done; the message lists them, and the others are done."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended.

    Attributes:
        directory: the corpus directory.
        is_finished: whether the whole job is done; otherwise other shares of it are not.
        num_tasks: tasks of the whole job.
        done_tasks: those that are done.
        totals: of the finished corpus: tokens, documents, rejected, bytes; empty until it is finished.
        rejected_by_reason: of the finished corpus.
    """

    directory: Path
    is_finished: bool
    num_tasks: int
    done_tasks: int
    totals: Mapping[str, int]
    rejected_by_reason: Mapping[str, int]


def run(
    plan: Plan,
    *,
    executor: str = "local",
    num_threads: int | None = None,
    task_index: int = 0,
    num_tasks: int = 1,
    progress: Report | None = None,
) -> RunResult:
    """Do what is left of a plan, or of one share of its tasks, and seal the corpus when all of it is done.

    Whatever happened to earlier runs, what they committed counts and is not done again. The bytes that come out do not
    depend on how often, where, in how many shares or by how many threads it is done.

    Args:
        plan: the job.
        executor: "local", or "ray" for a cluster.
        num_threads: threads on this machine; None for all cores.
        task_index: which share of the tasks to do, from 0.
        num_tasks: how many shares there are, each done by a call of its own, such as the tasks of an array job.
        progress: called now and then.

    Raises:
        OSError: an input cannot be read, or the directory cannot be written.
        ValueError: an input is damaged or has changed, holds what is no document and may not, or more than one task
            failed; the other tasks are done first. Someone else writes to the directory.
    """
    if not 0 <= task_index < num_tasks:
        raise ValueError(f"task_index must lie in 0 .. num_tasks - 1, got {task_index} of {num_tasks}")
    if num_threads is not None and num_threads < 1:
        raise ValueError(f"num_threads must be at least 1 (or None for all cores), got {num_threads}")
    run_tasks = executor_named(executor)
    with CorpusLock(plan.directory, share=task_index, num_shares=num_tasks):
        check_is_planned(plan)
        if not (plan.directory / MANIFEST).exists():
            own = [task for task in unfinished(plan) if task % num_tasks == task_index]
            failures = run_tasks(plan, own, num_threads=num_threads, progress=_within_budget(plan, progress))
            _raise(failures)
            _finish_if_last(plan, num_threads, progress)
        if (plan.directory / MANIFEST).exists():
            discard_unshuffled(plan)
    return result_of(plan)


def result_of(plan: Plan) -> RunResult:
    """Tell how a job stands.

    Raises:
        OSError: the directory cannot be read.
        ValueError: it is damaged.
    """
    num_unfinished = len(unfinished(plan))
    manifest = read_manifest(plan.directory) if (plan.directory / MANIFEST).exists() else None
    return RunResult(
        directory=plan.directory,
        is_finished=manifest is not None,
        num_tasks=len(plan.tasks),
        done_tasks=len(plan.tasks) - num_unfinished,
        totals={} if manifest is None else manifest.totals,
        rejected_by_reason={} if manifest is None else rejected_by_reason(manifest),
    )


def rejected_by_reason(manifest: Manifest) -> dict[str, int]:
    """Add up the rejected records of all inputs."""
    reasons: dict[str, int] = {}
    for report in manifest.inputs:
        for reason, count in report["rejected_by_reason"].items():
            reasons[reason] = reasons.get(reason, 0) + count
    return dict(sorted(reasons.items()))


def _finish_if_last(plan: Plan, num_threads: int | None, progress: Report | None) -> None:
    done = journals(plan)
    if any(journal.report is None for journal in done):
        return
    with contextlib.suppress(CorpusLockedError), CorpusLock(plan.directory, name="finish"):
        if (plan.directory / MANIFEST).exists():
            return  # another share has ended at the same moment
        shards: Sequence[Shard] = in_order(done)
        if plan.options.shuffle_seed is not None:
            shards = shuffle(plan, shards, num_threads=num_threads, progress=_of_shuffle(plan, progress))
        seal(plan, shards, done)


def _within_budget(plan: Plan, progress: Report | None) -> Report:
    """End a run as soon as its tasks together have rejected too much, not when all of them are done."""
    before = sum(told["rejected"] for done in journals(plan) if done.report for told in done.report["inputs"])

    def report(at: Progress) -> None:
        check_budget(plan, before + at.rejected)
        if progress is not None:
            progress(at)

    return report


def _of_shuffle(plan: Plan, progress: Report | None) -> ShuffleProgress | None:
    """Tell of a shuffle in the words of a run."""
    if progress is None:
        return None
    began = time.monotonic()
    width = 2 if plan.dtype == "uint16" else 4
    num_tasks = len(plan.tasks)

    def report(_stage: str, done: int, total: int) -> None:
        elapsed_s = time.monotonic() - began
        done, total = done * width, total * width
        progress(Progress(0, 0, 0, 0, num_tasks, num_tasks, elapsed_s, shuffled_bytes=done, bytes_to_shuffle=total))

    return report


def _raise(failures: Failures) -> None:
    if len(failures) == 1:
        raise next(iter(failures.values()))
    if failures:
        listed = "; ".join(f"task {task}: {error}" for task, error in sorted(failures.items())[:10])
        more = f"; and {len(failures) - 10} more" if len(failures) > 10 else ""
        raise TasksFailedError(f"{len(failures)} tasks failed, the others are done: {listed}{more}")
