"""Our own corpus directories, as a stream: any that is finished is read, and one of a single task is written."""

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cs336 import _bpe
from cs336._npy import open_npy
from cs336.corpus.layouts.stream import Block, Ids, Meaning, Positions, pieces
from cs336.corpus.options import DEFAULT_TOKENS_PER_SHARD, CorpusOptions
from cs336.corpus.planning import PLAN, TOKENIZER, Part, Plan, PlannedInput
from cs336.shards import MANIFEST, VERSION, Shard, Split, checked_file, read_manifest, shard_line
from cs336.tokenizer import Tokenizer


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
        unlike = ValueError(f"{path}: it is not what the manifest lists; check the corpus with `cs336 corpus verify`")
        try:
            ids, ends = open_npy(path), open_npy(self._directory / shard.ends_file)
        except ValueError as error:
            raise unlike from error
        if (ids.shape, ends.shape, ids.dtype) != ((shard.tokens,), (shard.documents,), self.dtype):
            raise unlike
        return ids, ends.astype(np.int64)


class ShardsSink:
    """Writes a directory whose plan names the files that were converted. It appears whole."""

    def __init__(
        self,
        directory: Path,
        sources: Sequence[Path],
        tokenizer: Tokenizer,
        *,
        eos_id: int,
        tokens_per_shard: int = DEFAULT_TOKENS_PER_SHARD,
    ) -> None:
        if directory.exists():
            raise FileExistsError(errno.EEXIST, "it exists; choose a directory that is new", str(directory))
        eos = next((token for token, number in tokenizer.special_tokens.items() if number == eos_id), None)
        if eos is None:
            raise ValueError(f"the EOS id {eos_id} is no special token of the tokenizer: {tokenizer.special_tokens}")
        self._directory = directory
        self._aside = directory.with_name(f".{directory.name}.tmp.{os.getpid()}")
        self._plan = Plan(
            directory=directory,
            options=CorpusOptions(eos=eos, tokens_per_shard=tokens_per_shard),
            tokenizer_sha256=tokenizer.sha256,
            vocab_size=tokenizer.vocab_size,
            eos_id=eos_id,
            inputs=tuple(_planned(path) for path in sources),
            tasks=(tuple(Part(input=index) for index in range(len(sources))),),
        )
        self._aside.mkdir()
        tokenizer.save(self._aside / TOKENIZER, format="tokenizer.json")
        self.dtype = np.dtype(self._plan.dtype)
        self._text_bytes = _text_bytes(tokenizer, eos_id)
        self._shards: list[Shard] = []
        self._open: _OpenShard | None = None
        self._document = (0, 0, 0)  # tokens before it in the stream, of it so far, bytes of its text so far
        self._num_empty = 0

    def write(self, block: Block) -> None:
        """Append a block, dividing it among shards."""
        start, taken = 0, 0
        while start < len(block.ids):
            if self._open is None:
                at, num_tokens, _ = self._document
                self._open = _OpenShard(self._aside, len(self._shards), self.dtype, first=(0, at, num_tokens))
            stop = min(len(block.ids), start + self._plan.options.tokens_per_shard - self._open.num_tokens)
            next_taken = int(np.searchsorted(block.ends, stop, side="right"))
            self._append(block.ids[start:stop], block.ends[taken:next_taken] - start)
            start, taken = stop, next_taken
            if self._open.num_tokens == self._plan.options.tokens_per_shard:
                self._end_shard()

    def _append(self, ids: Ids, ends: Positions) -> None:
        assert self._open is not None, "opened by the caller"
        text_bytes = np.concatenate([[0], np.cumsum(self._text_bytes[ids])])
        begin, num_tokens, num_bytes = self._document
        if len(ends):
            self._open.text_bytes += num_bytes + int(text_bytes[ends[-1]])
            lengths = np.diff(ends, prepend=-num_tokens)
            self._num_empty += int(np.count_nonzero(lengths == 1))
            at = begin + num_tokens + int(ends[-1])
            self._document = (at, len(ids) - int(ends[-1]), int(text_bytes[-1] - text_bytes[ends[-1]]))
        else:
            self._document = (begin, num_tokens + len(ids), num_bytes + int(text_bytes[-1]))
        self._open.append(ids, ends)

    def _end_shard(self) -> None:
        if self._open is not None:
            at, num_tokens, _ = self._document
            self._shards.append(self._open.finish((0, at, num_tokens)))
            self._open = None

    def close(self) -> Sequence[Path]:
        """Write plan and manifest and put the directory under its name."""
        self._end_shard()
        _bpe.write_file(self._aside / PLAN, checked_file(self._plan.content))
        _bpe.write_file(self._aside / MANIFEST, checked_file(self._manifest()))
        self._aside.rename(self._directory)
        return [self._directory]

    def _manifest(self) -> dict[str, object]:
        sums = {
            name: sum(getattr(shard, name) for shard in self._shards) for name in ("documents", "text_bytes", "tokens")
        }
        tally = {
            **{"record_bytes": sums["text_bytes"], "other_bytes": 0, "documents": sums["documents"]},
            **{"empty_documents": self._num_empty, "repaired_documents": 0, "text_bytes": sums["text_bytes"]},
            **{"rejected": 0, "blank": 0, "special_tokens": 0},
        }
        file_bytes = sum(planned.size_bytes or 0 for planned in self._plan.inputs)
        report = {
            "name": ", ".join(planned.name for planned in self._plan.inputs),
            **{"input": 0, "begin": 0, "end": sums["text_bytes"], "file_bytes": file_bytes},
            **tally,
            "rejected_by_reason": {},
        }
        totals = {**tally, "tokens": sums["tokens"], "file_bytes": file_bytes}
        totals |= {"train_tokens": sums["tokens"], "train_documents": sums["documents"]}
        totals |= {"valid_tokens": 0, "valid_documents": 0}
        greatest = [shard.greatest_id for shard in self._shards if shard.greatest_id is not None]
        return {
            "version": VERSION,
            "plan_sha256": self._plan.sha256,
            "tokenizer_sha256": self._plan.tokenizer_sha256,
            "vocab_size": self._plan.vocab_size,
            "eos": self._plan.options.eos,
            "eos_id": self._plan.eos_id,
            "dtype": self._plan.dtype,
            "greatest_id": max(greatest, default=None),
            "shuffle_seed": None,
            "totals": totals,
            "inputs": [report],
            "shards": [shard_line(shard) for shard in self._shards],
        }

    def abandon(self) -> None:
        """Remove what was written."""
        if self._open is not None:
            self._open.abandon()
        shutil.rmtree(self._aside, ignore_errors=True)


