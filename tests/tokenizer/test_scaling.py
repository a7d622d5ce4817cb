"""Text made to be slow: the time must grow with the text, not with its square."""

import random
import time
from collections.abc import Callable

import pytest

from cs336.tokenizer import Tokenizer, train_bpe, train_superbpe

BYTES = {i: bytes([i]) for i in range(256)}

TEXTS: dict[str, Callable[[int], str]] = {
    "letters": lambda n: "a" * n,
    "spaces and a letter": lambda n: " " * n + "x",
    "emoji": lambda n: "🙂" * n,
    "line feeds": lambda n: "\n" * n,
    "a word of two letters": lambda n: "ab" * (n // 2),
    "apostrophes": lambda n: "'" * n,
    "beginnings of a special": lambda n: "<|" * (n // 2),
}


def doubling(token: bytes, num_merges: int) -> list[tuple[bytes, bytes]]:
    return [(token * (1 << i), token * (1 << i)) for i in range(num_merges)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """With merges for the texts: tokens of 1, 2, 4, ... 64 characters."""
    smile = "🙂".encode()
    merges = [(smile[i : i + 1], smile[i + 1 : i + 2]) for i in (0, 2)] + [(smile[:2], smile[2:])]
    for token in (b"a", b" ", b"\n", b"'", smile):
        merges += doubling(token, 6)
    merges += [(b"a", b"b"), *doubling(b"ab", 5)]
    vocab = {**BYTES, **dict(enumerate(dict.fromkeys(left + right for left, right in merges), 256))}
    return Tokenizer(vocab, merges, ["<|endoftext|>"])


def best_time_s(work: Callable[[], object], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("name", TEXTS)
def test_encoding_a_million_alike_is_not_quadratic(tokenizer, name):
    short, long = TEXTS[name](250_000), TEXTS[name](1_000_000)
    assert tokenizer.decode(tokenizer.encode(long)) == long
    # Four times the text: 4 if linear, 16 if quadratic; 20 ms more for what does not depend on the text.
    assert (
        best_time_s(lambda: tokenizer.encode_array(long))
        < 8 * best_time_s(lambda: tokenizer.encode_array(short)) + 0.02
    )


@pytest.mark.parametrize("name", TEXTS)
def test_streaming_a_long_run_in_small_pieces_is_not_quadratic(tokenizer, name):
    def stream(text: str) -> list[int]:
        return list(tokenizer.encode_iterable(text[i : i + 16] for i in range(0, len(text), 16)))

    short, long = TEXTS[name](50_000), TEXTS[name](200_000)
    assert stream(long) == tokenizer.encode(long)
    assert best_time_s(lambda: stream(long)) < 8 * best_time_s(lambda: stream(short)) + 0.02


WORDS: dict[str, Callable[[int], str]] = {
    **TEXTS,
    # One word in which most of hundreds of merges apply somewhere: to scan it once for each would take minutes.
    "letters at random": lambda n: "".join(random.Random(7).choices("abcdefghijklmnopqrstuvwxyz", k=n)),
}


@pytest.mark.parametrize(
    "name", ["letters", "spaces and a letter", "emoji", "a word of two letters", "letters at random"]
)
def test_training_on_a_long_run_is_not_quadratic(name):
    def train(num_characters: int) -> object:
        text = WORDS[name](num_characters)
        return train_bpe(iter([text]), 1500, num_threads=1)

    short, long = best_time_s(lambda: train(250_000)), best_time_s(lambda: train(1_000_000))
    assert long < 8 * short + 0.05


def test_training_across_words_on_a_long_run_is_not_quadratic():
    def train(num_words: int) -> object:
        text = " ".join(random.Random(7).choices(["by", "the", "way", "of", "all"], k=num_words))
        return train_superbpe({text}, 1000, transition_size=270, num_threads=1)

    assert best_time_s(lambda: train(200_000)) < 8 * best_time_s(lambda: train(50_000)) + 0.05
