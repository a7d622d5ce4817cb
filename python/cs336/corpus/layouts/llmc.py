"""llm.c's `.bin`: 256 `int32` (magic, version, number of tokens, zeros), then the ids.

There are two kinds: magic 20240520, version 1, `uint16` for GPT-2, which `llmc/dataloader.h` reads; and 20240801,
version 7, `uint32` for Llama 3, which `train_llama3.py` reads. Its scripts put the EOS id in front of each document,
where ours stands at the end; so reading and writing moves it, and nothing else.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cs336.corpus.layouts.stream import Block, Ids, Meaning, ends_at, map_ids, pieces
from cs336.corpus.layouts.whole import WholeFile

HEADER_BYTES = 256 * 4
KINDS: dict[tuple[int, int], np.dtype[Any]] = {(20240520, 1): np.dtype("<u2"), (20240801, 7): np.dtype("<u4")}
MAX_TOKENS = 2**31 - 1


def is_llmc(path: Path) -> bool:
    """Whether a file begins with one of the magic numbers."""
    with path.open("rb") as file:
        return int.from_bytes(file.read(4), "little") in {magic for magic, _ in KINDS}


class LlmcSource:
    """Reads such files, one after the other. A document begins with the EOS id, and may go on in the next file."""

    def __init__(self, paths: Sequence[Path], meaning: Meaning) -> None:
        if meaning.eos_id is None:
            raise ValueError(f"{paths[0]}: this layout does not tell where documents begin; give the EOS id")
        self.meaning = meaning
        self._eos_id = meaning.eos_id
        self._ids = [_map(path) for path in paths]
        dtypes = {ids.dtype for ids in self._ids}
        if len(dtypes) > 1:
            raise ValueError(
                f"{paths[0]}: the files are of both kinds, for GPT-2 and for Llama 3; convert each kind alone"
            )
        self.dtype = self._ids[0].dtype
        num_tokens = sum(map(len, self._ids))
        # What begins within a document lacks the id in front, which no other can replace.
        first = next((int(ids[0]) for ids in self._ids if len(ids)), None)
        self._has_first = first == self._eos_id
        self.num_tokens = num_tokens + int(num_tokens > 0 and not self._has_first)

    def blocks(self) -> Iterator[Block]:
        """Read them with the EOS ids moved from the beginnings of the documents to their ends."""
        num_dropped = int(self._has_first)
        for block in pieces(self._ids):
            rest = block[num_dropped:]
            num_dropped = 0
            yield Block(rest, ends_at(self._eos_id, rest))
        if self.num_tokens:
            yield Block(np.asarray([self._eos_id], self.dtype), np.ones(1, np.int64))


def _map(path: Path) -> Ids:
    with path.open("rb") as file:
        content = file.read(HEADER_BYTES)
    if len(content) < HEADER_BYTES:
        raise ValueError(f"{path}: {len(content)} bytes are less than the header of {HEADER_BYTES}; it is cut off")
    magic, version, num_tokens = map(int, np.frombuffer(content, "<i4", count=3))
    dtype = KINDS.get((magic, version))
    if dtype is None:
        known = " or ".join(f"{magic} version {version}" for magic, version in KINDS)
        raise ValueError(f"{path}: magic number {magic} version {version}, expected {known}")
    ids = map_ids(path, dtype, offset_bytes=HEADER_BYTES)
    if len(ids) != num_tokens:
        raise ValueError(f"{path}: the header tells {num_tokens:,} ids, there are {len(ids):,}; it is cut off")
    return ids


class LlmcSink:
    """Writes such files; every document must end with the EOS id, which goes to its beginning."""

    def __init__(self, path: Path, dtype: np.dtype[Any], *, eos_id: int, shard_tokens: int | None = None) -> None:
        if shard_tokens is not None and not 0 < shard_tokens <= MAX_TOKENS:
            raise ValueError(f"a file of llm.c holds 1 to {MAX_TOKENS:,} tokens, got shard_tokens={shard_tokens:,}")
        self.dtype = dtype
        self._path = path
        self._eos_id = eos_id
        self._shard_tokens = shard_tokens
        self._files: list[WholeFile] = []
        self._num_tokens = 0  # in the last file
        self._held_back = self.dtype.type(eos_id)

    def write(self, block: Block) -> None:
        """Append a block."""
        ids = block.ids.astype(self.dtype)
        if len(ids):
            # The id that ends one document begins the next; the last of all began the first.
            self._append(np.concatenate([[self._held_back], ids[:-1]]).astype(self.dtype))
            self._held_back = ids[-1]

    def _append(self, ids: Ids) -> None:
        while len(ids):
            room = (self._shard_tokens or MAX_TOKENS) - self._num_tokens
            if not self._files or room == 0:
                if self._files and self._shard_tokens is None:
                    raise ValueError(
                        f"{self._path}: more than {MAX_TOKENS:,} tokens, which a file of llm.c cannot hold; give the "
                        f"number of tokens of a shard"
                    )
                self._begin_file()
                continue
            self._files[-1].write(ids[:room])
            self._num_tokens += len(ids[:room])
            ids = ids[room:]

    def _begin_file(self) -> None:
        self._end_file()
        name = self._path.name
        if self._shard_tokens is not None:
            name = f"{self._path.stem}_{len(self._files):06d}{self._path.suffix}"
        self._files.append(WholeFile(self._path.with_name(name)))
        self._files[-1].write(bytes(HEADER_BYTES))
        self._num_tokens = 0

    def _end_file(self) -> None:
        if self._files:
            magic, version = next(kind for kind, dtype in KINDS.items() if dtype == self.dtype)
            header = np.zeros(256, "<i4")
            header[:3] = magic, version, self._num_tokens
            self._files[-1].write_at_start(header.tobytes())

    def close(self) -> Sequence[Path]:
        """Put the files under their names."""
        if not self._files:
            self._begin_file()
        self._end_file()
        for file in self._files:
            file.commit()
        return [file.path for file in self._files]

    def abandon(self) -> None:
        """Remove what was written."""
        for file in self._files:
            file.abandon()
