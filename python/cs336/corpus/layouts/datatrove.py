"""datatrove's `NAME.ds`, `NAME.ds.index` and `NAME.ds.metadata`.

The first holds ids of 2 or 4 bytes; the index where each document ends (`uint64`, in ids); the metadata are three
lines: the tokenizer and the size of an id, the number of ids, and that once more for people. Written by
`datatrove.pipeline.tokens.DocumentTokenizer`, read by `datatrove.utils.dataset.DatatroveFileDataset`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cs336.corpus.layouts.stream import BLOCK_TOKENS, Block, Meaning, Positions, cut, map_ids
from cs336.corpus.layouts.whole import WholeFile

DTYPES: dict[int, np.dtype[Any]] = {2: np.dtype("<u2"), 4: np.dtype("<u4")}


class DatatroveSource:
    """Reads such files; the metadata may be missing, the index may not."""

    def __init__(self, path: Path, meaning: Meaning) -> None:
        self.meaning = meaning
        self._path = path
        index = path.with_name(path.name + ".index")
        if not index.exists():
            raise ValueError(
                f"{path}: {index.name} is missing, which tells where documents end; write it with save_index"
            )
        self._ends: Positions = map_ids(index, np.dtype("<u8"))  # type: ignore[assignment]
        self.dtype = _dtype(path, self._ends)
        self._ids = map_ids(path, self.dtype)
        self.num_tokens = len(self._ids)

    def blocks(self) -> Iterator[Block]:
        """Read it from the beginning."""
        ends = self._ends
        some = (np.asarray(ends[start : start + BLOCK_TOKENS]) for start in range(0, len(ends), BLOCK_TOKENS))
        return cut(self._path, self._ids, (part.astype(np.int64) for part in some))


def _dtype(path: Path, ends: Positions) -> np.dtype[Any]:
    """Return the type of the ids: what the metadata say, and what the size of the file and the index come to."""
    num_tokens = int(ends[-1]) if len(ends) else 0
    size_bytes = path.stat().st_size
    metadata = path.with_name(path.name + ".metadata")
    if metadata.exists():
        words = metadata.read_text(encoding="utf-8").splitlines()[0].rsplit("|", 1)
        token_bytes = int(words[-1]) if words[-1].isdecimal() else 0
    else:
        token_bytes = size_bytes // num_tokens if num_tokens else 2
    if token_bytes not in DTYPES or num_tokens * token_bytes != size_bytes:
        raise ValueError(
            f"{path}: {size_bytes:,} bytes, expected {num_tokens:,} ids (by the index) of 2 or 4 bytes; it is cut off"
        )
    return DTYPES[token_bytes]


class DatatroveSink:
    """Writes such files."""

    def __init__(self, path: Path, dtype: np.dtype[Any], *, tokenizer: str | None) -> None:
        self.dtype = dtype
        self._tokenizer = tokenizer or "Unknown Tokenizer"
        self._ids = WholeFile(path)
        self._index = WholeFile(path.with_name(path.name + ".index"))
        self._metadata = WholeFile(path.with_name(path.name + ".metadata"))
        self._num_tokens = 0

    def write(self, block: Block) -> None:
        """Append a block."""
        self._ids.write(block.ids.astype(self.dtype))
        self._index.write((block.ends + self._num_tokens).astype("<u8"))
        self._num_tokens += len(block.ids)

    def close(self) -> Sequence[Path]:
        """Put the files under their names."""
        lines = [f"{self._tokenizer}|{self.dtype.itemsize}", str(self._num_tokens), _rounded(self._num_tokens)]
        self._metadata.write("\n".join(lines).encode())
        self._ids.remove_earlier()  # other ids must not be found beside this index
        files = [self._index, self._metadata, self._ids]
        for file in files:
            file.commit()
        return [file.path for file in files]

    def abandon(self) -> None:
        """Remove what was written."""
        for file in (self._ids, self._index, self._metadata):
            file.abandon()


def _rounded(num_tokens: int) -> str:
    """As people read it: 1.23 MT."""
    value, prefixes = float(num_tokens), ["", "k", "M", "G", "T"]
    while value >= 1000 and len(prefixes) > 1:
        value, prefixes = value / 1000, prefixes[1:]
    return f"{value:.3g} {prefixes[0]}T"
