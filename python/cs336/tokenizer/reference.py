"""The tokenizer as the textbook has it: slow, obvious, and the oracle that the fast one is tested against.

Needs the third-party `regex` module (extra `dev`), because `re` knows no Unicode properties.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

SUPERBPE_PATTERN = r"""\p{N}{1,3}| ?[^\s\p{L}\p{N}]{2,}[\r\n/]*| +(?!\S)"""

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
    texts: Iterable[str],
    vocab_size: int,
    special_tokens: Sequence[str] = (),
    *,
    pattern: str = GPT2_PATTERN,
    min_frequency: int = 1,
    max_token_length: int | None = None,
    weights: Sequence[int] | None = None,
) -> tuple[dict[int, bytes], list[Pair]]:
    """Merge the most frequent pair, ties to the greater pair of byte strings, until the vocabulary is full.

    Args:
        texts: each counts by itself.
        vocab_size: 256 bytes, merges and special tokens.
        special_tokens: the texts are split at them.
        pattern: its matches are the pretokens.
        min_frequency: rarer pairs are not merged.
        max_token_length: pairs of more bytes together are not merged.
        weights: how often each text counts.

    Returns:
        The vocabulary (256 bytes, merges, then the special tokens) and the merges in order of creation.
    """
    words = count_words(texts, special_tokens, pattern, weights)
    new_specials = [token.encode() for token in special_tokens if len(token.encode()) > 1]  # single bytes are tokens
    num_merges = vocab_size - 256 - len(new_specials)
    merges = learn_merges(words, num_merges, min_frequency, max_token_length)
    return vocab_of(merges, new_specials), merges


def count_words(
    texts: Iterable[str], special_tokens: Sequence[str], pattern: str, weights: Sequence[int] | None = None
) -> Counter[tuple[bytes, ...]]:
    """How often each pretoken occurs, as its bytes one by one."""
    words: Counter[tuple[bytes, ...]] = Counter()
    for index, text in enumerate(texts):
        for piece, is_special in split_specials(text, special_tokens):
            if not is_special:
                for pretoken in pretokenize(piece, pattern):
                    words[as_bytes(pretoken)] += 1 if weights is None else weights[index]
    return words


def learn_merges(
    words: Counter[tuple[bytes, ...]],
    num_merges: int,
    min_frequency: int = 1,
    max_token_length: int | None = None,
    is_allowed: Callable[[bytes], bool] = lambda _: True,
) -> list[Pair]:
    """The merges in order of creation; the words are counted anew before each."""
    merges: list[Pair] = []
    while len(merges) < num_merges:
        counts: Counter[Pair] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                counts[pair] += count
        allowed = [
            pair
            for pair, count in counts.items()
            if count >= min_frequency
            and (max_token_length is None or len(pair[0] + pair[1]) <= max_token_length)
            and is_allowed(pair[0] + pair[1])
        ]
        if not allowed:
            break
        best = max(allowed, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        words = merge_words(words, best)
    return merges


def merge_words(words: Counter[tuple[bytes, ...]], pair: Pair) -> Counter[tuple[bytes, ...]]:
    """Replace the pair in all words."""
    merged: Counter[tuple[bytes, ...]] = Counter()
    for word, count in words.items():
        merged[merge_pair(word, pair)] += count
    return merged


def vocab_of(merges: Sequence[Pair], new_specials: Sequence[bytes]) -> dict[int, bytes]:
    """The ids: 256 bytes, the products of the merges, the special tokens."""
    return dict(enumerate([bytes([byte]) for byte in range(256)] + [a + b for a, b in merges] + list(new_specials)))


def train_superbpe(
    texts: Sequence[str],
    vocab_size: int,
    special_tokens: Sequence[str] = (),
    *,
    transition_size: int,
    pattern: str = GPT2_PATTERN,
    superword_pattern: str = SUPERBPE_PATTERN,
    min_frequency: int = 1,
    max_token_length: int | None = None,
    max_token_words: int | None = 4,
    forbidden: Sequence[str] = (": ",),
    weights: Sequence[int] | None = None,
) -> tuple[dict[int, bytes], list[Pair]]:
    """Train as `train_bpe` up to `transition_size`, then go on within the pretokens of `superword_pattern`.

    In between, the merges learned so far are applied in their order to the pretokens of the second pattern, as the
    tokenizer will apply them to a text.

    Args:
        texts: each counts by itself.
        vocab_size: 256 bytes, merges and special tokens.
        special_tokens: the texts are split at them in both stages.
        transition_size: 256 bytes, merges of the first stage and special tokens.
        pattern: its matches are the pretokens of the first stage.
        superword_pattern: its matches and what is between them are the pretokens of the second stage.
        min_frequency: rarer pairs are not merged.
        max_token_length: pairs of more bytes together are not merged.
        max_token_words: in the second stage, pairs of more words together are not merged.
        forbidden: in the second stage, pairs that contain one of these together are not merged.
        weights: how often each text counts.

    Returns:
        The vocabulary and the merges of both stages in order of creation.
    """
    subwords, first_merges = train_bpe(
        texts,
        transition_size,
        special_tokens,
        pattern=pattern,
        min_frequency=min_frequency,
        max_token_length=max_token_length,
        weights=weights,
    )
    new_specials = list(subwords.values())[256 + len(first_merges) :]
    words = count_words(texts, special_tokens, superword_pattern, weights)
    for pair in first_merges:
        words = merge_words(words, pair)

    def is_allowed(token: bytes) -> bool:
        num_words = sum(1 for word in token.split(b" ") if word)
        too_many = max_token_words is not None and num_words > max_token_words
        return not too_many and not any(part.encode() in token for part in forbidden)

    num_merges = vocab_size - 256 - len(first_merges) - len(new_specials)
    merges = first_merges + learn_merges(words, num_merges, min_frequency, max_token_length, is_allowed)
    return vocab_of(merges, new_specials), merges


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
