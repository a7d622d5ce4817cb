"""Where tasks run. An executor does them in any order and tells of each that ends; the directory is the truth."""

import errno
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from cs336.corpus.planning import Plan
from cs336.corpus.task import run_task

_POLL_S = 0.2
_THREADS_A_TASK = 4
_TRIES = 2
# What another try will not change.
_LASTING = {errno.ENOSPC, errno.EDQUOT, errno.ENOENT, errno.EACCES, errno.EROFS}


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done_bytes: bytes of the inputs that are done, as they are on disk.
        total_bytes: bytes of the inputs of all tasks of this run.
        tokens: ids made in this run.
        rejected: records rejected in this run.
        done_tasks: tasks that have ended well.
        num_tasks: tasks of this run.
        elapsed_s: since the run began.
        failures: why tasks have failed so far; the others go on.
        shuffled_bytes: of the ids that are to be shuffled once all tasks are done, how much was read and written; None
            before.
        bytes_to_shuffle: in all.
    """

    done_bytes: int
    total_bytes: int
    tokens: int
    rejected: int
    done_tasks: int
    num_tasks: int
    elapsed_s: float
    failures: tuple[str, ...] = ()
    shuffled_bytes: int | None = None
    bytes_to_shuffle: int = 0


Report = Callable[[Progress], object]
Failures = dict[int, Exception]


class Executor(Protocol):
    """Does tasks of a plan; returns those that could not be done, with the reason. The others are finished first."""

    def __call__(
        self, plan: Plan, tasks: Sequence[int], *, num_threads: int | None, progress: Report | None
    ) -> Failures:
        """Do the tasks."""


# By name, where it lies: an executor's own dependencies are imported only when it is asked for.
EXECUTORS = {"local": "cs336.corpus.executors:run_locally", "ray": "cs336.corpus.on_ray:run_plan"}


def executor_named(name: str) -> Executor:
    """Return an executor.

    Raises:
        ValueError: there is none of this name.
        ModuleNotFoundError: what it needs is not installed.
    """
    if name not in EXECUTORS:
        raise ValueError(f"executor must be one of {', '.join(EXECUTORS)}, got {name!r}")
    module, _, function = EXECUTORS[name].partition(":")
    executor: Executor = getattr(import_module(module), function)
    return executor


class _StoppedError(Exception):
    """Another thread has asked the tasks to stop."""


class _Board:
    """What the running tasks write and the one who waits for them reads."""

    def __init__(self, plan: Plan, tasks: Sequence[int]) -> None:
        self.stop = threading.Event()
        self._began = time.monotonic()
        self._sizes = {task: plan.task_bytes(task) for task in tasks}
        self._running: dict[int, tuple[int, int, int]] = {}
        self.done: set[int] = set()
        self.failures: Failures = {}

    def note(self, task: int, done: int, tokens: int, rejected: int) -> None:
        self._running[task] = (done, tokens, rejected)
        if self.stop.is_set():
            raise _StoppedError

    def progress(self) -> Progress:
        running = list(self._running.items())
        done_bytes = sum(self._sizes[task] if task in self.done else noted[0] for task, noted in running)
        return Progress(
            done_bytes=done_bytes + sum(self._sizes[task] for task in self.done if task not in self._running),
            total_bytes=sum(self._sizes.values()),
            tokens=sum(noted[1] for _, noted in running),
            rejected=sum(noted[2] for _, noted in running),
            done_tasks=len(self.done),
            num_tasks=len(self._sizes),
            elapsed_s=time.monotonic() - self._began,
            failures=tuple(str(error) for error in self.failures.values()),
        )


def run_locally(
    plan: Plan, tasks: Sequence[int], *, num_threads: int | None = None, progress: Report | None = None
) -> Failures:
    """Do tasks in threads of this process, several side by side, each with a share of the threads.

    An interruption (an exception in the calling thread) stops the tasks at the next batch and is raised when they have
    stopped; what is committed stays.
    """
    num_threads = _num_cores() if num_threads is None else num_threads
    side_by_side = max(1, min(len(tasks), max(num_threads // _THREADS_A_TASK, min(2, num_threads))))
    board = _Board(plan, tasks)
    failures = board.failures
    pending = iter(tasks)
    running: dict[Future[None], int] = {}
    with ThreadPoolExecutor(max_workers=side_by_side) as pool:
        try:
            while True:
                while len(running) < side_by_side and (task := next(pending, None)) is not None:
                    left = len(tasks) - len(board.done) - len(failures)
                    threads = -(-num_threads // min(side_by_side, left))
                    running[pool.submit(_try, plan, task, threads, board)] = task
                if not running:
                    return failures
                ended, _ = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                for future in ended:
                    task = running.pop(future)
                    error = future.exception()
                    if error is None:
                        board.done.add(task)
                    elif isinstance(error, Exception):
                        failures[task] = error
                    else:
                        raise error
                if progress is not None:
                    progress(board.progress())
        except BaseException:
            board.stop.set()
            raise


def _try(plan: Plan, task: int, num_threads: int, board: _Board) -> None:
    for attempt in range(1, _TRIES + 1):
        try:
            run_task(
                plan,
                task,
                num_threads=num_threads,
                progress=lambda done, _total, tokens, rejected: board.note(task, done, tokens, rejected),
            )
            return
        except OSError as error:  # of a network's file system, perhaps
            if attempt == _TRIES or board.stop.is_set() or error.errno in _LASTING:
                raise


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
