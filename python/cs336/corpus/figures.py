"""What a finished corpus looks like in numbers: lengths of documents, bytes a token, what was rejected."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cs336.shards import SPLITS, Shard, read_manifest

# Lengths below it are counted one by one, so that medians of ordinary documents are exact; longer ones by their size.
_EXACT = 1 << 16
# Of longer ones: so many counts for each doubling.
_STEPS = 64


class Lengths:
    """A distribution of lengths, in memory that does not depend on their number."""

    def __init__(self) -> None:
        self._exact = np.zeros(_EXACT, np.int64)
        self._long: Counter[int] = Counter()
        self.num_documents = 0
        self.longest = 0

    def add(self, lengths: NDArray[np.int64]) -> None:
        """Count some."""
        if len(lengths) == 0:
            return
        self.num_documents += len(lengths)
        self.longest = max(self.longest, int(lengths.max()))
        self._exact += np.bincount(lengths[lengths < _EXACT], minlength=_EXACT)
        long = lengths[lengths >= _EXACT]
        self._long.update((np.log2(long) * _STEPS).astype(int).tolist())

    def quantile(self, share: float) -> int:
        """The length that so large a share of the documents do not exceed: exact below 65,536, else within 1 %."""
        wanted = max(1, math.ceil(share * self.num_documents))
        cumulated = np.cumsum(self._exact)
        if self.num_documents == 0:
            return 0
        if wanted <= cumulated[-1]:
            return int(np.searchsorted(cumulated, wanted))
        seen = int(cumulated[-1])
        for step, count in sorted(self._long.items()):
            seen += count
            if seen >= wanted:
                return min(self.longest, round(2 ** ((step + 1) / _STEPS)))
        return self.longest

    def doublings(self) -> list[tuple[int, int]]:
        """For each power of two up to the longest, how many documents have so many tokens up to twice as many."""
        counts: Counter[int] = Counter()
        nonzero = np.flatnonzero(self._exact)
        for length, count in zip(nonzero.tolist(), self._exact[nonzero].tolist(), strict=True):
            counts[max(length, 1).bit_length() - 1] += count
        for step, count in self._long.items():
            counts[step // _STEPS] += count
        last = max(counts, default=-1)
        return [(1 << power, counts[power]) for power in range(min(counts, default=0), last + 1)]


@dataclass
class SplitFigures:
    """A split.

    Attributes:
        name: "train" or "valid".
        num_tokens: ids, the EOS ids among them.
        num_documents: documents.
        text_bytes: bytes of their texts.
        bytes_per_token: of each shard, in order.
        lengths: tokens of each document, its EOS id included.
    """

    name: str
    num_tokens: int = 0
    num_documents: int = 0
    text_bytes: int = 0
    bytes_per_token: list[float] = field(default_factory=list)
    lengths: Lengths = field(default_factory=Lengths)


@dataclass
class Figures:
    """A corpus.

    Attributes:
        name: of its directory.
        splits: by name.
        num_records: what became documents or was rejected.
        rejected: rejected records by reason.
        num_inputs: files that were read.
        input_bytes: of these files, decompressed.
        empty_documents: documents without text.
        repaired_documents: documents with U+FFFD in place of what was not UTF-8.
        special_tokens: texts of special tokens within documents.
    """

    name: str
    splits: dict[str, SplitFigures] = field(default_factory=dict)
    num_records: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    num_inputs: int = 0
    input_bytes: int = 0
    empty_documents: int = 0
    repaired_documents: int = 0
    special_tokens: int = 0


def gather(directory: Path | str) -> Figures:
    """Read the figures of a finished corpus: its manifest, and where its documents end.

    Raises:
        OSError: A file cannot be read.
        ValueError: The corpus is not finished, or damaged.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    figures = Figures(directory.resolve().name)
    figures.num_inputs = len({told["input"] for told in manifest.inputs})
    for told in manifest.inputs:
        figures.num_records += told["documents"] + told["rejected"]
        figures.rejected.update(told["rejected_by_reason"])
        figures.input_bytes += told["record_bytes"] + told["other_bytes"]
        figures.empty_documents += told["empty_documents"]
        figures.repaired_documents += told["repaired_documents"]
        figures.special_tokens += told["special_tokens"]
    for split in SPLITS:
        shards = manifest.of_split(split)
        if shards:
            figures.splits[split] = _of_split(directory, split, shards)
    return figures


def _of_split(directory: Path, name: str, shards: Sequence[Shard]) -> SplitFigures:
    split = SplitFigures(name)
    for shard in shards:
        split.num_tokens += shard.tokens
        split.num_documents += shard.documents
        split.text_bytes += shard.text_bytes
        split.bytes_per_token.append(shard.text_bytes / max(1, shard.tokens))
    for _, of_task in groupby(shards, key=lambda shard: shard.task):
        for lengths in read_lengths(directory, [(shard.ends_file, shard.tokens) for shard in of_task]):
            split.lengths.add(lengths)
    return split


def read_lengths(directory: Path, shards: Sequence[tuple[str, int]]) -> Iterator[NDArray[np.int64]]:
    """Read the lengths of the documents of one task's shards of one split, which are in order.

    Args:
        directory: of the corpus.
        shards: for each the file of its documents' ends, and its number of tokens.
    """
    begun = 0  # tokens of a document that did not end in its shard
    for name, num_tokens in shards:
        ends = np.load(directory / name, mmap_mode="r", allow_pickle=False)
        if len(ends):
            starts = np.concatenate([[-begun], ends[:-1]])
            yield np.asarray(ends, np.int64) - starts.astype(np.int64)
            begun = num_tokens - int(ends[-1])
        else:
            begun += num_tokens
