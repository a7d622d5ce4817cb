"""Token files: one-dimensional `.npy` arrays of ids, read through a memory map."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_SCAN_IDS = 1 << 22  # ids looked at together when searching the greatest: 16 MiB at uint32


@dataclass(frozen=True, eq=False)
class TokenDataset:
    """A sequence of token ids on disk; only the pages that are touched are read.

    Behaves as a read-only array: `len(dataset)`, `dataset[3:7]`, `np.asarray(dataset)` (no copy).

    Attributes:
        ids: The ids, one-dimensional, of an integer type.
        path: The file they come from.
    """

    ids: npt.NDArray[np.integer[Any]]
    path: Path

    @classmethod
    def open(cls, path: str | PathLike[str], *, vocab_size: int | None = None) -> "TokenDataset":
        """Map a `.npy` file.

        Args:
            path: The file, as `cs336 tokenizer encode` writes it.
            vocab_size: If given, every id is checked to lie below it, in one pass over the file.

        Raises:
            OSError: The file is missing or cannot be read.
            ValueError: It is not a whole one-dimensional `.npy` array of integers, or an id is out of range.
        """
        path = Path(path)
        try:
            ids = np.lib.format.open_memmap(path, mode="r")
            if ids.offset + ids.nbytes != path.stat().st_size:
                raise ValueError("bytes after the array's end")
        except OSError:
            raise
        except Exception as error:  # a damaged header makes numpy raise TokenError, OverflowError, TypeError, ...
            raise ValueError(
                f"{path} is not a whole .npy file of token ids; write it with `cs336 tokenizer encode`"
            ) from error
        as_ids(ids, name=str(path))
        dataset = cls(ids, path)
        if vocab_size is not None:
            dataset.check_ids(vocab_size)
        return dataset

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
    ids = np.asarray(array)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{name} must be one-dimensional and of an integer type, got {ids.dtype} of shape {ids.shape}")
    return ids
