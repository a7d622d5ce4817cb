"""All documents of a split in an order that a seed decides: an exact shuffle, in bounded memory.

Every document gets a key, a hash of the seed and its number, and the documents are written in the order of their keys.
The keys of a range at a time are sorted, so that memory does not grow with the number of documents. Where a shard
begins follows from the lengths alone: the work is taken up after the last shard that is committed.
"""

import io
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs336 import _bpe
from cs336.corpus.planning import Plan
from cs336.shards import SPLITS, Shard, Split, checked_line, read_journal, shard_line

# Documents whose keys are sorted together: 32 bytes each.
_DOCUMENTS_AT_ONCE = 1 << 23

_Ids = NDArray[np.integer[Any]]
_Keys = NDArray[np.uint64]


def shuffle(plan: Plan, shards: Sequence[Shard]) -> list[Shard]:
    """Write the documents of `shards` in another order.

    Raises:
        OSError: a shard cannot be read or written.
        ValueError: a shard is not what its line says.
    """
    path = plan.directory / "journal" / "shuffle.jsonl"
    path.parent.mkdir(exist_ok=True)
    journal = read_journal(path)
    with path.open("r+b" if path.exists() else "w+b") as lines:
        lines.truncate(journal.size_bytes)
        lines.seek(0, os.SEEK_END)
        shuffled = list(journal.shards)
        for split in SPLITS:
            committed = sum(shard.split == split for shard in shuffled)
            documents = _Documents(plan, [shard for shard in shards if shard.split == split])
            for shard in _shuffled(plan, split, documents, committed):
                lines.write(checked_line(shard_line(shard)))
                lines.flush()
                os.fsync(lines.fileno())
                shuffled.append(shard)
    return shuffled


def discard_unshuffled(plan: Plan) -> None:
    """Remove what a finished corpus was shuffled from."""
    if plan.stage != plan.directory:
        for path in plan.stage.glob("*.npy"):
            path.unlink(missing_ok=True)


class _Documents:
    """The documents of a split, which may lie across shards but not across tasks."""

    def __init__(self, plan: Plan, shards: Sequence[Shard]) -> None:
        self.shards = shards
        self._directory = plan.stage
        self.starts = np.cumsum([0, *(shard.tokens for shard in shards)])
        self.num_documents = sum(shard.documents for shard in shards)
        self.num_tokens = int(self.starts[-1])
        self._open: dict[int, _Ids] = {}

    def ends(self) -> Iterator[NDArray[np.int64]]:
        """Yield where documents end in the whole split, by shard."""
        for start, shard in zip(self.starts, self.shards, strict=False):
            yield np.load(self._directory / shard.ends_file).astype(np.int64) + start

    def sources(self) -> Iterator[NDArray[np.uint64]]:
        """Yield where documents come from, by shard."""
        for shard in self.shards:
            yield np.load(self._directory / str(shard.sources_file))

    def ids(self, begin: int, end: int) -> Iterator[_Ids]:
        """Yield the ids of a range, in one piece or more."""
        index = int(np.searchsorted(self.starts, begin, side="right")) - 1
        while begin < end:
            start, stop = int(self.starts[index]), min(end, int(self.starts[index + 1]))
            yield self._shard(index)[begin - start : stop - start]
            begin, index = stop, index + 1

    def _shard(self, index: int) -> _Ids:
        if index not in self._open:
            self._open[index] = np.load(self._directory / self.shards[index].file, mmap_mode="r")
        return self._open[index]


def _shuffled(plan: Plan, split: Split, documents: _Documents, committed: int) -> Iterator[Shard]:
    size = plan.options.tokens_per_shard
    begin = committed * size
    writer = _Writer(plan, split, committed, documents.num_tokens)
    position = 0
    for start, end, source in _order(plan, documents):
        length = end - start
        if position + length > begin:
            yield from writer.write(documents, start + max(0, begin - position), end, source)
        position += length


