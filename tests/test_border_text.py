"""How a Python `str`, which may hold lone surrogates, reaches the tokenizer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs336.tokenizer import Tokenizer, train_bpe

TOKENIZER = Tokenizer({i: bytes([i]) for i in range(256)}, [], ["<s>"])

with_surrogates = st.lists(
    st.one_of(
        st.sampled_from(["\ud83d", "\ude42", "\ud800", "\udfff", "a", "é", "日", "🙂", " ", "<s>"]), st.text(max_size=3)
    )
).map("".join)


def repaired(text: str) -> str:
    """As tiktoken does it: through UTF-16, where a pair is a character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@given(with_surrogates)
def test_surrogates_are_repaired_alike_in_every_method(text):
    expected = TOKENIZER.encode(repaired(text))
    assert TOKENIZER.decode(expected) == repaired(text)
    assert TOKENIZER.encode(text) == expected
    assert TOKENIZER.encode_array(text).tolist() == expected
    assert TOKENIZER.encode_batch([text, "a"]) == [expected, [97]]
    assert list(TOKENIZER.encode_iterable([text])) == expected
    assert list(TOKENIZER.encode_iterable(iter(text))) == expected


@given(st.lists(with_surrogates, max_size=4))
def test_chunks_may_end_within_a_pair(chunks):
    assert list(TOKENIZER.encode_iterable(chunks)) == TOKENIZER.encode("".join(chunks))


def test_texts_to_train_on_are_repaired_too():
    texts = ["\ud83d\ude42 \ud83d x"] * 3
    assert train_bpe(iter(texts), 270) == train_bpe(map(repaired, texts), 270)


def test_a_subclass_of_str_is_read_as_it_is():
    class Shouting(str):
        __slots__ = ()

        def encode(self, *_):
            return b"HELLO"

        def __iter__(self):
            return iter("HELLO")

        def __len__(self):
            return 0

    for text in ("hello", "h\udc00"):
        assert TOKENIZER.encode(Shouting(text)) == TOKENIZER.encode(text)
        assert list(TOKENIZER.encode_iterable(Shouting(text))) == TOKENIZER.encode(text)


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ufeffa", "\uffff", "\U0010ffff", "\x7f\x80"])
def test_odd_characters_round_trip(text):
    assert TOKENIZER.decode_bytes(TOKENIZER.encode(text)) == text.encode()
