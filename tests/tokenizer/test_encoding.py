"""`Tokenizer.as_tiktoken()` beside a real `tiktoken.Encoding` of the same ranks: equal results, equal exceptions."""

import ast
import doctest
import inspect
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs336.tokenizer import Tokenizer, train_bpe

tiktoken = pytest.importorskip("tiktoken")
EOT = "<|endoftext|>"
SPECIALS = [EOT, "<|fim|>", "<é>"]
TEXT = "The <|endoftext|> of it, isn't it? naïve café 日本語 🙂\n\n  the end<|fim|>"


def real_encoding(tokenizer: Tokenizer):
    return tiktoken.Encoding(
        "cs336",
        pat_str=tokenizer.pattern_regex,
        mergeable_ranks=tokenizer.ranks(),
        special_tokens=tokenizer.special_tokens,
    )


@pytest.fixture(scope="session")
def tokenizer(corpus) -> Tokenizer:
    return Tokenizer(*train_bpe(iter([corpus]), 400, SPECIALS), SPECIALS)


@pytest.fixture(scope="session")
def ours(tokenizer):
    return tokenizer.as_tiktoken()


@pytest.fixture(scope="session")
def theirs(tokenizer):
    return real_encoding(tokenizer)


@pytest.fixture(scope="module", params=["gpt2", "cl100k", "o200k", r"\w+|\s+|[^\w\s]"])
def of_a_pattern(request):
    text = TEXT * 3 + "\n \n\t  \n"
    vocab, merges = train_bpe(iter([text]), 330, SPECIALS, pattern=request.param)
    tokenizer = Tokenizer(vocab, merges, SPECIALS, pattern=request.param)
    return tokenizer.as_tiktoken(), real_encoding(tokenizer)


def type_of_ours():
    return type(Tokenizer({i: bytes([i]) for i in range(256)}, []).as_tiktoken())


def outcome(call, *arguments, **options):
    """The result or the kind of exception. Of exceptions, the words are our own."""
    try:
        result = call(*arguments, **options)
    except Exception as error:
        return type(error)
    if isinstance(result, np.ndarray):
        return (result.dtype, result.tolist())
    return result


texts = st.lists(st.one_of(st.text(max_size=5), st.sampled_from([*SPECIALS, " ", "'s", "the ", "<|", "\ud83d", "\n"])))
some_specials = st.one_of(st.just("all"), st.sets(st.sampled_from([*SPECIALS, "<other>", "the"])))


class TestEncode:
    @settings(max_examples=400)
    @given(text=texts.map("".join), allowed=some_specials, disallowed=some_specials)
    def test_any_choice_of_special_tokens(self, ours, theirs, text, allowed, disallowed):
        options = {"allowed_special": allowed, "disallowed_special": disallowed}
        for name, argument in [("encode", text), ("encode_batch", [text, "x"])]:
            assert outcome(getattr(ours, name), argument, **options) == outcome(
                getattr(theirs, name), argument, **options
            )
        if "\ud83d" not in text:  # which their arrays refuse
            expected = outcome(theirs.encode_to_numpy, text, **options)
            assert outcome(ours.encode_to_numpy, text, **options) == expected

    @settings(max_examples=200)
    @given(text=texts.map("".join))
    def test_ordinary_text(self, ours, theirs, text):
        ids = theirs.encode_ordinary(text)
        assert ours.encode_ordinary(text) == ids
        assert ours.encode_ordinary_batch([text, ""], num_threads=2) == [ids, []]
        assert ours._tokenizer.encode_ordinary(text) == ids

    @pytest.mark.parametrize("name", ["encode_batch", "encode_ordinary_batch"])
    def test_a_batch_may_come_from_an_iterator(self, ours, theirs, name):
        texts = ["the end", "", "of it"]
        for encoding in (ours, theirs):
            assert getattr(encoding, name)(iter(texts)) == getattr(ours, name)(texts) != []

    def test_the_defaults_refuse_special_tokens(self, ours, theirs):
        for encoding in (ours, theirs):
            with pytest.raises(ValueError, match=r"<\|endoftext\|>"):
                encoding.encode(TEXT)
            with pytest.raises(ValueError, match=r"<\|endoftext\|>"):
                encoding.encode_to_numpy(TEXT)
            with pytest.raises(ValueError, match=r"<\|endoftext\|>"):
                encoding.encode_batch(["a", TEXT])

    def test_the_first_of_several_disallowed_ones_is_named(self, ours):
        with pytest.raises(ValueError, match=r"'<\|fim\|>'.*disallowed_special=\(\)"):
            ours.encode(f"<é <|fim|> {EOT}")

    def test_positions_and_collections_may_be_of_many_kinds(self, ours, theirs):
        for options in [
            {"allowed_special": {EOT}, "disallowed_special": ()},
            {"allowed_special": frozenset(SPECIALS)},
            {"allowed_special": set(), "disallowed_special": [EOT]},
            {"disallowed_special": {"<é>": 1}.keys()},
            {"disallowed_special": "café"},
            {"disallowed_special": ["no such text"]},
            {"disallowed_special": [""]},
            {"allowed_special": [EOT]},
        ]:
            assert outcome(ours.encode, TEXT, **options) == outcome(theirs.encode, TEXT, **options), options

    @pytest.mark.parametrize("text", [b"abc", 3, None, ["a"]])
    def test_only_str_is_text(self, ours, theirs, text):
        for name in ("encode", "encode_ordinary", "encode_to_numpy"):
            assert outcome(getattr(theirs, name), text) is TypeError
            assert outcome(getattr(ours, name), text) is TypeError
        assert outcome(ours.encode, text, disallowed_special=()) is TypeError
        assert outcome(ours.encode_batch, ["a", text]) is outcome(theirs.encode_batch, ["a", text]) is TypeError

    def test_threads_must_be_positive(self, ours, theirs):
        for encoding in (ours, theirs):
            assert outcome(encoding.encode_ordinary_batch, ["a"], num_threads=0) is ValueError


