"""nanoGPT's `train.bin` and `val.bin`: ids as little-endian `uint16` and nothing else.

Written by its `data/*/prepare.py`, which end each document with the EOS id, and read by `train.py` as
`np.memmap(path, dtype=np.uint16, mode="r")`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cs336.corpus.layouts.stream import Block, Meaning, cut_at, map_ids
from cs336.corpus.layouts.whole import WholeFile

DTYPE = np.dtype("<u2")


class NanoGptSource:
    """Reads such files, one after the other. Documents end where the EOS id stands."""

    def __init__(self, paths: Sequence[Path], meaning: Meaning) -> None:
        if meaning.eos_id is None:
            raise ValueError(f"{paths[0]}: this layout does not tell where documents end; give the EOS id")
        self.meaning = meaning
        self.dtype = DTYPE
        self._eos_id = meaning.eos_id
        self._ids = [map_ids(path, DTYPE) for path in paths]
        self.num_tokens = sum(map(len, self._ids))

    def blocks(self) -> Iterator[Block]:
        """Read it from the beginning."""
        return cut_at(self._eos_id, self._ids)


class NanoGptSink:
    """Writes such a file."""

    dtype = DTYPE

    def __init__(self, path: Path) -> None:
        self._file = WholeFile(path)

    def write(self, block: Block) -> None:
        """Append a block."""
        self._file.write(block.ids.astype(DTYPE))

    def close(self) -> Sequence[Path]:
        """Put the file under its name."""
        self._file.commit()
        return [self._file.path]

    def abandon(self) -> None:
        """Remove what was written."""
        self._file.abandon()
