"""What a vocabulary holds, what it makes of a text, and what two have in common: the numbers, for any display."""

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cs336.tokenizer.tokenizer import Tokenizer

# Enough to see a tokenizer at work; more does not fit on anybody's screen.
NUM_SHOWN_TOKENS = 1000
NUM_LONGEST = 15
NUM_EXAMPLES = 40

# Where the first word of a letter's name is not the name of its script.
_SCRIPTS = {
    **dict.fromkeys(["CJK", "IDEOGRAPHIC"], "Han"),
    **dict.fromkeys(["FEMININE", "MASCULINE", "KELVIN", "ANGSTROM"], "Latin"),
    **dict.fromkeys(["MICRO", "OHM"], "Greek"),
    "KATAKANA-HIRAGANA": "Katakana",
    "LETTER": "other letters",
}
# Words that may stand before it.
_WIDTHS = ("FULLWIDTH", "HALFWIDTH", "SMALL", "MODIFIER", "SUBSCRIPT", "SUPERSCRIPT")
_CATEGORIES = {"Z": "white space", "N": "numbers", "P": "punctuation", "S": "symbols", "M": "marks"}


@dataclass(frozen=True)
class Token:
    """A token and its id."""

    id: int
    content: bytes
    is_special: bool = False


@dataclass(frozen=True, kw_only=True)
class VocabularyFacts:
    """What a vocabulary holds.

    Attributes:
        num_tokens: ids that have a token; `vocab_size` counts gaps, too.
        num_of_length: how many tokens, special ones aside, have 0, 1, 2, ... bytes.
        longest: in bytes, special ones aside.
        num_of_script: tokens by the script of their first letter, the most frequent script first.
    """

    vocab_size: int
    num_tokens: int
    num_merges: int
    pattern: str
    special_tokens: Mapping[str, int]
    num_of_length: list[int]
    longest: list[Token]
    num_of_script: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class ScriptFacts:
    """What becomes of the characters of one script (or kind) in a text.

    Attributes:
        num_tokens: a token counts here with the share of its bytes that are of this script.
    """

    script: str
    num_bytes: int
    num_tokens: float

    @property
    def bytes_per_token(self) -> float:
        """Compression: higher is better."""
        return self.num_bytes / self.num_tokens