def unordered(outcome):
    """Theirs come in the order of a hash table."""
    if isinstance(outcome, tuple):
        stable, completions = outcome
        return stable, sorted(completions)
    return outcome


class TestEncodeWithUnstable:
    @settings(max_examples=400, deadline=None)
    @given(text=texts.map("".join), allowed=some_specials, disallowed=some_specials)
    def test_any_text_and_choice_of_special_tokens(self, ours, theirs, text, allowed, disallowed):
        text = text.replace("\ud83d", "x")  # which they refuse
        options = {"allowed_special": allowed, "disallowed_special": disallowed}
        expected = unordered(outcome(theirs.encode_with_unstable, text, **options))
        assert outcome(ours.encode_with_unstable, text, **options) == expected

    @settings(max_examples=100, deadline=None)
    @given(text=texts.map("".join))
    def test_any_pattern(self, of_a_pattern, text):
        ours, theirs = of_a_pattern
        text = text.replace("\ud83d", "\n")
        expected = unordered(theirs.encode_with_unstable(text, disallowed_special=()))
        assert ours.encode_with_unstable(text, disallowed_special=()) == expected

    def test_the_documented_promise(self, ours):
        for end in range(len(TEXT)):
            text = TEXT[:end]
            stable, completions = ours.encode_with_unstable(text, disallowed_special=())
            assert text.encode().startswith(ours.decode_bytes(stable))
            assert all(ours.decode_bytes(stable + ids).startswith(text.encode()) for ids in completions)

    def test_it_is_a_list_of_lists_in_order(self, ours):
        stable, completions = ours.encode_with_unstable("of th")
        assert stable == ours.encode("of")
        assert ours.encode(" the") in completions
        assert completions == sorted(completions)

    def test_nothing_is_open_after_a_special_token(self, ours, theirs):
        text = f"the {EOT}"
        for encoding in (ours, theirs):
            ids = encoding.encode(text, allowed_special="all")
            assert encoding.encode_with_unstable(text, allowed_special="all") == (ids, [])
            assert encoding.encode_with_unstable("") == ([], [])

    @pytest.mark.parametrize("text", [b"abc", 3, None])
    def test_only_str_is_text(self, ours, theirs, text):
        for encoding in (ours, theirs):
            assert outcome(encoding.encode_with_unstable, text, disallowed_special=()) is TypeError


class TestSingleTokens:
    @pytest.mark.parametrize(
        "token", ["the", b"the", EOT, EOT.encode(), "<é>", b"\xff", "🙂🙂🙂", "", b"", "\ud83d", 3]
    )
    def test_encoding(self, ours, theirs, token):
        assert outcome(ours.encode_single_token, token) == outcome(theirs.encode_single_token, token)

    @pytest.mark.parametrize("token", [0, 256, 399, 400, -1, 1 << 32, 1 << 70, "a", 1.5, None, np.int64(5), True])
    def test_decoding(self, ours, theirs, token):
        for name in ("decode_single_token_bytes",):
            assert outcome(getattr(ours, name), token) == outcome(getattr(theirs, name), token)
        for name in ("decode", "decode_bytes", "decode_tokens_bytes", "decode_with_offsets"):
            assert outcome(getattr(ours, name), [97, token]) == outcome(getattr(theirs, name), [97, token])


