"""Counting the pretokens of many files, each a task, and adding the counts up."""

import errno
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cs336 import _bpe
from cs336.corpus.work import Executor, run_tasks
from cs336.inputs import InputFile, Inputs, ReadOptions, expand
from cs336.tokenizer import CountSummary, count_pretokens, merge_counts

Progress = Callable[[str, int, int], object]


@dataclass(frozen=True)
class CountPart:
    """Counts one file of a plan, into a file of its own; done again, it does nothing."""

    directory: Path

    def __call__(self, task: int) -> None:
        """Count."""
        out = self.directory / f"{task:05d}.counts"
        if out.exists():  # it appears whole or not at all
            return
        plan = json.loads((self.directory / "plan.json").read_text(encoding="utf-8"))
        planned = InputFile(**plan["files"][task])
        _check_unchanged(planned)
        count_pretokens(
            planned.name,
            out,
            plan["special_tokens"],
            pattern=plan["pattern"],
            memory_mb=plan["memory_mb"],
            read=ReadOptions(**plan["read"]),
            num_threads=plan["num_threads"],
        )


def count_corpus(
    inputs: Inputs,
    out: Path | str,
    special_tokens: Sequence[str] = (),
    *,
    pattern: str = "gpt2",
    memory_mb: int = 1024,
    read: ReadOptions | None = None,
    executor: Executor = "local",
    attempts: int = 3,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> CountSummary:
    """Count the pretokens of many files, each as a task, and add them up into `out`.

    The parts stand in a directory beside `out` until all are there: what was interrupted goes on where it was. The
    outcome is that of `count_pretokens` for all files at once, whoever counted what.

    Args:
        inputs: files, directories, patterns, URLs. On a cluster every worker must see them, and `out`, by these names.
        out: the file of counts.
        special_tokens: as for `count_pretokens`.
        pattern: as for `count_pretokens`.
        memory_mb: of the tables of one task.
        read: as for `count_pretokens`.
        executor: "local" or "ray".
        attempts: how often a task is tried.
        num_threads: of a task; None for all cores here, and 1 on a cluster.
        progress: called as `progress("count", files done, files in all)`.

    Raises:
        ValueError: Tasks have failed; the others' counts are kept for the next time.
        ValueError: Other arguments than those that the parts were counted with.
        OSError, ModuleNotFoundError: As `count_pretokens`.
    """
    out = Path(out)
    read = read or ReadOptions()
    if executor != "local" and num_threads is None:
        num_threads = 1
    files = expand(inputs, format=read.format, otherwise="text")
    plan = {
        "files": [asdict(file) for file in files],
        "special_tokens": list(special_tokens),
        "pattern": pattern,
        "memory_mb": memory_mb,
        "read": asdict(read),
        "num_threads": num_threads,
    }
    directory = out.with_name(out.name + ".parts").absolute()
    _begin(directory, plan)
    done: list[int] = []

    def on_done(task: int) -> None:
        done.append(task)
        if progress is not None:
            progress("count", len(done), len(files))

    outcome = run_tasks(
        CountPart(directory),
        range(len(files)),
        executor=executor,
        attempts=attempts,
        cpus_per_task=num_threads or 1,
        on_done=on_done,
    )
    outcome.check()
    summary = merge_counts([directory / f"{task:05d}.counts" for task in range(len(files))], out)
    shutil.rmtree(directory)
    return summary


# What may differ without a difference in the counts.
_HARMLESS = {"memory_mb", "num_threads"}


def _begin(directory: Path, plan: dict[str, Any]) -> None:
    directory.mkdir(exist_ok=True)
    path = directory / "plan.json"
    if path.exists():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        differing = [key for key in plan if key not in _HARMLESS and plan[key] != earlier.get(key)]
        if differing:
            raise ValueError(
                f"{directory} holds parts that were counted with other {' and '.join(differing)}; go on with what they "
                f"were counted with, or remove it"
            )
    _bpe.write_file(path, json.dumps(plan).encode())


def _check_unchanged(planned: InputFile) -> None:
    (found,) = expand(planned.name, format=planned.format)
    if (found.size_bytes, found.stamp) != (planned.size_bytes, planned.stamp):
        raise OSError(errno.ESTALE, "it has changed since it was planned to be counted; remove the parts", planned.name)