class _Writer:
    """Collects ids up to a shard's size, which is known before."""

    def __init__(self, plan: Plan, split: Split, committed: int, num_tokens: int) -> None:
        self._plan = plan
        self._split: Split = split
        self._shard = committed
        self._num_tokens = num_tokens
        self._lengths = np.zeros(plan.vocab_size, dtype=np.int64)
        for id_, token in plan.tokenizer.vocab.items():
            self._lengths[id_] = len(token)
        self._begin()

    def _begin(self) -> None:
        size = self._plan.options.tokens_per_shard
        self._ids = np.empty(max(0, min(size, self._num_tokens - self._shard * size)), dtype=self._plan.dtype)
        self._filled = 0
        self._ends: list[int] = []
        self._sources: list[tuple[int, int]] = []

    def write(self, documents: _Documents, begin: int, end: int, source: tuple[int, int]) -> Iterator[Shard]:
        for piece in documents.ids(begin, end):
            at = 0
            while at < len(piece):
                room = min(len(self._ids) - self._filled, len(piece) - at)
                self._ids[self._filled : self._filled + room] = piece[at : at + room]
                self._filled += room
                at += room
                begin += room
                if begin == end:
                    self._ends.append(self._filled)
                    self._sources.append(source)
                if self._filled == len(self._ids):
                    yield self._commit()

    def _commit(self) -> Shard:
        name = f"{self._split}-00000-{self._shard:05}"
        eos_bytes = int(self._lengths[self._plan.eos_id]) * len(self._ends)
        counts = np.bincount(self._ids, minlength=self._plan.vocab_size)
        ids_bytes, ids_hash = self._write(f"{name}.npy", self._ids)
        ends_bytes, ends_hash = self._write(f"{name}.ends.npy", np.array(self._ends, dtype=np.uint64))
        sources_bytes, sources_hash = 0, None
        if self._plan.options.sources:
            sources = np.array(self._sources, dtype=np.uint64).reshape(-1, 2)
            sources_bytes, sources_hash = self._write(f"{name}.sources.npy", sources)
        shard = Shard(
            task=0,
            split=self._split,
            shard=self._shard,
            file=f"{name}.npy",
            dtype="uint16" if self._plan.dtype == "uint16" else "uint32",
            tokens=len(self._ids),
            documents=len(self._ends),
            text_bytes=int(counts @ self._lengths) - eos_bytes,
            greatest_id=int(self._ids.max()),
            first=(0, 0, 0),
            next=(0, 0, 0),
            size_bytes=ids_bytes,
            blake3=ids_hash,
            ends_size_bytes=ends_bytes,
            ends_blake3=ends_hash,
            sources_size_bytes=sources_bytes,
            sources_blake3=sources_hash,
        )
        self._shard += 1
        self._begin()
        return shard

    def _write(self, name: str, array: NDArray[Any]) -> tuple[int, str]:
        file = io.BytesIO()
        np.lib.format.write_array(file, array, allow_pickle=False)
        path = self._plan.directory / name
        _bpe.write_file(path, file.getvalue())
        return _bpe.hash_file(path)


def _order(plan: Plan, documents: _Documents) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Yield begin, end and source of each document in the order of their keys."""
    seed = plan.options.shuffle_seed or 0
    num_ranges = 1 << max(0, (documents.num_documents // _DOCUMENTS_AT_ONCE).bit_length())
    with_sources = plan.options.sources
    for wanted in range(num_ranges):
        found: list[NDArray[Any]] = []
        sources: list[NDArray[np.uint64]] = []
        number = last = 0
        all_sources = documents.sources() if with_sources else None
        for ends in documents.ends():
            begins = np.concatenate(([last], ends[:-1])) if len(ends) else ends
            keys = _hash(np.arange(number, number + len(ends), dtype=np.uint64), seed)
            chosen = np.flatnonzero(_leading_bits(keys, num_ranges) == wanted)
            found.append(np.stack([keys[chosen], begins[chosen].astype(np.uint64), ends[chosen].astype(np.uint64)]))
            if all_sources is not None:
                sources.append(next(all_sources)[chosen])
            number += len(ends)
            last = int(ends[-1]) if len(ends) else last
        if not found:
            return
        table = np.concatenate(found, axis=1)
        origin = np.concatenate(sources) if with_sources else np.zeros((table.shape[1], 2), dtype=np.uint64)
        for index in np.argsort(table[0], kind="stable"):
            yield int(table[1, index]), int(table[2, index]), (int(origin[index, 0]), int(origin[index, 1]))


def _leading_bits(keys: _Keys, num_ranges: int) -> _Keys:
    """Return which of the ranges, of equal size and in order, each key lies in."""
    num_bits = num_ranges.bit_length() - 1
    return keys >> np.uint64(64 - num_bits) if num_bits else np.zeros_like(keys)


def _hash(numbers: _Keys, seed: int) -> _Keys:
    """Spread numbers over 64 bits, one-to-one for each seed: splitmix64 (Steele, Lea and Flood 2014)."""
    x = numbers + np.uint64(1)
    for part in (seed & 0xFFFF_FFFF_FFFF_FFFF, 0x9E37_79B9_7F4A_7C15):
        x = x * np.uint64(0x9E37_79B9_7F4A_7C15) + np.uint64(part)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
        x = x ^ (x >> np.uint64(31))
    return x
