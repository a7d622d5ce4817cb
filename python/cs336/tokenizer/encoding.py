"""Class `Encoding`: a `Tokenizer` with the methods of `tiktoken.Encoding`.

Code written for tiktoken runs unchanged on what `Tokenizer.as_tiktoken` returns: the same results and the same
exceptions. Source: the documentation of tiktoken 0.14.
"""

from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from operator import index
from typing import TYPE_CHECKING, Literal, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cs336.tokenizer.tokenizer import Tokenizer

END_OF_TEXT = "<|endoftext|>"

_Allowed = Literal["all"] | AbstractSet[str]
_Disallowed = Literal["all"] | Collection[str]


class Encoding:
    """What `tiktoken.Encoding` offers.

    Text may come from anyone, and special tokens in it can make a model do what its operator did not want. So
    `encode` refuses text that holds one, unless it is told what to do:

    - `allowed_special`: these become their ids.
    - `disallowed_special`: these raise ValueError. By default all that are not allowed.
    - A special token that is neither is encoded as ordinary text.

    Attributes:
        name: of the encoding.
    """

    def __init__(self, tokenizer: "Tokenizer", name: str) -> None:
        self.name = name
        self._tokenizer = tokenizer
        self._special_tokens = tokenizer.special_tokens
        self._special_token_values = frozenset(self._special_tokens.values())

    def __repr__(self) -> str:
        return f"<Encoding {self.name!r}>"

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of a text with no special token recognised: `encode(text, disallowed_special=())`."""
        return self._tokenizer.encode_ordinary(text, num_threads=1)

    def encode(
        self, text: str, *, allowed_special: _Allowed = frozenset(), disallowed_special: _Disallowed = "all"
    ) -> list[int]:
        """The ids of a text.

        Raises:
            ValueError: the text holds a disallowed special token.
        """
        specials = self._check([text], allowed_special, disallowed_special)
        return self._tokenizer.encode(text, special_tokens=specials, num_threads=1)

    def encode_to_numpy(
        self, text: str, *, allowed_special: _Allowed = frozenset(), disallowed_special: _Disallowed = "all"
    ) -> NDArray[np.uint32]:
        """As `encode`, into an array."""
        specials = self._check([text], allowed_special, disallowed_special)
        return self._tokenizer.encode_array(text, special_tokens=specials, num_threads=1)

    def encode_ordinary_batch(self, text: list[str], *, num_threads: int = 8) -> list[list[int]]:
        """As `encode_ordinary` of each text, on several threads."""
        return self._tokenizer.encode_batch(text, num_threads, special_tokens=())

    def encode_batch(
        self,
        text: list[str],
        *,
        num_threads: int = 8,
        allowed_special: _Allowed = frozenset(),
        disallowed_special: _Disallowed = "all",
    ) -> list[list[int]]:
        """As `encode` of each text, on several threads."""
        text = text if isinstance(text, str) else list(text)  # gone through twice; a single str is refused below
        specials = self._check(text, allowed_special, disallowed_special)
        return self._tokenizer.encode_batch(text, num_threads, special_tokens=specials)

    def encode_with_unstable(
        self, text: str, *, allowed_special: _Allowed = frozenset(), disallowed_special: _Disallowed = "all"
    ) -> tuple[list[int], list[list[int]]]:
        """The ids of a text that may go on: those that stay, and what may come after them.

        Each completion stands for the rest of the text or begins with it, and ends with the token that reaches the
        text's end. They come in ascending order; tiktoken has the same ones in no order.

        Raises:
            ValueError: the text holds a disallowed special token.
        """
        specials = self._check([text], allowed_special, disallowed_special)
        return self._tokenizer.encode_unfinished(text, special_tokens=specials)

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """The id of a token, special or not.

        Raises:
            KeyError: it is no token.
        """
        token = text_or_bytes.encode() if isinstance(text_or_bytes, str) else text_or_bytes
        token_id = self._tokenizer.token_to_id(token)
        if token_id is None:
            raise KeyError(token)
        return token_id

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """The concatenated tokens of ids.

        Raises:
            KeyError: an id has no token.
            OverflowError: an id is negative or does not fit into 32 bits.
        """
        try:
            return self._tokenizer.decode_bytes(tokens)
        except ValueError:
            numbers = [_as_id(token) for token in tokens]
        raise KeyError(f"no token has the id {next(n for n in numbers if self._tokenizer.id_to_token(n) is None)}")

    def decode(self, tokens: Sequence[int], errors: str = "replace") -> str:
        """The text of ids; `errors` as in `bytes.decode` says what becomes of bytes that are no UTF-8.

        Raises:
            KeyError: an id has no token.
            OverflowError: an id is negative or does not fit into 32 bits.
        """
        return self.decode_bytes(tokens).decode(errors=errors)

    def decode_single_token_bytes(self, token: int) -> bytes:
        """The token of an id, special or not.

        Raises:
            KeyError: the id has no token.
        """
        return self.decode_bytes((token,))

    def decode_tokens_bytes(self, tokens: Iterable[int]) -> list[bytes]:
        """The token of each id."""
        return [self.decode_single_token_bytes(token) for token in tokens]

    def decode_with_offsets(self, tokens: Sequence[int]) -> tuple[str, list[int]]:
        """The text of ids, and where in it each token starts, in characters.

        A token that starts within a character starts where that character does.

        Raises:
            UnicodeDecodeError: the bytes are no UTF-8.
        """
        offsets = []
        num_characters = 0
        pieces = self.decode_tokens_bytes(tokens)
        for piece in pieces:
            starts_within = _is_continuation(piece[0])
            offsets.append(max(0, num_characters - starts_within))
            num_characters += sum(not _is_continuation(byte) for byte in piece)
        return b"".join(pieces).decode(errors="strict"), offsets

    def decode_batch(
        self, batch: Sequence[Sequence[int]], *, errors: str = "replace", num_threads: int = 8
    ) -> list[str]:
        """As `decode` of each. `num_threads` is taken for compatibility; one is enough."""
        return [self.decode(tokens, errors) for tokens in batch]

    def decode_bytes_batch(self, batch: Sequence[Sequence[int]], *, num_threads: int = 8) -> list[bytes]:
        """As `decode_bytes` of each. `num_threads` is taken for compatibility; one is enough."""
        return [self.decode_bytes(tokens) for tokens in batch]

    def token_byte_values(self) -> list[bytes]:
        """All tokens but the special ones, sorted."""
        return sorted(self._tokenizer.ordinary_tokens())

    @property
    def eot_token(self) -> int:
        """The id of `<|endoftext|>`.

        Raises:
            KeyError: there is no such special token.
        """
        return self._special_tokens[END_OF_TEXT]

    @cached_property
    def special_tokens_set(self) -> set[str]:
        """The special tokens."""
        return set(self._special_tokens)

    def is_special_token(self, token: int) -> bool:
        """Whether an id is that of a special token."""
        return token in self._special_token_values

    @property
    def max_token_value(self) -> int:
        """The greatest id."""
        return self._tokenizer.vocab_size - 1

    @property
    def n_vocab(self) -> int:
        """The greatest id plus one."""
        return self._tokenizer.vocab_size

    # tiktoken's README extends an encoding by making another of these three.

    @property
    def _pat_str(self) -> str:
        return self._tokenizer.pattern_regex

    @cached_property
    def _mergeable_ranks(self) -> dict[bytes, int]:
        return self._tokenizer.ranks()

    def _check(
        self, texts: Iterable[str], allowed_special: _Allowed, disallowed_special: _Disallowed
    ) -> AbstractSet[str] | None:
        """Refuses disallowed special tokens in the texts; returns which to recognise, None for all."""
        is_all_allowed = allowed_special == "all"
        allowed = self.special_tokens_set if is_all_allowed else cast("AbstractSet[str]", allowed_special)
        if disallowed_special == "all":
            disallowed: AbstractSet[str] = self.special_tokens_set - allowed
        else:
            disallowed = frozenset(disallowed_special)
        if disallowed:
            for text in texts:
                if found := [token for token in disallowed if token in text]:
                    _refuse(min(found, key=text.index))
        return None if is_all_allowed else self.special_tokens_set & allowed


def _is_continuation(byte: int) -> bool:
    """Whether a byte goes on with a character of UTF-8 rather than beginning one."""
    return byte & 0xC0 == 0x80


def _as_id(token: int) -> int:
    number = index(token)
    if not 0 <= number < 1 << 32:
        raise OverflowError(f"token ids are whole numbers of 32 bits, got {number}")
    return number


def _refuse(token: str) -> NoReturn:
    raise ValueError(
        f"the text holds the special token {token!r}, which is not allowed; for its id pass "
        f"allowed_special={{{token!r}}}, for ordinary text disallowed_special=(), to forbid only some pass those"
    )
