"""The end of a job: what all tasks report is added up, must reconcile, and is written as the manifest."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cs336 import _bpe
from cs336.corpus.planning import Plan
from cs336.corpus.task import journal_path
from cs336.shards import MANIFEST, SPLITS, VERSION, Journal, Shard, checked_file, read_journal, shard_line

_TALLY = (
    *("record_bytes", "other_bytes", "documents", "empty_documents", "repaired_documents", "text_bytes"),
    *("rejected", "blank", "special_tokens"),
)


def journals(plan: Plan) -> list[Journal]:
    """Read what each task has done."""
    return [read_journal(journal_path(plan, task)) for task in range(len(plan.tasks))]


def unfinished(plan: Plan) -> list[int]:
    """Return the tasks that are not done."""
    return [task for task, journal in enumerate(journals(plan)) if journal.report is None]


def totals_of(plan: Plan, done: Sequence[Journal], shards: Sequence[Shard]) -> dict[str, int]:
    """Add everything up and check that nothing is missing.

    Raises:
        ValueError: the sums do not reconcile; says which.
    """
    reports = [report for journal in done if journal.report is not None for report in journal.report["inputs"]]
    totals = Counter(dict.fromkeys(_TALLY, 0))
    for report in reports:
        totals.update({name: report[name] for name in _TALLY})
    totals["tokens"] = sum(shard.tokens for shard in shards)
    totals["file_bytes"] = sum(planned.size_bytes or 0 for planned in plan.inputs)
    for split in SPLITS:
        own = [shard for shard in shards if shard.split == split]
        totals[f"{split}_tokens"] = sum(shard.tokens for shard in own)
        totals[f"{split}_documents"] = sum(shard.documents for shard in own)
    problems = [*_unequal_sums(totals, shards), *_unread_bytes(plan, reports)]
    if problems:
        raise ValueError(
            f"{plan.directory}: the totals do not reconcile: {'; '.join(problems)}; this is a fault of ours: please "
            "report it, with the directory's plan.json and journal"
        )
    check_budget(plan, totals["rejected"])
    return dict(totals)


def check_budget(plan: Plan, rejected: int) -> None:
    """Check that no more records were rejected than may be.

    Raises:
        ValueError: more were.
    """
    most = plan.options.max_rejected
    if most is not None and rejected > most:
        raise ValueError(
            f'{rejected:,} records were rejected, more than max_rejected = {most:,}; look at them (on_bad "quarantine" '
            "keeps them), and plan the corpus anew in another directory with a greater one"
        )


def _unequal_sums(totals: Mapping[str, int], shards: Sequence[Shard]) -> list[str]:
    written = sum(shard.documents for shard in shards)
    text_bytes = sum(shard.text_bytes for shard in shards)
    problems = []
    if written != totals["documents"]:
        problems.append(f"{totals['documents']} documents were read and {written} written")
    if text_bytes != totals["text_bytes"]:
        problems.append(f"{totals['text_bytes']} bytes of text were read and {text_bytes} written")
    return problems


def _unread_bytes(plan: Plan, reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every byte of every input was read, once, and belongs to a record or stands between two."""
    problems = []
    ends: dict[int, int] = {}
    parts = [part for task in plan.tasks for part in task]
    for part, report in zip(parts, reports, strict=True):
        planned = plan.inputs[part.input]
        if report["input"] != part.input:
            problems.append(f"input {report['input']} was reported in place of {part.input}")
        if report["begin"] != ends.get(part.input, 0):
            problems.append(f"{planned.name}: bytes from {ends.get(part.input, 0)} to {report['begin']} were not read")
        if report["record_bytes"] + report["other_bytes"] != report["end"] - report["begin"]:
            problems.append(f"{planned.name}: not all bytes up to {report['end']} are accounted for")
        ends[part.input] = report["end"]
        is_itself = planned.format != "parquet" and not planned.file.is_remote
        if is_itself and part.begin is None and report["file_bytes"] != planned.size_bytes:
            problems.append(f"{planned.name}: {report['file_bytes']} of {planned.size_bytes} bytes were used")
    for index, end in ends.items():
        planned = plan.inputs[index]
        is_itself = planned.compression == "none" and planned.format != "parquet" and not planned.file.is_remote
        if is_itself and end != planned.size_bytes:
            problems.append(f"{planned.name}: {end} of {planned.size_bytes} bytes were read")
    return problems


def seal(plan: Plan, shards: Sequence[Shard], done: Sequence[Journal]) -> None:
    """Write the manifest of a job whose tasks are all done.

    Raises:
        OSError: it cannot be written.
        ValueError: the totals do not reconcile.
    """
    greatest = [shard.greatest_id for shard in shards if shard.greatest_id is not None]
    content = {
        "version": VERSION,
        "plan_sha256": plan.sha256,
        "tokenizer_sha256": plan.tokenizer_sha256,
        "vocab_size": plan.vocab_size,
        "eos": plan.options.eos,
        "eos_id": plan.eos_id,
        "dtype": plan.dtype,
        "greatest_id": max(greatest, default=None),
        "shuffle_seed": plan.options.shuffle_seed,
        "totals": totals_of(plan, done, shards),
        "inputs": [
            {"name": plan.inputs[report["input"]].name, **report}
            for journal in done
            if journal.report is not None
            for report in journal.report["inputs"]
        ],
        "shards": [shard_line(shard) for shard in shards],
    }
    _bpe.write_file(plan.directory / MANIFEST, checked_file(content))


def in_order(done: Sequence[Journal]) -> list[Shard]:
    """Return all shards, those of a split in the order of its documents."""
    return [shard for split in SPLITS for journal in done for shard in journal.shards if shard.split == split]
