"""What a corpus is made with."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cs336.settings import check_choices

if TYPE_CHECKING:
    from cs336.tokenizer import Tokenizer

END_OF_TEXT = "<|endoftext|>"
DEFAULT_TOKENS_PER_SHARD = 100_000_000
DEFAULT_MAX_RECORD_BYTES = 128 << 20
DEFAULT_TASK_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """How inputs are read, encoded and laid out. The same options and inputs give the same bytes, always.

    Attributes:
        format: "text", "jsonl" or "parquet" for all inputs; "auto": as their names tell.
        separator: what stands between the documents of a text file.
        whole_files: each text file is one document.
        text_field: the key in JSON lines, or the column of parquet, that holds the text.
        on_bad: what becomes of a record that is no document: "fail" ends the task, "skip" counts it, "quarantine"
            counts it and keeps it in the directory `quarantine`.
        max_rejected: records that may be rejected in all before the job ends with an error; None for any number.
        invalid_utf8: "strict": a record that is not UTF-8 is no document; "replace": U+FFFD stands for what is not.
        max_record_bytes: a longer record is no document. Some of them must fit into memory side by side.
        special_text: special tokens in documents are "ordinary" text, or "special".
        eos: the special token after each document.
        tokens_per_shard: ids in a shard; only the last one of a task and split has fewer.
        valid_fraction: share of the documents that is held out, chosen by a hash of their text.
        split_seed: seed of that hash.
        shuffle_seed: shuffle the documents of each split, exactly, by this seed; None leaves them in order.
        sources: note where each document comes from.
        task_bytes: inputs that can be cut are cut into tasks of this size, and small ones are put together up to it.
        fingerprint: how a changed input is noticed: size, time and hash of both "ends", or hash of the "full" file.
    """

    format: Literal["auto", "text", "jsonl", "parquet"] = "auto"
    separator: str | None = None
    whole_files: bool = False
    text_field: str = "text"
    on_bad: Literal["fail", "skip", "quarantine"] = "fail"
    max_rejected: int | None = 1000
    invalid_utf8: Literal["strict", "replace"] = "strict"
    max_record_bytes: int = DEFAULT_MAX_RECORD_BYTES
    special_text: Literal["ordinary", "special"] = "ordinary"
    eos: str = END_OF_TEXT
    tokens_per_shard: int = DEFAULT_TOKENS_PER_SHARD
    valid_fraction: float = 0.0
    split_seed: int = 0
    shuffle_seed: int | None = None
    sources: bool = False
    task_bytes: int = DEFAULT_TASK_BYTES
    fingerprint: Literal["ends", "full"] = "ends"

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("max_record_bytes", "tokens_per_shard", "task_bytes"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        for name in ("max_rejected", "split_seed", "shuffle_seed"):
            value = getattr(self, name)
            _require(value is None or 0 <= value < 2**64, f"{name} must be at least 0 and below 2**64", value)
        _require(0 <= self.valid_fraction <= 1, "valid_fraction must lie in [0, 1]", self.valid_fraction)
        _require(self.separator != "", "separator must not be empty", self.separator)
        if self.whole_files and self.separator is not None:
            raise ValueError("give either a separator or whole_files: a file that is one document has no separators")

    def eos_id(self, tokenizer: "Tokenizer") -> int:
        """Return the id after each document.

        Raises:
            ValueError: the tokenizer has no such special token.
        """
        eos_id = tokenizer.special_tokens.get(self.eos)
        if eos_id is None:
            raise ValueError(
                f"documents are to end with {self.eos!r}, which is no special token of this tokenizer; it has "
                f"{list(tokenizer.special_tokens)}"
            )
        return eos_id


def _require(condition: bool, expectation: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{expectation}, got {value!r}")
