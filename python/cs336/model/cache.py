"""Keys and values of what was read, kept so that the next ids cost only their own positions.

A `KeyValueCache` belongs to a set of rows, each of which may have read another number of ids. For each forward pass,
`step` hands out one `CacheStep` a layer: it takes the place of causal attention among the new ids, and lets them
attend to what their row has read before as well. The logits are those of reading the whole row at once, up to
rounding.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cs336.model.functional import scaled_dot_product_attention


class KeyValueCache:
    """What each row has read, at the positions 0, 1, 2, ...

    Memory is taken when a layer first reads, in the type and on the device of its keys.

    Args:
        num_layers: Of the model.
        num_rows: How many sequences are read side by side.
        capacity: The most ids of a row; at most the model's context length.
    """

    def __init__(self, num_layers: int, num_rows: int, capacity: int) -> None:
        self.capacity = capacity
        self.lengths = [0] * num_rows
        self._layers = [_Layer() for _ in range(num_layers)]

    def step(
        self,
        rows: Sequence[int],
        num_new: Sequence[int],
        *,
        device: torch.device | str | None = None,
        anew: bool = False,
    ) -> list["CacheStep"]:
        """Prepare to read the next ids of some rows, padded on the right to the greatest `num_new`.

        Args:
            rows: Which rows.
            num_new: How many ids of each.
            device: Where the model lives.
            anew: Forget what these rows have read.

        Returns:
            What `TransformerLM.forward` takes as its `cache`: for one call, with the ids of these rows in this order.

        Raises:
            ValueError: A row would hold more than the capacity.
        """
        begins = [0 if anew else self.lengths[row] for row in rows]
        longest = max(begin + max(num_new) for begin in begins)
        if longest > self.capacity:
            raise ValueError(f"a row of the cache holds at most {self.capacity} ids, got {longest}, padding included")
        for row, begin, num in zip(rows, begins, num_new, strict=True):
            self.lengths[row] = begin + num
        positions = torch.tensor(begins).unsqueeze(1) + torch.arange(max(num_new))
        # What lies at a later position is another time's or padding.
        mask = torch.arange(longest) <= positions.unsqueeze(-1)
        selected = None if list(rows) == list(range(len(self.lengths))) else torch.tensor(rows, device=device)
        positions, mask = positions.to(device), mask.unsqueeze(1).to(device)
        return [
            CacheStep(layer, selected, positions, mask, (len(self.lengths), self.capacity)) for layer in self._layers
        ]

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these, and number them in this order."""
        self.lengths = [self.lengths[row] for row in rows]
        for layer in self._layers:
            layer.keep(rows)


class _Layer:
    """The keys and values of one layer: rows x heads x capacity x d_k."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def keep(self, rows: Sequence[int]) -> None:
        if self.keys is not None and self.values is not None:
            index = torch.tensor(rows, device=self.keys.device)
            self.keys, self.values = self.keys.index_select(0, index), self.values.index_select(0, index)


class CacheStep:
    """One layer's part of a step: stores the new keys and values, and attends to all that the rows have read.

    Attributes:
        positions: Where the new ids stand.
    """

    def __init__(
        self,
        layer: _Layer,
        rows: Int[Tensor, " rows"] | None,
        positions: Int[Tensor, "rows new"],
        mask: Bool[Tensor, "rows 1 new read"],
        shape: tuple[int, int],
    ) -> None:
        self.positions = positions
        self._layer, self._rows, self._mask = layer, rows, mask
        self._shape = shape

    def attend(
        self,
        query: Float[Tensor, "rows heads new d_k"],
        key: Float[Tensor, "rows heads new d_k"],
        value: Float[Tensor, "rows heads new d_k"],
    ) -> Float[Tensor, "rows heads new d_k"]:
        """Return what the queries gather from all that their rows have read, the new ids up to their own included."""
        keys, values = self._store(key, value)
        return scaled_dot_product_attention(query, keys, values, self._mask)

    def _store(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        layer, num_read = self._layer, self._mask.shape[-1]
        if layer.keys is None or layer.values is None:
            num_rows, capacity = self._shape
            layer.keys, layer.values = (key.new_zeros(num_rows, key.shape[1], capacity, key.shape[3]) for _ in "kv")
        rows = torch.arange(self._shape[0], device=key.device) if self._rows is None else self._rows
        places = (rows.unsqueeze(1), slice(None), self.positions)
        layer.keys[places] = key.transpose(1, 2)
        layer.values[places] = value.transpose(1, 2)
        keys, values = layer.keys[:, :, :num_read], layer.values[:, :, :num_read]
        if self._rows is None:
            return keys, values
        return keys.index_select(0, self._rows), values.index_select(0, self._rows)
