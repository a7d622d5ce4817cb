"""GPT-2's vocabulary: the same ids as tiktoken."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EOT = "<|endoftext|>"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (f"{EOT}\n\n", [50256, 628]),
        (f"{EOT}\n\ntesting!", [50256, 198, 198, 33407, 0]),
        ("", []),
        ("s", [82]),
        ("🙃", [8582, 247, 225]),
        ("Hello, how are you?", [15496, 11, 703, 389, 345, 30]),
        (f"Hello, how {EOT}{EOT} are you?{EOT}", None),
        ("Héllò hôw are ü? 🙃", None),
        (f"one {EOT}  two\n {EOT}\n", None),
        ("it's they'll I'VE ''s", None),
    ],
)
def test_known_texts(gpt2, tiktoken_gpt2, text, ids):
    expected = tiktoken_gpt2.encode(text, allowed_special={EOT})
    assert ids is None or expected == ids
    assert gpt2.encode(text) == expected
    assert list(gpt2.encode_iterable(text)) == expected
    assert gpt2.decode(expected) == text


def test_streaming_holds_back_white_space_and_partial_specials(gpt2):
    assert list(gpt2.encode_iterable([EOT, "\n", "\n"])) == [50256, 628]
    assert list(gpt2.encode_iterable([EOT, "\n", "\n", "testing!"])) == [50256, 198, 198, 33407, 0]
    assert list(gpt2.encode_iterable(["<|end", "oftext|", ">\n", "\n"])) == [50256, 628]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.lists(st.one_of(st.text(max_size=8), st.sampled_from([" ", "\n", "'s", "the ", EOT, "\xa0"]))).map("".join)
)
def test_random_text(gpt2, tiktoken_gpt2, text):
    ids = tiktoken_gpt2.encode(text, allowed_special={EOT})
    assert gpt2.encode(text) == ids
    assert gpt2.decode(ids) == tiktoken_gpt2.decode(ids)


@settings(max_examples=200)
@given(ids=st.lists(st.integers(0, 50256), max_size=20))
def test_random_ids_decode_alike(gpt2, tiktoken_gpt2, ids):
    assert gpt2.decode_bytes(ids) == tiktoken_gpt2.decode_bytes(ids)
    assert gpt2.decode(ids) == tiktoken_gpt2.decode(ids)


def test_lone_surrogates_encode_alike(gpt2, tiktoken_gpt2):
    for text in ["\ud83d", "\ude42", "a\ud83d\ude42b", "\ude42\ud83d", "\ud83d x", "\ud83d\ud83d\ude42", "é\udcff"]:
        assert gpt2.encode(text) == tiktoken_gpt2.encode(text), ascii(text)


def test_undeclared_specials_are_ordinary_text_and_warned_of(gpt2_files, tiktoken_gpt2):
    from cs336.tokenizer import Tokenizer

    with pytest.warns(UserWarning, match=r"'<\|endoftext\|>'.*special_tokens="):
        plain = Tokenizer.from_files(*gpt2_files)
    assert plain.encode(EOT) == tiktoken_gpt2.encode(EOT, disallowed_special=())
