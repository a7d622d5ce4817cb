"""Decoding ids as they are generated, without ever showing half a character."""

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cs336.tokenizer.tokenizer import Tokenizer


class DecodeStream:
    """Decodes one id at a time. All that `push` and `finish` return, joined, is `decode` of all the ids.

    A token may end in the middle of a character: those bytes are held back until the character is whole or cannot
    become so (then they are U+FFFD, as in `decode`).
    """

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """The text that this id completes, which may be empty.

        Raises:
            ValueError: the id is not in the vocabulary; the stream is as before.
        """
        return self._decoder.decode(self._tokenizer.decode_bytes((token_id,)))

    def finish(self) -> str:
        """What is still held back. The stream is then as new."""
        return self._decoder.decode(b"", final=True)
