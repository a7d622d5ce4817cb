"""Documents of a text file: what stands between special tokens; and which of them are held out."""

import hashlib
import mmap
from collections.abc import Iterator
from pathlib import Path

from cs336.tokenizer.tokenizer import END_OF_TEXT

__all__ = ["END_OF_TEXT", "documents", "is_held_out"]


def documents(path: Path) -> Iterator[bytes]:
    """Return the documents of a text file one by one, without the special token and without those that are blank.

    A document is what stands between two special tokens; line feeds beside them stay, since they are text.

    Raises:
        OSError: The file cannot be read.
    """
    end_of_text = END_OF_TEXT.encode()
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        begin = 0
        while begin < len(text):
            end = text.find(end_of_text, begin)
            end = len(text) if end < 0 else end
            document = text[begin:end]
            if document.strip():
                yield document
            begin = end + len(end_of_text)


def is_held_out(document: bytes, share: float) -> bool:
    """Tell whether a document is of the share that is held out; its bytes alone decide, whatever stands around it."""
    digest = hashlib.blake2b(document, digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64
