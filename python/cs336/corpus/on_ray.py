"""Tasks on a Ray cluster: Ray Core tasks that take a number and return one; files are all that is shared."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cs336._extras import require_extra

if TYPE_CHECKING:
    from cs336.corpus.executors import Failures, Report
    from cs336.corpus.planning import Plan
    from cs336.corpus.work import Done, Outcome, Work

# How often a task of a plan is tried in all.
ATTEMPTS = 3


def run_on_ray(
    work: "Work", tasks: Sequence[int], *, attempts: int, cpus_per_task: int, on_done: "Done | None"
) -> "Outcome":
    """Do tasks on the cluster that Ray is connected to, that `RAY_ADDRESS` names, or else on this machine.

    Ray's own retries are off: they would also repeat what has failed for a reason that stays.

    Raises:
        ModuleNotFoundError: The extra `ray` is missing.
    """
    require_extra("ray", modules=("ray",), needed_by="the executor 'ray'")
    import ray  # noqa: PLC0415  (an extra)

    is_ours = not ray.is_initialized()
    if is_ours:
        ray.init(log_to_driver=False, include_dashboard=False)
    try:
        return _Run(ray, work, attempts, cpus_per_task, on_done).run(tasks)
    finally:
        if is_ours:
            ray.shutdown()


@dataclass(frozen=True)
class PlanTask:
    """A task of a corpus plan, on a worker that sees its directory."""

    directory: str
    num_threads: int

    def __call__(self, task: int) -> None:
        """Do what is left of it."""
        from cs336.corpus.planning import Plan  # noqa: PLC0415  (on the worker)
        from cs336.corpus.task import run_task  # noqa: PLC0415

        run_task(Plan.load(self.directory), task, num_threads=self.num_threads)


def run_plan(
    plan: "Plan", tasks: Sequence[int], *, num_threads: int | None = None, progress: "Report | None" = None
) -> "Failures":
    """Do tasks of a plan on a Ray cluster; `num_threads` is of one task, 1 by default. Progress is told task by task.

    Raises:
        ModuleNotFoundError: The extra `ray` is missing.
    """
    from cs336.corpus.executors import Progress  # noqa: PLC0415  (it names this module)
    from cs336.corpus.task import journal_path  # noqa: PLC0415
    from cs336.shards import read_journal  # noqa: PLC0415

    begin = time.monotonic()
    total_bytes = sum(map(plan.task_bytes, tasks))
    at = Progress(0, total_bytes, tokens=0, rejected=0, done_tasks=0, num_tasks=len(tasks), elapsed_s=0.0)

    def on_done(task: int) -> None:
        nonlocal at
        journal = read_journal(journal_path(plan, task))
        at = replace(
            at,
            done_bytes=at.done_bytes + plan.task_bytes(task),
            tokens=at.tokens + sum(shard.tokens for shard in journal.shards),
            rejected=at.rejected + sum(told["rejected"] for told in (journal.report or {"inputs": ()})["inputs"]),
            done_tasks=at.done_tasks + 1,
            elapsed_s=time.monotonic() - begin,
        )
        if progress is not None:
            progress(at)

    threads = num_threads or 1
    work = PlanTask(str(plan.directory.absolute()), threads)
    outcome = run_on_ray(work, tasks, attempts=ATTEMPTS, cpus_per_task=threads, on_done=on_done)
    return {task: ValueError(reason) for task, reason in outcome.failed.items()}


class _Run:
    def __init__(self, ray: Any, work: "Work", attempts: int, cpus_per_task: int, on_done: "Done | None") -> None:
        self._ray = ray
        self._attempts = attempts
        self._on_done = on_done
        self._do = ray.remote(num_cpus=cpus_per_task, max_retries=0)(_do)
        self._work = work
        self._tried: dict[int, int] = {}
        self._running: dict[Any, int] = {}

    def run(self, tasks: Sequence[int]) -> "Outcome":
        from cs336.corpus.work import Outcome  # noqa: PLC0415  (it imports this module)

        done: list[int] = []
        failed: dict[int, str] = {}
        for task in tasks:
            self._start(task)
        try:
            while self._running:
                (ended,), _ = self._ray.wait(list(self._running), num_returns=1)
                task = self._running.pop(ended)
                reason, is_final = self._reason(ended)
                if reason is None:
                    done.append(task)
                    if self._on_done is not None:
                        self._on_done(task)
                elif is_final or self._tried[task] >= self._attempts:
                    failed[task] = reason
                else:
                    self._start(task)
        except BaseException:  # Ctrl-C, say: nothing is left running behind the caller's back
            for running in self._running:
                self._ray.cancel(running, force=True)
            raise
        return Outcome(tuple(sorted(done)), failed)

    def _start(self, task: int) -> None:
        self._tried[task] = self._tried.get(task, 0) + 1
        self._running[self._do.remote(self._work, task)] = task

    def _reason(self, ended: Any) -> tuple[str | None, bool]:
        """Why a task was not done, None if it was; and whether that will stay so."""
        try:
            failure = self._ray.get(ended)
        except self._ray.exceptions.RayError as error:  # the worker or its node is gone
            return f"its worker was lost ({type(error).__name__}), {self._attempts} times", False
        return (None, True) if failure is None else failure


def _do(work: "Work", task: int) -> tuple[str, bool] | None:
    """Run on a worker. Errors come back as words: their classes may not be known to whoever asked."""
    from cs336.corpus.work import describe, may_pass  # noqa: PLC0415  (on the worker)

    try:
        work(task)
    except Exception as error:
        return describe(error), not may_pass(error)
    return None
