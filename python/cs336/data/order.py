"""Which windows of a token file a step reads: a pure function of the seed and the step.

Two orders. `PermutedWindows` reads every window once before it reads any again; `RandomWindows` draws each anew, so
that after one epoch's worth of draws 37 % of the text has not been seen while the rest repeats. Neither keeps a state
or a list: nothing needs saving, and any number of ranks find the rows of a step by themselves.
"""

from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

Order = Literal["permuted", "random"]
Starts = npt.NDArray[np.int64]
_NUM_ROUNDS = 8  # with four, small files show a bias: of six windows some pairs stay together 13 % too often


class WindowOrder(Protocol):
    """An order in which windows are read."""

    def starts(self, step: int, batch_size: int) -> Starts:
        """Return where the windows of a step's global batch begin."""


class PermutedWindows:
    """All windows of an epoch, none twice, in an order that the seed shuffles; each epoch in another order.

    The windows lie side by side. Each epoch shifts them all by less than a window, so that texts are cut elsewhere; at
    most a window's worth of ids at the two ends is left out of an epoch. Positions of the order go through a keyed
    permutation (a Feistel network over the next power of 4, walked until it lands inside), which costs microseconds a
    batch and no memory, whatever the size of the file.

    Raises:
        ValueError: The file is shorter than one window and its last target.
    """

    def __init__(self, num_ids: int, context_length: int, *, seed: int) -> None:
        num_whole = _num_targets(num_ids, context_length) // context_length
        self.num_windows = max(1, num_whole - 1)  # the last one is room for the shift
        self._num_shifts = min(context_length, num_ids - self.num_windows * context_length)
        self._context_length = context_length
        self._seed = seed

    def starts(self, step: int, batch_size: int) -> Starts:
        """Return where the windows of a step's global batch begin."""
        places = np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.uint64)
        epochs, places = np.divmod(places, np.uint64(self.num_windows))
        starts = np.empty(batch_size, dtype=np.int64)
        for epoch in np.unique(epochs):
            is_here = epochs == epoch
            shift, *keys = np.random.SeedSequence((self._seed, int(epoch))).generate_state(1 + _NUM_ROUNDS, np.uint64)
            windows = permute(places[is_here], self.num_windows, keys=keys)
            starts[is_here] = int(shift) % self._num_shifts + windows.astype(np.int64) * self._context_length
        return starts


class RandomWindows:
    """Windows drawn uniformly from all places, with replacement (handout, "Data loader").

    Raises:
        ValueError: The file is shorter than one window and its last target.
    """

    def __init__(self, num_ids: int, context_length: int, *, seed: int) -> None:
        self._num_starts = _num_targets(num_ids, context_length) - context_length + 1
        self._seed = seed

    def starts(self, step: int, batch_size: int) -> Starts:
        """Return where the windows of a step's global batch begin."""
        state = np.random.SeedSequence((self._seed, step)).generate_state(1, np.uint64)[0] >> np.uint64(1)
        return draw_starts(self._num_starts, batch_size, generator=torch.Generator().manual_seed(int(state)))


def window_order(name: Order, num_ids: int, context_length: int, *, seed: int) -> WindowOrder:
    """Return the order of that name.

    Raises:
        ValueError: The file is shorter than one window and its last target.
    """
    kinds: dict[str, type[PermutedWindows | RandomWindows]] = {"permuted": PermutedWindows, "random": RandomWindows}
    return kinds[name](num_ids, context_length, seed=seed)


def draw_starts(num_starts: int, num_windows: int, *, generator: torch.Generator | None) -> Starts:
    """Draw places from 0 .. num_starts - 1, with replacement."""
    return torch.randint(num_starts, (num_windows,), generator=generator).numpy()


def permute(places: npt.NDArray[np.uint64], size: int, *, keys: list[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return where a keyed permutation of 0 .. size - 1 sends each of some places.

    A place is a pair of halves; each round adds to one half a hash of the other, which the next round could undo, so
    that no two places meet. What lands beyond `size` is sent on until it lands within: that too is one-to-one.
    """
    half_bits = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half_bits) - np.uint64(1)
    places = places.copy()
    pending = np.arange(len(places))
    while len(pending):
        left, right = places[pending] >> half_bits, places[pending] & mask
        for key in keys:
            left, right = right, left ^ (_hash(right ^ key) & mask)
        places[pending] = left << half_bits | right
        pending = pending[places[pending] >= size]
    return places


def _hash(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Spread every bit over all bits: the finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _num_targets(num_ids: int, context_length: int) -> int:
    if context_length < 1:
        raise ValueError(f"context_length must be at least 1, got {context_length}")
    if num_ids <= context_length:
        raise ValueError(
            f"need at least context_length + 1 = {context_length + 1} ids for one example, got {num_ids}; "
            "use more text or a shorter context"
        )
    return num_ids - 1
