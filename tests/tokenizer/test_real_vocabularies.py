"""The published vocabularies on random text: the ids of tiktoken and of Hugging Face's tokenizers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs336.tokenizer import Tokenizer

EOT = "<|endoftext|>"
PIECES = [
    *(
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "\xa0",
        "\u3000",
        "\x85",
        "'s",
        "'LL",
        "'ſ",
        "'",
        "the ",
        " of",
        "École",
        "ǅ",
        "ß",
    ),
    *(
        "12",
        "1234567",
        "٣٤",
        "Ⅷ",
        "½",
        "e\u0301",
        "日本語",
        "ประเทศไทย",
        "한국어",
        "🙂",
        "👩\u200d👩\u200d👧",
        "\ud7ff",
        "\ue000",
    ),
    *("\U0010ffff", "\0", "...", "//", "--------", "def f(x):\n        return", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
]
texts = st.lists(st.one_of(st.text(max_size=6), st.sampled_from(PIECES)), max_size=12).map("".join)


@pytest.fixture(scope="module", params=["gpt2", "cl100k_base", "o200k_base"])
def ours(request, data_directory) -> Tokenizer:
    if request.param == "gpt2":
        return Tokenizer.from_files(data_directory / "gpt2_vocab.json", data_directory / "gpt2_merges.txt", [EOT])
    return Tokenizer.load(data_directory / f"{request.param}.tiktoken")


@pytest.fixture(scope="module")
def of_tiktoken(ours):
    tiktoken = pytest.importorskip("tiktoken")
    return tiktoken.Encoding(
        "same", pat_str=ours.pattern_regex, mergeable_ranks=ours.ranks(), special_tokens=ours.special_tokens
    )


@pytest.fixture(scope="module")
def of_hugging_face(ours, tmp_path_factory):
    path = tmp_path_factory.mktemp("real") / "tokenizer.json"
    ours.save(path)
    return pytest.importorskip("tokenizers").Tokenizer.from_file(str(path))


@settings(max_examples=200)
@given(text=texts)
def test_tiktoken_gives_the_same_ids(ours, of_tiktoken, text):
    ids = ours.encode(text)
    assert ids == of_tiktoken.encode(text, allowed_special="all")
    assert ours.as_tiktoken().encode_ordinary(text) == of_tiktoken.encode_ordinary(text)
    assert ours.decode(ids) == text


@settings(max_examples=100, deadline=None)
@given(text=texts)
def test_tiktoken_gives_the_same_unstable_ids(ours, of_tiktoken, text):
    # It goes through all tokens with each ending of the last pretoken: of an `aaaa` there are many.
    text = text[-40:]
    stable, completions = of_tiktoken.encode_with_unstable(text, allowed_special="all")
    assert ours.as_tiktoken().encode_with_unstable(text, allowed_special="all") == (stable, sorted(completions))


@settings(max_examples=200)
@given(text=texts)
def test_tokenizers_gives_the_same_ids(ours, of_hugging_face, text):
    assert ours.encode(text) == of_hugging_face.encode(text, add_special_tokens=False).ids


@settings(max_examples=100)
@given(text=texts, size=st.integers(1, 7))
def test_a_stream_gives_the_same_ids(ours, text, size):
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(ours.encode_iterable(pieces)) == ours.encode(text)
