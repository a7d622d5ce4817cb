"""Token files: one-dimensional `.npy` arrays of ids, alone or as the shards of a corpus, read through memory maps."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cs336._npy import open_npy
from cs336.data.sharded import ShardedIds
from cs336.shards import Manifest, Split, read_manifest

_SCAN_IDS = 1 << 22  # ids looked at together when searching the greatest: 16 MiB at uint32


@dataclass(frozen=True, eq=False)
class TokenDataset:
    """A sequence of token ids on disk; only the pages that are touched are read.

    Behaves as a read-only array: `len(dataset)`, `dataset[3:7]`, `np.asarray(dataset)` (no copy).

    Attributes:
        ids: The ids, one-dimensional, of an integer type; of several shards a `ShardedIds`, which reads like an array.
        path: The file or the corpus directory they come from.
        manifest: What is known of a corpus: the tokenizer that made the ids, its vocabulary and EOS.
    """

    ids: npt.NDArray[np.integer[Any]]
    path: Path
    manifest: Manifest | None = None

    @classmethod
    def open(
        cls,
        path: str | PathLike[str],
        *,
        vocab_size: int | None = None,
        split: Split = "train",
        tokenizer_sha256: str | None = None,
        eos_id: int | None = None,
    ) -> "TokenDataset":
        """Map a `.npy` file, or the shards of a split of a corpus.

        Args:
            path: The file, as `cs336 tokenizer encode` writes it, or the directory that `cs336 corpus run` made.
            vocab_size: If given, every id is checked to lie below it: in one pass over a file, by the manifest of a
                corpus.
            split: Which part of a corpus; a file has no parts.
            tokenizer_sha256: If given, a corpus must have been made by the tokenizer of this hash.
            eos_id: If given, the documents of a corpus must end with it.

        Raises:
            OSError: The file is missing or cannot be read.
            ValueError: It is not a whole one-dimensional `.npy` array of integers, or an id is out of range; a corpus
                is not finished, has no such split, or was made by another tokenizer.
        """
        path = Path(path)
        if path.is_dir():
            return cls._of_corpus(path, vocab_size, split, tokenizer_sha256, eos_id)
        dataset = cls(_open_ids(path), path)
        if vocab_size is not None:
            dataset.check_ids(vocab_size)
        return dataset

    @classmethod
    def _of_corpus(
        cls, directory: Path, vocab_size: int | None, split: Split, tokenizer_sha256: str | None, eos_id: int | None
    ) -> "TokenDataset":
        manifest = read_manifest(directory)
        _check_made_for(directory, manifest, vocab_size, tokenizer_sha256, eos_id)
        shards = manifest.of_split(split)
        if not shards:
            raise ValueError(f"{directory} holds no {split} documents; plan it with a valid_fraction between 0 and 1")
        arrays = []
        for shard in shards:
            ids = _open_ids(directory / shard.file)
            if (len(ids), str(ids.dtype)) != (shard.tokens, shard.dtype):
                raise ValueError(
                    f"{directory / shard.file} holds {len(ids)} {ids.dtype}, but the manifest says {shard.tokens} "
                    f"{shard.dtype}; see what else has changed with `cs336 corpus verify {directory}`"
                )
            arrays.append(ids)
        # reads like an array wherever ids are read
        joined: Any = arrays[0] if len(arrays) == 1 else ShardedIds(arrays)
        return cls(joined, directory, manifest)

    def check_ids(self, vocab_size: int) -> None:
        """Check that every id lies in [0, vocab_size), in one pass with bounded memory.

        Raises:
            ValueError: One does not; a model of this vocabulary cannot read the file.
        """
        for start in range(0, len(self), _SCAN_IDS):
            chunk = self.ids[start : start + _SCAN_IDS]
            least, greatest = int(chunk.min()), int(chunk.max())
            if least < 0 or greatest >= vocab_size:
                raise ValueError(
                    f"{self.path} holds id {least if least < 0 else greatest}, but the model's vocab_size is "
                    f"{vocab_size}; encode with the model's tokenizer or set vocab_size to that of the tokenizer"
                )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: slice) -> npt.NDArray[np.integer[Any]]:
        return self.ids[index]

    def __array__(self, dtype: npt.DTypeLike | None = None, *, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy:
            return np.array(self.ids, dtype)
        return np.asarray(self.ids, dtype)


def as_ids(array: npt.ArrayLike, *, name: str = "ids") -> npt.NDArray[np.integer[Any]]:
    """Return an array, a TokenDataset or a memory map as an array of ids; nothing is copied.

    Raises:
        ValueError: It is not one-dimensional or not of an integer type; the message calls it `name`.
    """
    if isinstance(array, TokenDataset):
        array = array.ids
    ids: Any = array if isinstance(array, ShardedIds) else np.asarray(array)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{name} must be one-dimensional and of an integer type, got {ids.dtype} of shape {ids.shape}")
    checked: npt.NDArray[np.integer[Any]] = ids
    return checked


def _open_ids(path: Path) -> npt.NDArray[np.integer[Any]]:
    ids = open_npy(path)
    as_ids(ids, name=str(path))
    return ids


def _check_made_for(
    directory: Path,
    manifest: Manifest,
    vocab_size: int | None,
    tokenizer_sha256: str | None,
    eos_id: int | None,
) -> None:
    """Refuse ids that mean something else to the model.

    Raises:
        ValueError: They do; says what differs.
    """
    greatest = manifest.greatest_id
    if vocab_size is not None and greatest is not None and greatest >= vocab_size:
        raise ValueError(
            f"{directory} holds id {greatest}, but the model's vocab_size is {vocab_size}; encode with the model's "
            "tokenizer or set vocab_size to that of the tokenizer"
        )
    for what, expected, found in (
        ("a tokenizer with the hash", tokenizer_sha256, manifest.tokenizer_sha256),
        ("documents that end with id", eos_id, manifest.eos_id),
    ):
        if expected is not None and expected != found:
            raise ValueError(
                f"{directory} was made with {what} {found}, but the model's is {expected}; make the corpus with the "
                "model's tokenizer"
            )
