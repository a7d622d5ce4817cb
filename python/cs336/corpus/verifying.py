"""Reading everything again: is the corpus still what its manifest says?"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cs336 import _bpe
from cs336.corpus.planning import Plan
from cs336.corpus.sealing import journals
from cs336.shards import MANIFEST, Manifest, Shard, is_shard_name, read_manifest

_SCAN_IDS = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `verify` found.

    Attributes:
        directory: the corpus directory.
        num_shards: shards that were read.
        num_bytes: bytes that were read.
        problems: what is not as it should be; empty if all is well.
    """

    directory: Path
    num_shards: int
    num_bytes: int
    problems: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether all is well."""
        return not self.problems


def verify(
    out: str | os.PathLike[str],
    *,
    inputs: bool = False,
    progress: Callable[[str, int, int], object] | None = None,
) -> Verification:
    """Read every file of a finished corpus and compare it with the manifest.

    Checked are sizes and hashes, that ids lie below the vocabulary's size and documents end with EOS where the manifest
    and the boundaries say so, that the totals add up, that the tokenizer and the plan are those of the manifest, and
    that there is nothing else.

    Args:
        out: the corpus directory.
        inputs: check, too, that the inputs are still there and unchanged.
        progress: called as `progress("verify", bytes done, bytes in all)`.

    Raises:
        OSError: the directory cannot be read.
        ValueError: the manifest or the plan is damaged, or the corpus is not finished.
    """
    directory = Path(out)
    manifest = read_manifest(directory)
    plan = Plan.load(directory)
    total = sum(size for shard in manifest.shards for _, size, _ in shard.files())
    done = 0
    problems = list(_problems_of_plan(plan, manifest, inputs=inputs))
    for shard in manifest.shards:
        problems += _problems_of_files(directory, shard) or _problems_of_ids(directory, shard, manifest)
        done += sum(size for _, size, _ in shard.files())
        if progress is not None:
            progress("verify", done, total)
    problems += _problems_of_totals(manifest)
    problems += _problems_of_quarantine(plan)
    problems += _leftovers(directory, manifest)
    return Verification(directory=directory, num_shards=len(manifest.shards), num_bytes=done, problems=tuple(problems))


def _problems_of_plan(plan: Plan, manifest: Manifest, *, inputs: bool) -> Iterator[str]:
    if plan.sha256 != manifest.plan_sha256:
        yield f"plan.json is not the plan that {MANIFEST} was made by"
    if plan.tokenizer_sha256 != manifest.tokenizer_sha256:
        yield "the plan names another tokenizer than the manifest"
    try:
        _ = plan.tokenizer
    except (OSError, ValueError) as error:
        yield str(error)
    if inputs:
        for planned in plan.inputs:
            try:
                planned.check_unchanged(plan.options.fingerprint)
            except (OSError, ValueError) as error:
                yield str(error)


def _problems_of_files(directory: Path, shard: Shard) -> list[str]:
    problems = []
    for name, size_bytes, blake3 in shard.files():
        try:
            found = _bpe.hash_file(directory / name)
        except OSError as error:
            problems.append(f"{name}: {error.strerror or error}")
            continue
        if found[0] != size_bytes:
            problems.append(f"{name} has {found[0]} bytes, expected {size_bytes}")
        elif found[1] != blake3:
            problems.append(f"{name} has changed: its BLAKE3 hash is {found[1]}, expected {blake3}")
    return problems


def _problems_of_ids(directory: Path, shard: Shard, manifest: Manifest) -> list[str]:
    """What the hashes cannot tell: whether the line fits the files."""
    try:
        ids = np.load(directory / shard.file, mmap_mode="r")
        ends = np.load(directory / shard.ends_file)
    except (ValueError, OSError, EOFError) as error:
        return [f"{shard.file}: {error}"]
    problems = []
    if (str(ids.dtype), ids.shape) != (shard.dtype, (shard.tokens,)):
        problems.append(f"{shard.file} holds {ids.dtype} of shape {ids.shape}, expected {shard.tokens} {shard.dtype}")
    elif len(ids):
        greatest = max(int(ids[at : at + _SCAN_IDS].max()) for at in range(0, len(ids), _SCAN_IDS))
        if greatest != shard.greatest_id or greatest >= manifest.vocab_size:
            problems.append(
                f"{shard.file}: its greatest id is {greatest}, expected {shard.greatest_id} "
                f"and less than {manifest.vocab_size}"
            )
    if ends.shape != (shard.documents,) or np.any(np.diff(ends.astype(np.int64), prepend=0) <= 0):
        problems.append(f"{shard.ends_file} is no ascending list of {shard.documents} ends")
    elif len(ends) and int(ends[-1]) > len(ids):
        problems.append(f"{shard.ends_file}: a document ends at {ends[-1]}, beyond the {len(ids)} ids")
    elif np.any(ids[ends.astype(np.int64) - 1] != manifest.eos_id):
        problems.append(f"{shard.file}: a document does not end with {manifest.eos_id}, which is {manifest.eos!r}")
    return problems


def _problems_of_totals(manifest: Manifest) -> list[str]:
    problems = []
    reported = {name: sum(int(report[name]) for report in manifest.inputs) for name in ("documents", "rejected")}
    sums = {
        "tokens": sum(shard.tokens for shard in manifest.shards),
        "text_bytes": sum(shard.text_bytes for shard in manifest.shards),
        "documents": sum(shard.documents for shard in manifest.shards),
        "rejected": reported["rejected"],
    }
    for name, value in sums.items():
        if manifest.totals.get(name) != value:
            problems.append(f"the manifest counts {manifest.totals.get(name)} {name}, but its parts add up to {value}")
    if reported["documents"] != sums["documents"]:
        problems.append(f"{reported['documents']} documents were read and {sums['documents']} are in the shards")
    return problems


def _problems_of_quarantine(plan: Plan) -> list[str]:
    """The rejected records that were kept are not in the manifest, but in what their tasks reported."""
    problems = []
    for task, journal in enumerate(journals(plan)):
        # a corpus that was converted has no journals, and nothing in quarantine
        if journal.report is not None and journal.report["quarantine_blake3"] is not None:
            path = plan.stage / "quarantine" / f"{task:05}.jsonl"
            expected = journal.report["quarantine_size_bytes"], journal.report["quarantine_blake3"]
            if not path.exists() or _bpe.hash_file(path) != expected:
                problems.append(f"{path} is missing or has changed")
    return problems


def _leftovers(directory: Path, manifest: Manifest) -> list[str]:
    listed = {name for shard in manifest.shards for name, _, _ in shard.files()}
    found = sorted(entry.name for entry in directory.iterdir())
    return [f"{name} is in no manifest" for name in found if is_shard_name(name) and name not in listed]
