r"""Megatron's `NAME.bin` and `NAME.idx`: ids, and an index of sequences and documents.

The index: `MMIDIDX\0\0`, version 1 (`uint64`), a code for the type of the ids (`uint8`), the numbers of sequences and
of document boundaries (`uint64`), then the length of each sequence (`int32`), its offset in bytes (`int64`) and the
number of sequences before each boundary (`int64`, from 0 on). Read by
`megatron.core.datasets.indexed_dataset.IndexedDataset`.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cs336.corpus.layouts.stream import BLOCK_TOKENS, Block, Meaning, Positions, cut, map_ids
from cs336.corpus.layouts.whole import WholeFile

MAGIC = b"MMIDIDX\x00\x00"
HEADER_BYTES = len(MAGIC) + 8 + 1 + 8 + 8
DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
# Megatron's own choice for a vocabulary: uint16 below this size, else int32.
MAX_NARROW_VOCAB = 65_500
MAX_SEQUENCE_TOKENS = 2**31 - 1


def file_names(path: Path) -> tuple[Path, Path]:
    """Return both files of a dataset, given either of them or their common prefix."""
    prefix = path.with_suffix("") if path.suffix in {".bin", ".idx"} else path
    return prefix.with_name(prefix.name + ".bin"), prefix.with_name(prefix.name + ".idx")


class MegatronSource:
    """Reads such a pair of files. Of documents of several sequences only the ends of the documents are kept."""

    def __init__(self, path: Path, meaning: Meaning) -> None:
        self.meaning = meaning
        self._bin, self._index = file_names(path)
        with self._index.open("rb") as file:
            header = file.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
            raise ValueError(f"{self._index}: not an index of Megatron's (it should begin with {MAGIC!r})")
        version, code, self._num_sequences, self._num_boundaries = struct.unpack_from("<QBQQ", header, len(MAGIC))
        if version != 1 or code not in DTYPES:
            raise ValueError(
                f"{self._index}: version {version} with ids of type {code}, expected version 1 with one of "
                f"{sorted(DTYPES)}"
            )
        expected = HEADER_BYTES + 12 * self._num_sequences + 8 * self._num_boundaries
        if self._index.stat().st_size < expected:
            raise ValueError(
                f"{self._index}: {self._index.stat().st_size:,} bytes, expected {expected:,}; it is cut off"
            )
        self.dtype = np.dtype(DTYPES[code])
        self._ids = map_ids(self._bin, self.dtype)
        self.num_tokens = len(self._ids)

    def blocks(self) -> Iterator[Block]:
        """Read it from the beginning."""
        return cut(self._bin, self._ids, self._ends())

    def _ends(self) -> Iterator[Positions]:
        lengths = self._array("<i4", HEADER_BYTES, self._num_sequences)
        pointers = self._array("<i8", HEADER_BYTES + lengths.nbytes, self._num_sequences)
        boundaries = self._array("<i8", HEADER_BYTES + lengths.nbytes + pointers.nbytes, self._num_boundaries)
        if self._num_boundaries and (boundaries[0] != 0 or boundaries[-1] != self._num_sequences):
            raise ValueError(f"{self._index}: the documents are not all of the sequences")
        for start in range(0, self._num_sequences, BLOCK_TOKENS):
            stop = min(start + BLOCK_TOKENS, self._num_sequences)
            # One more, where there is one: that a sequence begins where the one before ends.
            found = np.asarray(pointers[start : stop + 1])
            ends = found[: stop - start] + np.asarray(lengths[start:stop], np.int64) * self.dtype.itemsize
            if (start == 0 and found[0] != 0) or np.any(ends[: len(found) - 1] != found[1:]):
                raise ValueError(
                    f"{self._index}: its sequences do not follow one another in the .bin file, or leave some of it out"
                )
            first, last = np.searchsorted(boundaries, [start + 1, stop + 1])
            yield ends[np.asarray(boundaries[first:last]) - start - 1] // self.dtype.itemsize

    def _array(self, dtype: str, offset_bytes: int, length: int) -> Positions:
        if length == 0:
            return np.zeros(0, dtype)
        return np.memmap(self._index, dtype, mode="r", offset=offset_bytes, shape=(length,))


class MegatronSink:
    """Writes such a pair of files, a sequence a document. Lengths wait in a file, for there may be many."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        bin_path, index_path = file_names(path)
        self._bin = WholeFile(bin_path)
        self._index = WholeFile(index_path)
        self._lengths = WholeFile(index_path.with_suffix(".lengths"))
        self._num_documents = 0
        self._num_open = 0  # ids of a document that has not ended

    def write(self, block: Block) -> None:
        """Append a block.

        Raises:
            ValueError: A document is too long for an index of 32 bits.
        """
        self._bin.write(block.ids.astype(self.dtype))
        if len(block.ends) == 0:
            self._num_open += len(block.ids)
            return
        lengths = np.diff(block.ends, prepend=-self._num_open)
        self._num_open = len(block.ids) - int(block.ends[-1])
        if lengths.max() > MAX_SEQUENCE_TOKENS:
            raise ValueError(
                f"{self._bin.path}: a document of {lengths.max():,} tokens, Megatron's index holds at most "
                f"{MAX_SEQUENCE_TOKENS:,}"
            )
        self._num_documents += len(lengths)
        self._lengths.write(lengths.astype("<i4"))

    def close(self) -> Sequence[Path]:
        """Write the index and put the files under their names; a reader that finds the index finds the ids, too."""
        lengths = self._lengths.content("<i4")
        code = next(code for code, name in DTYPES.items() if np.dtype(name) == self.dtype)
        self._index.write(MAGIC + struct.pack("<QBQQ", 1, code, self._num_documents, self._num_documents + 1))
        self._index.write(lengths)
        offset = 0
        for start in range(0, len(lengths), BLOCK_TOKENS):
            sizes = np.asarray(lengths[start : start + BLOCK_TOKENS], np.int64) * self.dtype.itemsize
            ends = offset + np.cumsum(sizes)
            self._index.write((ends - sizes).astype("<i8"))
            offset = int(ends[-1])
        for start in range(0, self._num_documents + 1, BLOCK_TOKENS):
            stop = min(start + BLOCK_TOKENS, self._num_documents + 1)
            self._index.write(np.arange(start, stop, dtype="<i8"))
        self._lengths.abandon()
        self._index.remove_earlier()  # the index of other ids must not be found beside these
        self._bin.commit()
        self._index.commit()
        return [self._bin.path, self._index.path]

    def abandon(self) -> None:
        """Remove what was written."""
        for file in (self._bin, self._index, self._lengths):
            file.abandon()
