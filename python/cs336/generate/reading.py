"""How the model reads growing sequences: what it sees of each, and what it need not read twice.

Past its context a model sees a window of the last ids, at the positions 0, 1, 2, ... that it was trained with. The
window of a sequence of n ids begins at a multiple of `slide_by`, so that it moves once in that many ids; where it
begins depends on n alone, so that a cache changes nothing but the time.

Inside the context a new id costs one position. When the window moves, everything in it is read anew: what deeper layers
made of an id had seen ids that are now out of view, and a cache that kept it would not equal the model on the window.
"""

import contextlib
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cs336.model import KeyValueCache, TransformerLM


def window_start(num_ids: int, *, context_length: int, slide_by: int) -> int:
    """Return where the window of a sequence of this many ids begins: the first multiple of slide_by that will do."""
    return slide_by * max(0, -(-(num_ids - context_length) // slide_by))


class Reader:
    """Reads sequences that grow by one id at a time, several at once, and says what may come next.

    Args:
        model: Read in evaluation mode; its own mode is restored.
        sequences: The ids of each row; the caller appends to them.
        capacity: The most ids that a row of the cache will hold.
        slide_by: How far the window moves at once.
        use_cache: Whether to keep keys and values; if not, every window is read whole each time.
    """

    def __init__(
        self, model: TransformerLM, sequences: list[list[int]], *, capacity: int, slide_by: int, use_cache: bool
    ) -> None:
        self._model = model
        self._sequences = sequences
        self._slide_by = slide_by
        self._slots = list(range(len(sequences)))  # which row each row of the cache belongs to
        self._cache = KeyValueCache(model.config.num_layers, len(sequences), capacity) if use_cache else None
        self._starts: dict[int, int] = {}  # of the windows that the cache holds

    @torch.inference_mode()
    def next_logits(self, rows: list[int]) -> Float[Tensor, "rows vocab"]:
        """Return the logits of the id after each of these rows, in fp32 on the CPU; rows left out never come back.

        Raises:
            ValueError: They are not finite.
        """
        if self._cache is not None and rows != self._slots:
            self._cache.keep([self._slots.index(row) for row in rows])
            self._slots = list(rows)
        is_grown = [self._cache is not None and self._starts.get(row) == self._start(row) for row in rows]
        logits: dict[int, Tensor] = {}
        with _evaluating(self._model):
            for grown in sorted(set(is_grown)):
                group = [row for row, row_is_grown in zip(rows, is_grown, strict=True) if row_is_grown == grown]
                logits |= zip(group, self._read(group, grown=grown), strict=True)
        result = torch.stack([logits[row] for row in rows]).float().cpu()
        if not result.isfinite().all():
            raise ValueError("the model's logits are not finite; its training diverged: use an earlier checkpoint")
        return result

    def _start(self, row: int) -> int:
        return window_start(
            len(self._sequences[row]), context_length=self._model.config.context_length, slide_by=self._slide_by
        )

    def _read(self, rows: list[int], *, grown: bool) -> Float[Tensor, "rows vocab"]:
        """Read the last id of rows that have grown by it, or the whole window of the others.

        Windows are padded on the right: under the causal mask no id sees what follows it, so padding changes nothing.
        """
        unread = [self._sequences[row][-1:] if grown else self._sequences[row][self._start(row) :] for row in rows]
        lengths = [len(ids) for ids in unread]
        padded = torch.tensor([ids + [0] * (max(lengths) - len(ids)) for ids in unread])
        device = self._model.token_embeddings.weight.device
        step = None
        if self._cache is not None:
            self._starts |= {row: self._start(row) for row in rows}
            slots = [self._slots.index(row) for row in rows]
            step = self._cache.step(slots, lengths, device=device, anew=not grown)
        hidden = self._model.hidden(padded.to(device), step)
        last = torch.tensor(lengths, device=device) - 1
        return self._model.logits(hidden[torch.arange(len(rows), device=device), last])


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
