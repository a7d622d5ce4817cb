"""A shuffle is the order of the keys, in whatever way it is done and however often it is cut off."""

import signal

import numpy as np
import pytest

from cs336 import corpus
from cs336.corpus import shuffling
from cs336.corpus.sealing import in_order, journals
from cs336.shards import read_manifest

GOLDEN = 0x9E37_79B9_7F4A_7C15


def key(number, seed):
    """Splitmix64 by the book, with the seed and once more."""
    x = number + 1
    for part in (seed, GOLDEN):
        x = (x * GOLDEN + part) % 2**64
        x = (x ^ x >> 30) * 0xBF58_476D_1CE4_E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D0_49BB_1331_11EB % 2**64
        x ^= x >> 31
    return x


@pytest.mark.parametrize("bucket_bytes", [1 << 25, 2_000])
@pytest.mark.parametrize("tokens_per_shard", [70, 1500, 1 << 20])
def test_it_is_the_obvious_one(make, kit, documents, jsonl, monkeypatch, bucket_bytes, tokens_per_shard):
    """Documents longer than a shard, shards of many documents, one bucket and many."""
    monkeypatch.setattr(shuffling, "BUCKET_BYTES", bucket_bytes)
    options = {"sources": True, "valid_fraction": 0.2, "tokens_per_shard": tokens_per_shard, "task_bytes": 6_000}
    plain = make(jsonl, "plain", **options)
    out = make(jsonl, "shuffled", shuffle_seed=9, **options)
    for split in ("train", "valid"):
        before = list(zip(kit.read_back(plain, split), sources_of(plain, split), strict=True))
        expected = [document for _, document in sorted((key(n, 9), each) for n, each in enumerate(before))]
        assert list(zip(kit.read_back(out, split), sources_of(out, split), strict=True)) == expected
        sizes = [shard.tokens for shard in read_manifest(out).of_split(split)]
        assert set(sizes[:-1]) <= {tokens_per_shard}
    assert corpus.verify(out).is_good
    kept = ("documents", "tokens", "text_bytes", "train_tokens", "valid_documents")
    totals, shuffled = read_manifest(plain).totals, read_manifest(out).totals
    assert [shuffled[name] for name in kept] == [totals[name] for name in kept]
    assert not [path for path in (out / "unshuffled").rglob("*") if path.suffix in {".npy", ".bucket"}]


def sources_of(directory, split):
    shards = read_manifest(directory).of_split(split)
    return [row for shard in shards for row in np.load(directory / shard.sources_file).tolist()]


def test_row_02_a_crash_at_any_step_of_a_shuffle_is_made_good(plan, kit, jsonl, monkeypatch):
    monkeypatch.setattr(shuffling, "BUCKET_BYTES", 20_000)
    options = {"shuffle_seed": 1, "sources": True, "valid_fraction": 0.3, "tokens_per_shard": 3_000}
    undisturbed = plan(jsonl, "undisturbed", **options)
    corpus.run(undisturbed)
    planned = plan(jsonl, **options)
    monkeypatch.setattr("cs336.corpus.running._finish_if_last", lambda *_: None)
    corpus.run(planned)
    monkeypatch.undo()
    monkeypatch.setattr(shuffling, "BUCKET_BYTES", 20_000)
    steps = 0
    shards = in_order(journals(planned))
    # Every attempt comes a step further than the one before, if only because it starts with what that has left.
    while (ended := kit.in_a_child(lambda: shuffling.shuffle(planned, shards, num_threads=2, crash_at=steps))) != 0:  # noqa: B023
        assert ended == -signal.SIGABRT
        steps += 1
    assert steps > 8
    assert corpus.run(planned).is_finished
    assert kit.tree(planned.directory) == kit.tree(undisturbed.directory)


@pytest.mark.parametrize("pattern", ["unshuffled/train-00000-00000.npy", "unshuffled/buckets-train/*.bucket"])
def test_what_changed_meanwhile_is_an_error_that_says_what_to_do(plan, kit, jsonl, monkeypatch, pattern):
    planned = plan(jsonl, shuffle_seed=1)
    monkeypatch.setattr("cs336.corpus.running._finish_if_last", lambda *_: None)
    corpus.run(planned)
    monkeypatch.undo()
    shards = in_order(journals(planned))
    if "bucket" in pattern:
        kit.in_a_child(lambda: shuffling.shuffle(planned, shards, num_threads=1, crash_at=4))
    (path, *_) = sorted(planned.directory.glob(pattern))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=rf"{path.name}.* remove .* run again"):
        corpus.run(planned)