@dataclass(frozen=True, kw_only=True)
class TextFacts:
    """What becomes of a text.

    Attributes:
        num_distinct: different ids in it.
        scripts: the one with the most bytes first.
        tokens: the first ones.
    """

    num_characters: int
    num_bytes: int
    num_tokens: int
    num_distinct: int
    scripts: list[ScriptFacts]
    tokens: list[Token]

    @property
    def bytes_per_token(self) -> float:
        """Compression: higher is better. 0 for an empty text."""
        return self.num_bytes / self.num_tokens if self.num_tokens else 0.0


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What two vocabularies have in common, special tokens aside.

    Attributes:
        num_shared: tokens that are in both, whatever their ids.
        num_only: tokens in the first only, in the second only.
        only: of these, the ones with the lowest ids (which training found first) of more than one byte.
    """

    num_shared: int
    num_only: tuple[int, int]
    only: tuple[list[Token], list[Token]]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """One tokenizer or two, under the names given; `texts` is empty without a text, `overlap` None without a second."""

    names: list[str]
    vocabularies: list[VocabularyFacts]
    texts: list[TextFacts]
    overlap: Overlap | None


def inspect(tokenizers: Mapping[str, Tokenizer], text: str | None = None) -> Inspection:
    """Look at one tokenizer or compare two.

    Raises:
        ValueError: there are neither one nor two.
    """
    if not 1 <= len(tokenizers) <= 2:
        raise ValueError(f"one tokenizer or two can be inspected, got {len(tokenizers)}")
    each = list(tokenizers.values())
    return Inspection(
        names=list(tokenizers),
        vocabularies=[vocabulary_facts(tokenizer) for tokenizer in each],
        texts=[] if text is None else [text_facts(tokenizer, text) for tokenizer in each],
        overlap=compare(*each) if len(each) > 1 else None,
    )


def vocabulary_facts(tokenizer: Tokenizer) -> VocabularyFacts:
    """What the vocabulary holds."""
    tokens = _ordinary(tokenizer)
    lengths = np.bincount([len(token.content) for token in tokens])
    scripts = Counter(_script_of_token(token.content) for token in tokens)
    return VocabularyFacts(
        vocab_size=tokenizer.vocab_size,
        num_tokens=len(tokenizer.vocab),
        num_merges=len(tokenizer.merges),
        pattern=tokenizer.pattern,
        special_tokens=tokenizer.special_tokens,
        num_of_length=lengths.tolist(),
        longest=sorted(tokens, key=lambda token: -len(token.content))[:NUM_LONGEST],
        num_of_script=dict(scripts.most_common()),
    )


def text_facts(tokenizer: Tokenizer, text: str) -> TextFacts:
    """What becomes of the text. Needs some 20 bytes of memory for each byte of it."""
    ids = tokenizer.encode_array(text)
    encoded = tokenizer.decode_bytes(ids)  # the text, but with U+FFFD for lone surrogates
    characters = np.frombuffer(encoded.decode().encode("utf-32-le"), np.uint32)
    special_ids = set(tokenizer.special_tokens.values())
    return TextFacts(
        num_characters=len(characters),
        num_bytes=len(encoded),
        num_tokens=len(ids),
        num_distinct=len(np.unique(ids)),
        scripts=_by_script(tokenizer, ids, characters),
        tokens=[
            Token(id_, tokenizer.decode_bytes((id_,)), id_ in special_ids) for id_ in ids[:NUM_SHOWN_TOKENS].tolist()
        ],
    )


def compare(first: Tokenizer, second: Tokenizer) -> Overlap:
    """What two vocabularies have in common."""
    tokens = _ordinary(first), _ordinary(second)
    contents = tuple({token.content for token in each} for each in tokens)
    only = [
        [token for token in mine if token.content not in others]
        for mine, others in zip(tokens, reversed(contents), strict=True)
    ]
    examples = [[token for token in each if len(token.content) > 1][:NUM_EXAMPLES] for each in only]
    return Overlap(
        num_shared=len(contents[0] & contents[1]),
        num_only=(len(only[0]), len(only[1])),
        only=(examples[0], examples[1]),
    )


def spell(token: bytes) -> str:
    r"""A token to look at: control characters as their pictures, bytes that are no whole character as `\xE6`.

    >>> print(spell(b" caf\xc3\xa9\n\xe6"))
     café␊\xE6
    """
    text = token.decode(errors="surrogateescape")
    return "".join(_picture(character) for character in text)


def spell_listed(token: bytes) -> str:
    """As `spell`, with spaces to be seen, too: for a token on its own."""
    return spell(token).replace(" ", "␣")


def _picture(character: str) -> str:
    code_point = ord(character)
    if 0xDC80 <= code_point <= 0xDCFF:
        return f"\\x{code_point - 0xDC00:02X}"
    if code_point < 0x20:
        return chr(0x2400 + code_point)
    return "␡" if code_point == 0x7F else character


@lru_cache(maxsize=1 << 16)
def script_of(character: str) -> str:
    """The script of a letter, or the kind of another character: white space, numbers, punctuation, symbols, ...

    By the character's name, for want of the property in Python's Unicode database; rare scripts go by their first word.
    """
    if character.isspace():
        return "white space"
    category = unicodedata.category(character)[0]
    if category != "L":
        return _CATEGORIES.get(category, "other characters")
    words = unicodedata.name(character, "").split()
    while words and words[0] in _WIDTHS:
        words = words[1:]
    if not words:
        return "other characters"
    return _SCRIPTS.get(words[0], words[0].capitalize())


def _ordinary(tokenizer: Tokenizer) -> list[Token]:
    special_ids = set(tokenizer.special_tokens.values())
    return [Token(id_, content) for id_, content in tokenizer.vocab.items() if id_ not in special_ids]


def _script_of_token(content: bytes) -> str:
    text = content.decode(errors="ignore")
    letters = (character for character in text if character.isalpha())
    characters = [*letters, *text.strip(), *text]
    return script_of(characters[0]) if characters else "parts of characters"


def _by_script(tokenizer: Tokenizer, ids: NDArray[np.uint32], characters: NDArray[np.uint32]) -> list[ScriptFacts]:
    distinct, which = np.unique(ids, return_inverse=True)
    lengths = np.array([len(tokenizer.decode_bytes((id_,))) for id_ in distinct.tolist()], np.int64)[which]
    token_share_of_byte = np.repeat(1 / lengths, lengths)

    code_points, which = np.unique(characters, return_inverse=True)
    scripts = [script_of(chr(code_point)) for code_point in code_points.tolist()]
    names, number_of_script = np.unique(np.array(scripts, dtype=object), return_inverse=True)
    num_bytes_of_code_point = 1 + (code_points >= 0x80) + (code_points >= 0x800) + (code_points >= 0x10000)
    script_of_byte = np.repeat(number_of_script[which], num_bytes_of_code_point[which])

    num_bytes = np.bincount(script_of_byte, minlength=len(names))
    num_tokens = np.bincount(script_of_byte, token_share_of_byte, minlength=len(names))
    facts = [
        ScriptFacts(script=str(name), num_bytes=int(size), num_tokens=float(share))
        for name, size, share in zip(names, num_bytes, num_tokens, strict=True)
    ]
    return sorted(facts, key=lambda fact: -fact.num_bytes)
