"""What all layouts have in common: ids in order, and where documents end among them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.integer[Any]]
Positions = NDArray[np.int64]

# Ids that are under way at a time: some megabytes, whatever the size of the files.
BLOCK_TOKENS = 1 << 20


@dataclass(frozen=True)
class Block:
    """Some ids of a stream; the blocks of a stream, end to end, are the stream.

    Attributes:
        ids: any number of them.
        ends: for each document whose last id is in the block, how many ids of the block come before its end; ascending.
            One that is 0, or equal to the one before, is that of a document without ids.
    """

    ids: Ids
    ends: Positions


@dataclass(frozen=True)
class Meaning:
    """What ids mean, as far as a layout tells: None is unknown.

    Attributes:
        eos_id: the id that ends documents.
        vocab_size: every id is less.
        tokenizer: a name, or a hash, for the layouts that have room for one.
    """

    eos_id: int | None = None
    vocab_size: int | None = None
    tokenizer: str | None = None


class Source(Protocol):
    """A stream that can be read."""

    dtype: np.dtype[Any]
    num_tokens: int
    meaning: Meaning

    def blocks(self) -> Iterator[Block]:
        """Read it from the beginning."""


class Sink(Protocol):
    """A stream that can be written. Nothing is under a final name before `close`."""

    def write(self, block: Block) -> None:
        """Append a block, whose ids fit the layout's type."""

    def close(self) -> Sequence[Path]:
        """Put the files under their names and return them."""

    def abandon(self) -> None:
        """Remove what was written."""


def cut(path: Path, ids: Ids, ends: Iterable[Positions]) -> Iterator[Block]:
    """Divide the ids of a file into blocks; `ends` are absolute, ascending, in arrays of any size.

    Raises:
        ValueError: The ends are not in order or do not lead to the end of the ids.
    """
    start = 0
    for some in ends:
        if len(some) and (some[0] < start or some[-1] > len(ids) or np.any(np.diff(some) < 0)):
            raise ValueError(
                f"{path}: the ends of its documents are not in order, or beyond the {len(ids):,} ids there are; one of "
                f"its files is damaged"
            )
        taken = 0
        while taken < len(some):
            stop = min(start + BLOCK_TOKENS, int(some[-1]))
            next_taken = int(np.searchsorted(some, stop, side="right"))
            yield Block(np.asarray(ids[start:stop]), some[taken:next_taken] - start)
            start, taken = stop, next_taken
    if start != len(ids):
        raise ValueError(f"{path}: the last document ends after {start:,} ids, there are {len(ids):,}; it is damaged")


def cut_at(eos_id: int, ids: Iterable[Ids]) -> Iterator[Block]:
    """Divide ids into blocks; documents end with `eos_id`, and the last with the stream."""
    last = None
    for block in pieces(ids):
        if last is not None:
            yield last
        last = Block(block, ends_at(eos_id, block))
    if last is not None:
        is_ended = len(last.ends) > 0 and last.ends[-1] == len(last.ids)
        yield last if is_ended else Block(last.ids, np.append(last.ends, len(last.ids)))


def ends_at(eos_id: int, ids: Ids) -> Positions:
    """Where documents end that end with `eos_id`."""
    return np.flatnonzero(ids == eos_id).astype(np.int64) + 1


def pieces(ids: Iterable[Ids]) -> Iterator[Ids]:
    """Divide arrays, which may be memory maps, into those of a block."""
    for array in ids:
        for start in range(0, len(array), BLOCK_TOKENS):
            yield np.asarray(array[start : start + BLOCK_TOKENS])


def map_ids(path: Path, dtype: np.dtype[Any], *, offset_bytes: int = 0) -> Ids:
    """Map the rest of a file as ids.

    Raises:
        ValueError: It is not a whole number of ids.
        OSError: It cannot be read.
    """
    size_bytes = path.stat().st_size - offset_bytes
    if size_bytes % dtype.itemsize:
        raise ValueError(
            f"{path}: {size_bytes:,} bytes are not a whole number of ids of {dtype.itemsize} bytes; it is cut off, or "
            f"of another layout"
        )
    if size_bytes == 0:  # which cannot be mapped
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, mode="r", offset=offset_bytes)
