"""Tasks that may be done anywhere, by this process or on a Ray cluster.

A task is a number; doing it is a call that may be made any number of times, anywhere, with the same outcome on disk. So
whoever hands out tasks needs to know nothing of what is done, no data go through it, and what is lost is done again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Executor = Literal["local", "ray"]
Done = Callable[[int], object]


class Work(Protocol):
    """What is done for each task. It goes to other processes: a frozen dataclass of plain values."""

    def __call__(self, task: int) -> object:
        """Do a task, or what is left of it."""


@dataclass(frozen=True)
class Outcome:
    """What became of the tasks.

    Attributes:
        done: the tasks that were done, in order.
        failed: for each of the others, why.
    """

    done: tuple[int, ...]
    failed: Mapping[int, str] = field(default_factory=dict)

    def check(self) -> None:
        """Raise if a task has failed.

        Raises:
            ValueError: Some have; the message lists them.
        """
        if self.failed:
            listed = "; ".join(f"task {task}: {reason}" for task, reason in sorted(self.failed.items())[:10])
            more = f"; and {len(self.failed) - 10} more" if len(self.failed) > 10 else ""
            raise ValueError(
                f"{len(self.failed)} of {len(self.failed) + len(self.done)} tasks failed, the others are done ({listed}"
                f"{more}); run it again for the rest"
            )


def run_tasks(
    work: Work,
    tasks: Sequence[int],
    *,
    executor: Executor = "local",
    attempts: int = 3,
    cpus_per_task: int = 1,
    on_done: Done | None = None,
) -> Outcome:
    """Do tasks. One that is lost, or fails for a reason that may pass, is tried again; the others go on.

    Args:
        work: what to do.
        tasks: their numbers.
        executor: "local" for one after the other in this process (each may use all cores), "ray" for a cluster.
        attempts: how often a task is tried in all.
        cpus_per_task: what a task is given on a cluster.
        on_done: called with the number of each task that is done.

    Raises:
        ValueError: The executor is unknown or a number is less than 1.
        ModuleNotFoundError: The extra `ray` is missing.
    """
    if attempts < 1 or cpus_per_task < 1:
        raise ValueError(f"attempts and cpus_per_task must be at least 1, got {attempts} and {cpus_per_task}")
    if executor == "local":
        return _run_here(work, tasks, attempts, on_done)
    if executor == "ray":
        from cs336.corpus.on_ray import run_on_ray  # noqa: PLC0415  (an extra)

        return run_on_ray(work, tasks, attempts=attempts, cpus_per_task=cpus_per_task, on_done=on_done)
    raise ValueError(f"executor must be 'local' or 'ray', got {executor!r}")


def may_pass(error: BaseException) -> bool:
    """Whether trying again can help: a wrong argument or a bad record stays what it is."""
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError | PermissionError)


def describe(error: BaseException) -> str:
    """Return an error in one line."""
    return " ".join((str(error) or type(error).__name__).split())


def _run_here(work: Work, tasks: Sequence[int], attempts: int, on_done: Done | None) -> Outcome:
    done, failed = [], {}
    for task in tasks:
        for attempt in range(attempts):
            try:
                work(task)
            except Exception as error:
                if may_pass(error) and attempt + 1 < attempts:
                    continue
                failed[task] = describe(error)
            else:
                done.append(task)
                if on_done is not None:
                    on_done(task)
            break
    return Outcome(tuple(done), failed)
