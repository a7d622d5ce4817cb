"""How files are read as documents, and what is done with what is none."""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from cs336.inputs.expand import Format, InputFile
from cs336.inputs.feed import fed
from cs336.settings import check_choices

# Above it a record is taken for damage rather than for a document: some of them must fit into memory side by side.
DEFAULT_MAX_DOCUMENT_BYTES = 128 << 20
_UNLIMITED = (1 << 64) - 1


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How files are read.

    Attributes:
        format: "text", "jsonl" or "parquet" for all files; None: as their names tell.
        separator: what stands between the documents of a text; None: a text is taken as a whole.
        text_field: the key in JSON lines, or the column of parquet, that holds the text.
        on_bad: what happens to a record that is no document: "fail" with an error, or "skip" it with a warning in the
            end that tells how many there were.
        max_bad: with "skip", one more in a file is an error; None for no limit.
        invalid_utf8: "strict": bytes that are not UTF-8 make a bad record; "replace": they become U+FFFD.
        max_document_bytes: a longer record is a bad one.
    """

    format: Format | None = None
    separator: str | None = None
    text_field: str = "text"
    on_bad: Literal["fail", "skip"] = "fail"
    max_bad: int | None = None
    invalid_utf8: Literal["strict", "replace"] = "strict"
    max_document_bytes: int = DEFAULT_MAX_DOCUMENT_BYTES

    def __post_init__(self) -> None:
        check_choices(self)
        if self.separator == "":
            raise ValueError("the separator of documents is empty, expected at least one character, or None")
        if self.max_bad is not None and (self.on_bad == "fail" or self.max_bad < 0):
            raise ValueError(f"max_bad is for on_bad='skip', and not negative, got {self.max_bad} with {self.on_bad!r}")
        if self.max_document_bytes < 1:
            raise ValueError(f"max_document_bytes must be at least 1, got {self.max_document_bytes}")

    @property
    def max_rejected(self) -> int:
        """The number of bad records in a file above which it is an error."""
        if self.on_bad == "fail":
            return 0
        return _UNLIMITED if self.max_bad is None else self.max_bad

    def takes_as_it_is(self, file: InputFile) -> bool:
        """Whether a file is nothing but text, which needs none of the above."""
        is_plain = file.format == "text" and file.compression == "none" and not file.is_remote
        return is_plain and self.separator is None and self.invalid_utf8 == "strict"


@contextmanager
def described(file: InputFile, options: ReadOptions) -> Iterator[Mapping[str, Any]]:
    """Make a file ready for the core's readers.

    Raises:
        OSError: A URL cannot be read.
        ValueError: A parquet file is damaged or lacks the column.
        ModuleNotFoundError: An extra is missing.
    """
    with fed(file, text_field=options.text_field) as source:
        yield {
            "path": source.path,
            "name": os.fspath(source.name),
            "format": source.format,
            "compression": source.compression,
            "separator": options.separator,
            "text_field": options.text_field,
            "replace_invalid_utf8": options.invalid_utf8 == "replace",
            "max_record_bytes": options.max_document_bytes,
            "max_rejected": options.max_rejected,
        }


def warn_of_rejected(name: str, rejected: Mapping[str, int]) -> None:
    """Tell how many records of a file were left out."""
    if rejected:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in rejected.items())
        warnings.warn(f"{name}: {sum(rejected.values()):,} records were left out ({reasons})", stacklevel=2)
