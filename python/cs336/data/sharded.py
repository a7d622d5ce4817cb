"""Arrays of ids in several files, read as one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer[Any]]


class ShardedIds:
    """One-dimensional ids that lie in several arrays, end to end; only what is asked for is read.

    Reads as an array does: `len`, slices of step 1, and indices of any shape; `np.asarray` copies all of it.
    """

    ndim = 1

    def __init__(self, shards: Sequence[Ids]) -> None:
        self._shards = list(shards)
        self._starts = np.cumsum([0, *map(len, self._shards)])
        self.dtype = self._shards[0].dtype

    @property
    def shape(self) -> tuple[int]:
        """As an array has it."""
        return (len(self),)

    @property
    def nbytes(self) -> int:
        """As an array has it."""
        return len(self) * self.dtype.itemsize

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            begin, end, step = index.indices(len(self))
            if step != 1:
                raise ValueError(f"ids in several files are read in slices of step 1, got {step}")
            return self._range(begin, max(begin, end))
        places = np.asarray(index)
        if places.size and places.dtype.kind not in "iu":
            raise IndexError(f"ids in several files are read at whole numbers and in slices, got {places.dtype}")
        places = places.astype(np.int64)
        if places.size and not (-len(self) <= places.min() and places.max() < len(self)):
            raise IndexError(f"index out of range of {len(self)} ids, got {places.min()} to {places.max()}")
        places = np.where(places < 0, places + len(self), places)
        found = np.empty(places.shape, dtype=self.dtype)
        shard_of = np.searchsorted(self._starts, places, side="right") - 1
        for shard in np.unique(shard_of):
            is_here = shard_of == shard
            found[is_here] = self._shards[shard][places[is_here] - self._starts[shard]]
        return found if places.ndim else found[()]

    def _range(self, begin: int, end: int) -> Ids:
        first = int(np.searchsorted(self._starts, begin, side="right")) - 1
        pieces: list[Ids] = []
        for start, ids in zip(self._starts[first:-1], self._shards[first:], strict=True):
            if start >= end and pieces:
                break
            pieces.append(ids[max(0, begin - start) : max(0, end - start)])
        if not pieces:
            return np.empty(0, dtype=self.dtype)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def __array__(self, dtype: npt.DTypeLike | None = None, *, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("ids in several files become one array only by copying them")
        return np.concatenate(self._shards).astype(dtype or self.dtype, copy=False)
