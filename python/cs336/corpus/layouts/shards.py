"""Our own corpus directories, as a stream."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cs336.corpus.layouts.stream import Block, Ids, Meaning, Positions, pieces
from cs336.shards import Shard, Split, read_manifest


class ShardsSource:
    """Reads a split of a corpus directory that is finished; sizes are checked, hashes are left to `verify`."""

    def __init__(self, directory: Path, split: Split, meaning: Meaning) -> None:
        manifest = read_manifest(directory)
        self._directory = directory
        self._shards = manifest.of_split(split)
        for what, given, told in [
            ("EOS id", meaning.eos_id, manifest.eos_id),
            ("vocabulary", meaning.vocab_size, manifest.vocab_size),
        ]:
            if given not in {None, told}:
                raise ValueError(f"{directory}: the {what} is {told}, got {given}; leave it out")
        self.meaning = Meaning(manifest.eos_id, manifest.vocab_size, manifest.tokenizer_sha256)
        self.dtype = np.dtype(manifest.dtype)
        self.num_tokens = sum(shard.tokens for shard in self._shards)

    def blocks(self) -> Iterator[Block]:
        """Read it from the beginning."""
        for shard in self._shards:
            ids, ends = self._load(shard)
            at, taken = 0, 0
            for piece in pieces([ids]):
                at += len(piece)
                next_taken = int(np.searchsorted(ends, at, side="right"))
                yield Block(piece, ends[taken:next_taken] - (at - len(piece)))
                taken = next_taken

    def _load(self, shard: Shard) -> tuple[Ids, Positions]:
        path = self._directory / shard.file
        ids = np.load(path, mmap_mode="r", allow_pickle=False)
        ends = np.load(self._directory / shard.ends_file, allow_pickle=False).astype(np.int64)
        if len(ids) != shard.tokens or len(ends) != shard.documents or ids.dtype != self.dtype:
            raise ValueError(f"{path}: it is not what the manifest lists; check the corpus with `cs336 corpus verify`")
        return ids, ends