class _OpenShard:
    """A shard that is being written, with the ends of its documents in memory."""

    def __init__(
        self, directory: Path, number: int, dtype: np.dtype[np.generic], *, first: tuple[int, int, int]
    ) -> None:
        self._directory = directory
        self._number = number
        self._dtype = dtype
        self._first = first
        self._name = f"train-00000-{number:05}.npy"
        self._file: BinaryIO = (directory / self._name).open("wb")
        self._file.write(bytes(_HEADER_BYTES))
        self._ends: list[Positions] = []
        self.num_tokens = 0
        self.text_bytes = 0
        self._greatest: int | None = None

    def append(self, ids: Ids, ends: Positions) -> None:
        self._file.write(memoryview(np.ascontiguousarray(ids, self._dtype).data).cast("B"))
        self._ends.append(ends + self.num_tokens)
        self.num_tokens += len(ids)
        self._greatest = max(int(ids.max()), self._greatest or 0)

    def finish(self, following: tuple[int, int, int]) -> Shard:
        self._file.seek(0)
        self._file.write(_npy_header(self._dtype, self.num_tokens))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        ends = np.concatenate(self._ends).astype("<u8")
        ends_name = self._name.replace(".npy", ".ends.npy")
        _bpe.write_file(self._directory / ends_name, _npy_header(ends.dtype, len(ends)) + ends.tobytes())
        size_bytes, blake3 = _bpe.hash_file(self._directory / self._name)
        ends_size_bytes, ends_blake3 = _bpe.hash_file(self._directory / ends_name)
        return Shard(
            task=0,
            split="train",
            shard=self._number,
            file=self._name,
            dtype="uint16" if self._dtype.itemsize == 2 else "uint32",
            tokens=self.num_tokens,
            documents=len(ends),
            text_bytes=self.text_bytes,
            greatest_id=self._greatest,
            first=self._first,
            next=following,
            size_bytes=size_bytes,
            blake3=blake3,
            ends_size_bytes=ends_size_bytes,
            ends_blake3=ends_blake3,
            sources_size_bytes=0,
            sources_blake3=None,
        )

    def abandon(self) -> None:
        self._file.close()


# One size whatever the length, which is known only at the end.
_HEADER_BYTES = 128


def _npy_header(dtype: np.dtype[np.generic], length: int) -> bytes:
    told = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': ({length},), }}".encode()
    start = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
    return start + told.ljust(_HEADER_BYTES - len(start) - 1) + b"\n"


def _text_bytes(tokenizer: Tokenizer, eos_id: int) -> Positions:
    """How many bytes of text each id stands for; EOS for none."""
    sizes = np.zeros(tokenizer.vocab_size, np.int64)
    for number, token in tokenizer.vocab.items():
        sizes[number] = len(token)
    sizes[eos_id] = 0
    return sizes


def _planned(path: Path) -> PlannedInput:
    status = path.stat() if path.exists() else None
    return PlannedInput(
        name=str(path.absolute()),
        format="tokens",
        compression="none",
        size_bytes=status.st_size if status else None,
        stamp=str(status.st_mtime_ns) if status else "",
        fingerprint="",
    )
