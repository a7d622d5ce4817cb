"""One unit of work, done by anyone, any number of times, with the same bytes as the outcome."""

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cs336 import _bpe
from cs336.corpus.planning import Part, Plan
from cs336.inputs import fed
from cs336.shards import SPLITS, Journal, Position, Shard, read_journal

TaskProgress = Callable[[int, int, int, int], object]


def journal_path(plan: Plan, task: int) -> Path:
    """Return where a task's journal lies."""
    return plan.stage / "journal" / f"{task:05}.jsonl"


def run_task(
    plan: Plan,
    task: int,
    *,
    num_threads: int | None = None,
    progress: TaskProgress | None = None,
    crash_at: int | None = None,
) -> Journal:
    """Do what is left of a task.

    Args:
        plan: the job.
        task: which of its tasks.
        num_threads: threads that encode; None for all cores. The bytes that come out do not depend on it.
        progress: called now and then with bytes done, bytes in all, ids made and records rejected.
        crash_at: end the process at this step of the way to disk. For tests.

    Raises:
        OSError: an input cannot be read, or the directory cannot be written.
        ValueError: an input is damaged, has changed, or holds what is no document and may not.
    """
    path = journal_path(plan, task)
    for directory in (path.parent, plan.stage / "quarantine"):
        directory.mkdir(parents=True, exist_ok=True)
    journal = read_journal(path)
    if journal.report is not None:
        return journal
    parts = plan.tasks[task]
    for part in parts:
        plan.inputs[part.input].check_unchanged(plan.options.fingerprint)
    with contextlib.ExitStack() as stack:
        inputs = [stack.enter_context(_opened(plan, part)) for part in parts]
        description = json.dumps(_description(plan, task, inputs, journal))
        _bpe.run_corpus_task(plan.tokenizer, description, num_threads=num_threads, progress=progress, crash_at=crash_at)
    try:
        for part in parts:
            plan.inputs[part.input].check_unchanged(None)
    except (OSError, ValueError):
        path.unlink()  # what was read may be a mixture: nothing of it counts
        raise
    return read_journal(path)


@contextlib.contextmanager
def _opened(plan: Plan, part: Part) -> Iterator[dict[str, Any]]:
    """What the core is told of an input."""
    planned = plan.inputs[part.input]
    with fed(planned.file, text_field=plan.options.text_field) as source:
        yield {
            "input": part.input,
            "path": os.fspath(source.path),
            "name": source.name,
            "format": source.format,
            "compression": source.compression,
            "range": None if part.begin is None else [part.begin, part.end],
            "size_bytes": plan.part_bytes(part),
            "has_rows": planned.format == "parquet",
        }


def _description(plan: Plan, task: int, inputs: list[dict[str, Any]], journal: Journal) -> dict[str, Any]:
    options = plan.options
    return {
        "task": task,
        "inputs": inputs,
        "directory": str(plan.stage),
        "writer": f"{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}",
        "separator": options.separator,
        "field": options.text_field,
        "on_bad": options.on_bad,
        "max_rejected": options.max_rejected,
        "replace_invalid_utf8": options.invalid_utf8 == "replace",
        "max_record_bytes": options.max_record_bytes,
        "special_text": options.special_text,
        "eos_id": plan.eos_id,
        "tokens_per_shard": options.tokens_per_shard,
        "valid_share": options.valid_fraction,
        "split_seed": options.split_seed,
        "with_sources": options.sources,
        "journal_bytes": journal.size_bytes,
        "committed": [_committed(journal.shards, split) for split in SPLITS],
    }


def _committed(shards: tuple[Shard, ...], split: str) -> dict[str, Any]:
    own = [shard for shard in shards if shard.split == split]
    place: Position = own[-1].next if own else (0, 0, 0)
    return {"shards": len(own), "next": list(place)}
