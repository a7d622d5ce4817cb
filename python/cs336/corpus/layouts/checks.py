"""What is checked on the way from one layout to another, block by block."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs336.corpus.layouts.stream import Block, Meaning


@dataclass
class Passage:
    """Follows a stream into a layout, and refuses what would be lost there.

    Attributes:
        dtype: of the layout that is written.
        meaning: of the ids.
        finds_ends_by_eos: the layout knows no documents but by the EOS id, which may not stand within one.
        needs_eos: every document must end with the EOS id.
        adds_eos: an EOS id is put at the end of documents that lack it.
        num_tokens: ids so far, those that were put in among them.
        num_documents: documents so far.
        num_added_eos: EOS ids that were put in.
        greatest_id: None while there is none.
    """

    dtype: np.dtype[Any]
    meaning: Meaning
    finds_ends_by_eos: bool
    needs_eos: bool
    adds_eos: bool
    num_tokens: int = 0
    num_documents: int = 0
    num_added_eos: int = 0
    greatest_id: int | None = None

    def follow(self, block: Block) -> Block:
        """Hand on what the layout can hold.

        Raises:
            ValueError: An id does not fit the layout's type or the vocabulary, or the end of a document would be lost.
        """
        self._check_ids(block)
        passed = self._with_eos(block) if self.adds_eos else block
        if self.needs_eos:
            self._check_ends(passed)
        self.num_tokens += len(passed.ids)
        self.num_documents += len(passed.ends)
        return passed

    def _check_ids(self, block: Block) -> None:
        if len(block.ids) == 0:
            return
        least, greatest = int(block.ids.min()), int(block.ids.max())
        self.greatest_id = max(greatest, self.greatest_id or 0)
        most = int(np.iinfo(self.dtype).max)
        if self.meaning.vocab_size is not None and greatest >= self.meaning.vocab_size:
            at = self.num_tokens + int(block.ids.argmax())
            raise ValueError(
                f"id {greatest} at position {at:,} is not one of the vocabulary of {self.meaning.vocab_size:,}; these "
                f"are ids of another tokenizer, or of another layout"
            )
        if least < 0 or greatest > most:
            wrong, at = (least, int(block.ids.argmin())) if least < 0 else (greatest, int(block.ids.argmax()))
            raise ValueError(
                f"id {wrong} at position {self.num_tokens + at:,} does not fit into {self.dtype} (0 to {most:,}), "
                f"which is what this layout holds; choose another"
            )

    def _with_eos(self, block: Block) -> Block:
        lacking = block.ends[~self._has_eos(block)]
        if len(lacking) == 0:
            return block
        self.num_added_eos += len(lacking)
        num_before = np.cumsum(~self._has_eos(block))
        return Block(np.insert(block.ids, lacking, self.eos_id()), block.ends + num_before)

    def _has_eos(self, block: Block) -> NDArray[np.bool_]:
        """Whether each document that ends in the block does so with the EOS id; one without ids does not."""
        has_ids = np.diff(block.ends, prepend=0) > 0
        last = np.take(np.append(block.ids, 0), block.ends - 1, mode="wrap")  # something, for those without ids
        has_eos: NDArray[np.bool_] = last == self.eos_id()
        return has_ids & has_eos

    def _check_ends(self, block: Block) -> None:
        eos_id = self.eos_id()
        has_eos = self._has_eos(block)
        if not has_eos.all():
            raise ValueError(
                f"document {self.num_documents + int(has_eos.argmin()):,} does not end with the EOS id {eos_id}, as "
                f"all must in this layout; let EOS ids be added, or choose another layout"
            )
        is_eos = block.ids == eos_id
        if self.finds_ends_by_eos and np.count_nonzero(is_eos) > len(block.ends):
            is_eos[block.ends - 1] = False
            raise ValueError(
                f"the EOS id {eos_id} stands within a document, at position "
                f"{self.num_tokens + int(is_eos.argmax()):,}, where this layout would take it for the end; choose one "
                f"with an index"
            )

    def eos_id(self) -> int:
        """Return the EOS id, which the layout needs."""
        if self.meaning.eos_id is None:
            raise ValueError("the EOS id is not known, which this layout needs; give it")
        return self.meaning.eos_id
