"""The fast tokenizer against the slow, obvious one, on text made to provoke every rule of the pattern."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cs336.tokenizer import Tokenizer, reference, train_bpe

LETTERS = [
    "a",
    "b",
    "aa",
    "abab",
    "s",
    "T",
    "the",
    "é",
    "e\u0301",
    "ß",
    "ǅ",
    "ʰ",
    "Ω",
    "ж",
    "日",
    "本",
    "한",
    "ا",
    "ก",
    "𝔸",
]
DIGITS = ["0", "12", "½", "²", "٣", "߁", "Ⅷ", "৭", "𝟘"]
SPACES = [
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "\x0b",
    "\x1c",
    "\x1f",
    "\x85",
    "\xa0",
    "\u1680",
    "\u2003",
    "\u2028",
    "\u202f",
    "\u3000",
]
OTHERS = [
    "'",
    "''",
    "'s",
    "'ll",
    "'t",
    "’s",
    ".",
    "!?",
    "-",
    "_",
    "=",
    "\x00",
    "\x7f",
    "\u200b",
    "\u200d",
    "\ufeff",
    "\u0301",
    "\u20dd",
]
EMOJI = ["🙂", "🙂🙂", "👩\u200d👩\u200d👧", "👍🏽", "🇨🇭", "❤\ufe0f"]
SPECIALS = ["<|endoftext|>", "<|endoftext|><|endoftext|>", "<|end", "ab", " s", "\n\n"]
PARTS = ["<", "<|", "|>", "<|endof"]

pieces = st.one_of(
    st.sampled_from(LETTERS + DIGITS + SPACES + OTHERS + EMOJI + PARTS + SPECIALS),
    st.text(st.characters(exclude_categories=("Cs", "Cn")), min_size=1, max_size=3),
)
texts = st.lists(pieces, max_size=40).map("".join)
special_sets = st.lists(st.sampled_from(SPECIALS), unique=True, max_size=4)
patterns = st.sampled_from(["gpt2", "gpt2", r"\w+|\s+", r"[a-z]+ ?", r"\p{N}{1,3}|.", r"(?s).+", r"x*"])
threads = st.integers(1, 3)
limits = st.sampled_from(
    [{}, {"min_frequency": 2}, {"max_token_length": 4}, {"min_frequency": 3, "max_token_length": 2}]
)


def regex_of(pattern: str) -> str:
    return reference.GPT2_PATTERN if pattern == "gpt2" else pattern


def chunked(text: str, cuts: list[float]) -> list[str]:
    places = sorted({0, len(text), *(round(cut * len(text)) for cut in cuts)})
    return [text[a:b] for a, b in pairwise(places)]


@settings(max_examples=150)
@given(st.lists(texts, max_size=4), st.integers(0, 40), special_sets, patterns, threads, limits)
def test_training_equals_the_reference(documents, num_merges, specials, pattern, num_threads, limits):
    vocab_size = 256 + len(specials) + num_merges
    expected = reference.train_bpe(documents, vocab_size, specials, pattern=regex_of(pattern), **limits)
    found = train_bpe(iter(documents), vocab_size, specials, pattern=pattern, num_threads=num_threads, **limits)
    assert found == expected


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(texts, st.sampled_from([1, 2, 3, 2**31, 2**32 + 1])), min_size=1, max_size=4), threads)
def test_training_with_weights_equals_the_reference(tmp_path, weighted, num_threads):
    paths = [tmp_path / f"{index}.txt" for index in range(len(weighted))]
    for path, (text, _) in zip(paths, weighted, strict=True):
        path.write_bytes(text.encode())
    documents, weights = zip(*weighted, strict=True)
    expected = reference.train_bpe(documents, 290, weights=weights)
    assert train_bpe(paths, 290, weights=weights, num_threads=num_threads) == expected


@settings(max_examples=150)
@given(st.lists(texts, min_size=1, max_size=3), texts, special_sets, patterns, st.lists(st.floats(0, 1), max_size=6))
def test_encoding_equals_the_reference_in_every_form(documents, text, specials, pattern, cuts):
    vocab, merges = reference.train_bpe(documents, 320, specials, pattern=regex_of(pattern))
    expected = reference.encode(text, vocab, merges, specials, pattern=regex_of(pattern))
    tokenizer = Tokenizer(vocab, merges, specials, pattern=pattern)
    assert tokenizer.encode(text) == expected
    assert tokenizer.encode_array(text).tolist() == expected
    assert tokenizer.encode_batch([text, "", text], num_threads=2) == [expected, [], expected]
    assert list(tokenizer.encode_iterable(chunked(text, cuts))) == expected
    assert list(tokenizer.encode_iterable(iter(text))) == expected
    assert tokenizer.decode(expected) == text
    assert tokenizer.decode_bytes(expected) == text.encode()
    stream = tokenizer.decode_stream()
    assert "".join([*map(stream.push, expected), stream.finish()]) == text


@settings(max_examples=200)
@given(st.data())
def test_any_merges_encode_as_the_reference(data):
    """Merges that no corpus would give: in any order, competing for the same letters."""
    vocab = {i: bytes([i]) for i in range(256)}
    merges = []
    for _ in range(data.draw(st.integers(0, 12))):
        parts = st.sampled_from([b"a", b"b", b"c", *(t for i, t in vocab.items() if i > 255)])
        pair = data.draw(parts), data.draw(parts)
        if pair[0] + pair[1] not in vocab.values():
            vocab[len(vocab)] = pair[0] + pair[1]
            merges.append(pair)
    merges = data.draw(st.permutations(merges))
    text = data.draw(st.text("abc", max_size=60))
    assert Tokenizer(vocab, merges).encode(text) == reference.encode(text, vocab, merges)


@settings(max_examples=100)
@given(st.lists(st.integers(0, 379), max_size=30))
def test_decoding_replaces_what_is_not_utf8(small, ids):
    vocab = small.vocab
    expected = b"".join(vocab[id_] for id_ in ids).decode(errors="replace")
    assert small.decode(ids) == expected
    stream = small.decode_stream()
    assert "".join([*map(stream.push, ids), stream.finish()]) == expected


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_large_texts_give_the_same_ids_on_any_number_of_threads(small, corpus, num_threads):
    text = corpus * 6_000  # more than the megabyte from which a text is divided
    one = small.encode_array(corpus)
    ids = small.encode_array(text, num_threads=num_threads)
    # The corpus ends in a line feed and starts with a letter: the copies do not touch.
    assert ids.reshape(6_000, -1).tolist()[0] == one.tolist()
    assert (ids.reshape(6_000, -1) == one).all()
    assert small.encode(text, num_threads=num_threads) == ids.tolist()