class TestDecode:
    @settings(max_examples=300)
    @given(ids=st.lists(st.integers(0, 402), max_size=12), errors=st.sampled_from(["replace", "strict", "ignore", "?"]))
    def test_any_ids(self, ours, theirs, ids, errors):
        for name in ("decode_bytes", "decode_tokens_bytes", "decode_with_offsets"):
            assert outcome(getattr(ours, name), ids) == outcome(getattr(theirs, name), ids)
        assert outcome(ours.decode, ids, errors) == outcome(theirs.decode, ids, errors)
        assert outcome(ours.decode, ids, errors=errors) == outcome(theirs.decode, ids, errors=errors)
        batch = [ids, ids[:3]]
        for name in ("decode_batch", "decode_bytes_batch"):
            expected = outcome(getattr(theirs, name), batch, num_threads=2)
            assert outcome(getattr(ours, name), batch, num_threads=2) == expected
        assert outcome(ours.decode_batch, batch, errors=errors) == outcome(theirs.decode_batch, batch, errors=errors)

    @given(text=st.text())
    def test_offsets_of_any_text(self, ours, theirs, text):
        ids = theirs.encode_ordinary(text)
        assert ours.decode_with_offsets(ids) == theirs.decode_with_offsets(ids)

    def test_arrays_decode(self, ours, theirs):
        ids = ours.encode_to_numpy("the café")
        assert ours.decode(ids) == theirs.decode(ids) == "the café"
        for bad, kind in [([999], KeyError), ([-1], OverflowError), ([999, -1], OverflowError)]:
            assert outcome(ours.decode, np.array(bad)) is outcome(theirs.decode, np.array(bad)) is kind

    @pytest.mark.parametrize(
        "ids", [3, None, ["a"], "abc", [None], [-1, "a"], ["a", -1], [1 << 40], (), b"ab", range(5)]
    )
    def test_odd_arguments(self, ours, theirs, ids):
        assert outcome(ours.decode, ids) == outcome(theirs.decode, ids)


class TestAttributes:
    def test_they_are_equal(self, ours, theirs):
        for name in ("name", "n_vocab", "max_token_value", "eot_token", "special_tokens_set"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert ours.token_byte_values() == theirs.token_byte_values()
        for token in (0, 256, *ours._special_tokens.values(), 400):
            assert ours.is_special_token(token) == theirs.is_special_token(token)
        assert repr(ours) == repr(theirs) == "<Encoding 'cs336'>"

    def test_without_an_end_of_text_there_is_no_id_of_it(self):
        bare = Tokenizer({i: bytes([i]) for i in range(256)}, [])
        assert (
            outcome(lambda: bare.as_tiktoken().eot_token) is outcome(lambda: real_encoding(bare).eot_token) is KeyError
        )
        assert bare.as_tiktoken("bare").name == "bare"
        assert bare.as_tiktoken().encode(TEXT) == list(TEXT.encode())

    def test_every_public_name_of_tiktoken_is_there(self, ours, theirs):
        assert {name for name in dir(theirs) if name[0] != "_"} <= set(dir(ours))

    @pytest.mark.parametrize("name", [name for name in dir(tiktoken.Encoding) if name[0] != "_"])
    def test_every_method_takes_what_that_of_tiktoken_takes(self, name):
        """The same names, kinds and defaults; but for an empty set, ours is frozen."""
        theirs, mine = getattr(tiktoken.Encoding, name), getattr(type_of_ours(), name)
        if not inspect.isfunction(theirs):
            assert not inspect.isfunction(mine)
            return
        parameters = [inspect.signature(method).parameters.values() for method in (theirs, mine)]
        expected, found = ([(one.name, one.kind, one.default) for one in some] for some in parameters)
        assert found == expected

    def test_it_is_pickled_with_its_tokenizer(self, ours):
        copy = pickle.loads(pickle.dumps(ours))
        assert copy.encode(TEXT, allowed_special="all") == ours.encode(TEXT, allowed_special="all")


METHODS = [
    *("encode", "encode_ordinary", "encode_batch", "encode_ordinary_batch", "encode_single_token"),
    *("decode", "decode_bytes", "decode_single_token_bytes", "decode_tokens_bytes", "decode_with_offsets"),
]


class TestDocumentedExamples:
    @pytest.mark.parametrize("method", METHODS)
    def test_those_of_the_methods(self, gpt2, method):
        documentation = getattr(tiktoken.Encoding, method).__doc__
        examples = doctest.DocTestParser().get_examples(documentation.replace("```", ""))
        assert examples
        enc = gpt2.as_tiktoken("gpt2")
        for example in examples:
            if "Raises" in example.want:
                assert outcome(eval, example.source, {"enc": enc}).__name__ in example.want
            else:
                assert eval(example.source, {"enc": enc}) == ast.literal_eval(example.want)

    def test_those_of_the_readme(self, tokenizer):
        enc = tokenizer.as_tiktoken()
        assert enc.decode(enc.encode("hello world")) == "hello world"

        cl100k_base = tokenizer.as_tiktoken("cl100k_base")
        enc = tiktoken.Encoding(
            name="cl100k_im",
            pat_str=cl100k_base._pat_str,
            mergeable_ranks=cl100k_base._mergeable_ranks,
            special_tokens={**cl100k_base._special_tokens, "<|im_start|>": 100264, "<|im_end|>": 100265},
        )
        ids = enc.encode("<|im_start|>the end", allowed_special="all")
        assert ids == [100264, *tokenizer.encode("the end")]
