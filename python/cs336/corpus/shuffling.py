"""All documents of a split in an order that a seed decides: an exact shuffle, in bounded memory, done in Rust.

Every document gets a key, a hash of the seed and its number, and the documents are written in the order of their keys.
The shards that tasks have made are read once, from beginning to end, and each document goes to the file of a range of
keys that fits into memory (a bucket); from these the shuffled shards are made, several at a time. What is listed is not
made again, and the buckets are kept until all shards are.
"""

import json
import os
import shutil
import socket
from collections.abc import Callable, Sequence
from typing import Any

from cs336 import _bpe
from cs336.corpus.planning import Plan
from cs336.shards import SPLITS, Journal, Shard, Split, checked_line, read_journal, shard_line

Progress = Callable[[str, int, int], object]

# A range of keys has about so many bytes of documents; each thread holds one in memory. No more than 4,096 ranges are
# made, so that beyond 128 GB of ids they are larger.
BUCKET_BYTES = 32 << 20


def shuffle(
    plan: Plan,
    shards: Sequence[Shard],
    *,
    num_threads: int | None = None,
    progress: Progress | None = None,
    crash_at: int | None = None,
) -> list[Shard]:
    """Write the documents of `shards` in another order.

    Args:
        plan: the job.
        shards: what its tasks have made, in order.
        num_threads: threads on this machine; None for all cores. The bytes that come out do not depend on it.
        progress: called as `progress("shuffle", ids done, ids in all)`, for each split; ids are read twice.
        crash_at: end the process at this step of the way to disk. For tests.

    Raises:
        OSError: a shard cannot be read or written.
        ValueError: a shard is not what its line says.
    """
    path = plan.directory / "journal" / "shuffle.jsonl"
    path.parent.mkdir(exist_ok=True)
    for split in SPLITS:
        own = [shard for shard in shards if shard.split == split]
        description = json.dumps(_description(plan, split, own, read_journal(path)))
        _bpe.run_corpus_shuffle(
            plan.tokenizer, description, num_threads=num_threads, progress=progress, crash_at=crash_at
        )
    done = sorted(read_journal(path).shards, key=lambda shard: (SPLITS.index(shard.split), shard.shard))
    # They were listed as they became ready; the finished corpus tells nothing of that.
    _bpe.write_file(path, b"".join(checked_line(shard_line(shard)) for shard in done))
    return done


def discard_unshuffled(plan: Plan) -> None:
    """Remove what a finished corpus was shuffled from."""
    if plan.stage != plan.directory:
        for path in plan.stage.glob("*.npy"):
            path.unlink(missing_ok=True)
        for split in SPLITS:
            shutil.rmtree(plan.stage / f"buckets-{split}", ignore_errors=True)


def _description(plan: Plan, split: Split, shards: Sequence[Shard], journal: Journal) -> dict[str, Any]:
    return {
        "directory": str(plan.directory),
        "buckets": str(plan.stage / f"buckets-{split}"),
        "writer": f"{socket.gethostname()}-{os.getpid()}",
        "split": split,
        "seed": plan.options.shuffle_seed,
        "tokens_per_shard": plan.options.tokens_per_shard,
        "bucket_bytes": BUCKET_BYTES,
        "with_sources": plan.options.sources,
        "shards": [
            {
                "file": str(plan.stage / shard.file),
                "ends_file": str(plan.stage / shard.ends_file),
                "sources_file": None if shard.sources_file is None else str(plan.stage / shard.sources_file),
                "tokens": shard.tokens,
                "documents": shard.documents,
                "blake3": shard.blake3,
            }
            for shard in shards
        ],
        "journal_bytes": journal.size_bytes,
        "committed": [shard.shard for shard in journal.shards if shard.split == split],
    }
