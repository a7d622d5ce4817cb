"""The tokenizer as the textbook has it: slow, obvious, and the oracle that the fast one is tested against.

Needs the third-party `regex` module (extra `dev`), because `re` knows no Unicode properties.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

Pair = tuple[bytes, bytes]


def split_specials(text: str, special_tokens: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Cut text at its special tokens, leftmost first, the longest where several start: (piece, is it special)."""
    longest_first = sorted(special_tokens, key=len, reverse=True)
    start = position = 0
    while position < len(text):
        token = next((t for t in longest_first if text.startswith(t, position)), None)
        if token is None:
            position += 1
            continue
        if start < position:
            yield text[start:position], False
        yield token, True
        start = position = position + len(token)
    if start < len(text):
        yield text[start:], False


def pretokenize(text: str, pattern: str = GPT2_PATTERN) -> Iterator[str]:
    """The pattern's matches from left to right. Text between matches is a pretoken of its own: nothing is dropped."""
    import regex  # noqa: PLC0415  (development only)

    compiled, end, position = regex.compile(pattern), 0, 0
    while position < len(text) and (match := compiled.search(text, position)):
        if match.start() == match.end():  # an empty match takes no text
            position = match.end() + 1
            continue
        if end < match.start():
            yield text[end : match.start()]
        yield match.group()
        end = position = match.end()
    if end < len(text):
        yield text[end:]


def merge_pair(word: tuple[bytes, ...], pair: Pair) -> tuple[bytes, ...]:
    """Replace each occurrence of the pair by its concatenation, from left to right."""
    merged: list[bytes] = []
    i = 0
    while i < len(word):
        if word[i : i + 2] == pair:
            merged.append(word[i] + word[i + 1])
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return tuple(merged)


def as_bytes(pretoken: str) -> tuple[bytes, ...]:
    """The pretoken's UTF-8 bytes, one by one."""
    return tuple(bytes([byte]) for byte in pretoken.encode())


def train_bpe(
    texts: Iterable[str], vocab_size: int, special_tokens: Sequence[str] = (), *, pattern: str = GPT2_PATTERN
) -> tuple[dict[int, bytes], list[Pair]]:
    """Merge the most frequent pair, ties to the greater pair of byte strings, until the vocabulary is full.

    Returns:
        The vocabulary (256 bytes, merges, then the special tokens) and the merges in order of creation.
    """
    words: Counter[tuple[bytes, ...]] = Counter()
    for text in texts:
        for piece, is_special in split_specials(text, special_tokens):
            if not is_special:
                words.update(as_bytes(pretoken) for pretoken in pretokenize(piece, pattern))

    new_specials = [token.encode() for token in special_tokens if len(token.encode()) > 1]  # single bytes are tokens
    merges: list[Pair] = []
    while 256 + len(merges) + len(new_specials) < vocab_size:
        counts: Counter[Pair] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                counts[pair] += count
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        words = Counter({merge_pair(word, best): count for word, count in words.items()})

    tokens = [bytes([byte]) for byte in range(256)] + [a + b for a, b in merges] + new_specials
    return dict(enumerate(tokens)), merges


def encode(
    text: str,
    vocab: dict[int, bytes],
    merges: Sequence[Pair],
    special_tokens: Sequence[str] = (),
    *,
    pattern: str = GPT2_PATTERN,
) -> list[int]:
    """Within each pretoken, merge the leftmost pair of the lowest rank until none is left."""
    ids = {token: id_ for id_, token in vocab.items()}
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    out: list[int] = []
    for piece, is_special in split_specials(text, special_tokens):
        if is_special:
            out.append(ids[piece.encode()])
            continue
        for pretoken in pretokenize(piece, pattern):
            parts = list(as_bytes(pretoken))
            while True:
                ranked = [(ranks[p], i) for i, p in enumerate(pairwise(parts)) if p in ranks]
                if not ranked:
                    break
                _, i = min(ranked)
                parts[i : i + 2] = [parts[i] + parts[i + 1]]
            out += [ids[part] for part in parts]
    return out
