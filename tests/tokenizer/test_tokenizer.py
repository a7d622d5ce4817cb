import copy
import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cs336.tokenizer import Tokenizer, train_bpe

EOT = "<|endoftext|>"
BYTES = {i: bytes([i]) for i in range(256)}


class TestConstruction:
    def test_specials_missing_from_the_vocabulary_are_appended(self):
        tokenizer = Tokenizer(BYTES, [], ["<a>", EOT])
        assert tokenizer.special_tokens == {"<a>": 256, EOT: 257}
        assert tokenizer.vocab == {**BYTES, 256: b"<a>", 257: EOT.encode()}
        assert tokenizer.vocab_size == 258
        assert tokenizer.eos_id == 257
        assert Tokenizer(BYTES, []).eos_id is None

    def test_specials_in_the_vocabulary_keep_their_id(self):
        tokenizer = Tokenizer({**BYTES, 300: b"<a>"}, [], ["b", "<a>"])
        assert tokenizer.special_tokens == {"b": 98, "<a>": 300}
        assert tokenizer.vocab_size == 301
        assert tokenizer.encode("b<a>b") == [98, 300, 98]

    def test_of_overlapping_specials_the_longest_matches(self):
        tokenizer = Tokenizer(BYTES, [], ["<a>", "<a><a>", "><"])
        assert tokenizer.encode("<a><a><a>") == [257, 256]
        assert [tokenizer.decode([id_]) for id_ in tokenizer.encode("x<a><b>")] == ["x", "<a>", "<", "b", ">"]

    def test_a_mapping_of_specials_says_their_ids(self):
        tokenizer = Tokenizer({**BYTES, 256: b"<a>"}, [], {"<b>": 300, "<a>": 256})
        assert tokenizer.special_tokens == {"<b>": 300, "<a>": 256}
        assert tokenizer.encode("<a><b>") == [256, 300]
        with pytest.raises(ValueError, match="ids 256 and 257 are both the token"):
            Tokenizer({**BYTES, 256: b"<a>"}, [], {"<a>": 257})
        with pytest.raises(ValueError, match="id 97 is given twice"):
            Tokenizer(BYTES, [], {"<a>": 97})

    def test_an_undeclared_special_is_warned_of(self):
        vocab = {**BYTES, 256: EOT.encode(), 257: b"<|pad|>", 258: b"<||>", 259: b"<|"}
        with pytest.warns(UserWarning, match=r"'<\|pad\|>', not declared special: .*special_tokens=") as caught:
            Tokenizer(vocab, [], [EOT])
        assert EOT not in str(caught[0].message)
        assert caught[0].filename == __file__

    @pytest.mark.usefixtures("no_warnings")
    def test_declared_specials_are_not_warned_of(self):
        Tokenizer({**BYTES, 256: EOT.encode()}, [], [EOT])

    @pytest.mark.parametrize(
        ("vocab", "merges", "specials", "pattern", "message"),
        [
            ({k: v for k, v in BYTES.items() if k != 7}, [], [], "gpt2", "lacks the byte 0x07"),
            ({**BYTES, 256: b""}, [], [], "gpt2", "id 256 is empty"),
            ({**BYTES, 256: b"a"}, [], [], "gpt2", "ids 97 and 256 are both"),
            ({**BYTES, -1: b"ab"}, [], [], "gpt2", "id -1"),
            ({**BYTES, 1 << 40: b"ab"}, [], [], "gpt2", "id 1099511627776"),
            ({**BYTES, (1 << 32) - 1: b"ab"}, [], [], "gpt2", "4294967295 is out of range"),
            (BYTES, [(b"a", b"b")], [], "gpt2", "ab"),
            ({**BYTES, 256: b"ab"}, [(b"a", b"b")] * 2, [], "gpt2", "merges 0 and 1 are both"),
            (BYTES, [], ["<a>", "<a>"], "gpt2", "twice"),
            (BYTES, [], [""], "gpt2", "empty"),
            (BYTES, [], [], "(", "valid regular expression"),
            (BYTES, [], [], "", "pattern is empty"),
        ],
    )
    def test_parts_that_do_not_fit_are_value_errors(self, vocab, merges, specials, pattern, message):
        with pytest.raises(ValueError, match=message):
            Tokenizer(vocab, merges, specials, pattern=pattern)

    @pytest.mark.parametrize(
        ("vocab", "merges", "specials", "message"),
        [
            ({**BYTES, 256: "ab"}, [], [], "vocab must map int to bytes, got str for id 256"),
            ({**BYTES, "256": b"ab"}, [], [], "got str"),
            ([b"a"], [], [], "dict"),
            (BYTES, ["ab"], [], r"merges must hold pairs \(bytes, bytes\), got ab at index 0"),
            (BYTES, [(b"a", b"b", b"c")], [], "at index 0"),
            (BYTES, None, [], "not iterable"),
            (BYTES, [], EOT, "got a single str"),
            (BYTES, [], [1], "special_tokens must hold str, got int at index 0"),
        ],
    )
    def test_parts_of_a_wrong_type_are_type_errors(self, vocab, merges, specials, message):
        with pytest.raises(TypeError, match=message):
            Tokenizer(vocab, merges, specials)


class TestEncoding:
    def test_the_empty_text_has_no_ids(self, small):
        assert small.encode("") == []
        assert small.decode([]) == ""
        assert small.decode_bytes([]) == b""
        assert small.encode_batch([]) == []
        assert list(small.encode_iterable([])) == []
        array = small.encode_array("")
        assert (array.dtype, array.shape) == (np.uint32, (0,))

    def test_every_form_gives_the_same_types_and_ids(self, small, corpus):
        ids = small.encode(corpus)
        assert type(ids) is list
        assert set(map(type, ids)) == {int}
        assert small.decode(ids) == corpus
        assert small.encode_array(corpus).tolist() == ids
        assert list(small.encode_iterable(corpus.splitlines(keepends=True))) == ids
        assert small.encode_batch((corpus, "x")) == [ids, small.encode("x")]
        assert small.encode_batch(iter([corpus]), 2) == [ids]

    @pytest.mark.parametrize("pattern", ["gpt2", r"[\s\S]+"])
    @pytest.mark.parametrize("length", [1, 200_000])
    def test_some_special_tokens_or_none_can_be_recognised(self, pattern, length):
        tokenizer = Tokenizer(BYTES, [], ["<a>", "<b>", "<a><b>"], pattern=pattern)
        text = "x<a><b>" * length
        for specials, ids in [
            (None, [120, 258]),
            (["<b>", "<a>"], [120, 256, 257]),
            ({"<a>"}, [120, 256, *b"<b>"]),
            (["<b>"], [120, *b"<a>", 257]),
            ((), list(b"x<a><b>")),
        ]:
            assert tokenizer.encode(text, special_tokens=specials) == ids * length
            assert tokenizer.encode_array(text, special_tokens=specials).tolist() == ids * length
            assert tokenizer.encode_batch([text, ""], special_tokens=specials) == [ids * length, []]
        assert tokenizer.encode_ordinary(text) == list(text.encode())
        assert tokenizer.encode_ordinary(text, num_threads=3) == list(text.encode())

    def test_only_special_tokens_can_be_recognised(self, small):
        with pytest.raises(ValueError, match=r'"<x>" is not a special token of this tokenizer, which has \["<\|endo'):
            small.encode("abc", special_tokens=["<x>"])
        with pytest.raises(TypeError, match="special_tokens must be a list of str, got a single str"):
            small.encode("abc", special_tokens=EOT)

    @pytest.mark.parametrize("num_threads", [None, 1, 2])
    def test_a_batch_in_one_array_is_the_lists_one_after_the_other(self, small, num_threads):
        texts = ["low lower", "", "the newest<|endoftext|>", "", "lowest " * 40_000, "est"]
        for specials in (None, ()):
            ids, starts = small.encode_batch_to_array(texts, num_threads, special_tokens=specials)
            assert (ids.dtype, starts.dtype, len(starts)) == (np.uint32, np.int64, len(texts) + 1)
            parts = [ids[start:end].tolist() for start, end in itertools.pairwise(starts)]
            assert parts == small.encode_batch(texts, special_tokens=specials)
        ids, starts = small.encode_batch_to_array(iter(()))
        assert ids.size == 0
        assert starts.tolist() == [0]

    def test_a_single_text_is_no_batch(self, small):
        with pytest.raises(TypeError, match="texts must be a list of str, got a single str"):
            small.encode_batch("abc")

    @pytest.mark.parametrize("method", ["encode", "encode_array"])
    def test_only_str_is_encoded(self, small, method):
        for text in (b"abc", 3, None, ["a"]):
            with pytest.raises(TypeError, match="str"):
                getattr(small, method)(text)

    def test_an_item_of_a_batch_that_is_no_str_is_named(self, small):
        with pytest.raises(TypeError, match="texts must hold str, got bytes at index 1"):
            small.encode_batch(["a", b"b"])

    def test_num_threads_must_be_positive(self, small):
        for encode in (small.encode, small.encode_array):
            with pytest.raises(ValueError, match="num_threads must be at least 1"):
                encode("a", num_threads=0)
        with pytest.raises(ValueError, match="num_threads must be at least 1"):
            small.encode_batch(["a"], num_threads=-1)

    def test_a_hostile_pattern_is_a_value_error(self):
        tokenizer = Tokenizer(BYTES, [], pattern=r"(?:(?=a)a+)+b")
        with pytest.raises(ValueError, match="less backtracking"):
            tokenizer.encode("a" * 5_000)

    def test_threads_may_share_a_tokenizer(self, small, corpus):
        texts = [corpus[i:] * (1 + i % 5) for i in range(100)]
        expected = [small.encode(text) for text in texts]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(small.encode, texts)) == expected
            assert list(pool.map(lambda text: list(small.encode_iterable(text)), texts)) == expected


class TestContent:
    def test_equal_content_is_equal_and_hashes_alike(self, small):
        vocab, merges, specials = small.vocab, small.merges, list(small.special_tokens)
        turned = Tokenizer(dict(reversed(vocab.items())), merges, specials)
        assert turned == small
        assert hash(turned) == hash(small)
        assert turned.sha256 == small.sha256
        assert len({turned, small}) == 1
        assert (small == 3) is False

    def test_any_difference_shows_in_the_hash(self, small):
        vocab, merges = small.vocab, small.merges
        swapped = [merges[1], merges[0], *merges[2:]]
        others = [
            Tokenizer(vocab, merges, [EOT, "<pad>"]),
            Tokenizer(vocab, swapped, [EOT]),
            Tokenizer(vocab, merges[:-1], [EOT]),
            Tokenizer(vocab, merges, [EOT], pattern=r"\s+|\S+"),
            Tokenizer({**vocab, 1000: b"one more"}, merges, [EOT]),
            Tokenizer(vocab, merges, [EOT], ignore_merges=True),
        ]
        assert len({tokenizer.sha256 for tokenizer in (small, *others)}) == 7
        assert all(tokenizer != small for tokenizer in others)

    def test_the_hash_is_stable(self):
        """Checkpoints and shards name it: it must never change for the same content."""
        assert Tokenizer(BYTES, []).sha256 == "6196a77b97c8d0fd3ec511dafaf329976b164cb066ac31201b9c92bea906c888"

    def test_a_pattern_by_name_is_the_same_as_by_its_expression(self, small):
        assert small.pattern == "gpt2"
        by_regex = Tokenizer(small.vocab, small.merges, [EOT], pattern=small.pattern_regex)
        assert by_regex == small
        assert by_regex.pattern == "gpt2"

    @pytest.mark.usefixtures("no_warnings")
    def test_pickling_keeps_the_content_and_is_compact(self, small, corpus):
        odd = Tokenizer(
            {**BYTES, 999: b"\xff\xfe", 300: b"x y"}, [], ["é<", "b"], pattern=r"\s|\S+", ignore_merges=True
        )
        for tokenizer in (small, odd):
            data = pickle.dumps(tokenizer)
            loaded = pickle.loads(data)
            assert loaded == tokenizer
            assert loaded.encode(corpus) == tokenizer.encode(corpus)
            assert (loaded.vocab, loaded.merges) == (tokenizer.vocab, tokenizer.merges)
            assert (loaded.special_tokens, loaded.pattern) == (tokenizer.special_tokens, tokenizer.pattern)
            assert loaded.ignore_merges == tokenizer.ignore_merges
            assert len(data) < 20 * tokenizer.vocab_size + 500

    def test_a_subclass_is_pickled_as_itself(self, small):
        assert type(pickle.loads(pickle.dumps(small))) is Tokenizer
        assert copy.copy(small) is small
        assert copy.deepcopy([small])[0] is small

    def test_attributes_are_copies_and_cannot_be_set(self, small):
        small.vocab.clear()
        small.merges.clear()
        small.special_tokens.clear()
        assert (len(small.vocab), len(small.merges), len(small.special_tokens)) == (380, 123, 1)
        for name in ("vocab", "merges", "pattern", "vocab_size", "anything"):
            with pytest.raises(AttributeError):
                setattr(small, name, None)

    def test_repr_is_short(self, small):
        assert repr(small) == "Tokenizer(vocab_size=380, special_tokens=['<|endoftext|>'], pattern='gpt2')"


def test_training_output_makes_a_tokenizer_that_round_trips(corpus):
    vocab, merges = train_bpe(iter([corpus]), 500, [EOT])
    tokenizer = Tokenizer(vocab, merges, [EOT])
    assert tokenizer.vocab == vocab
    assert tokenizer.merges == merges
    ids = tokenizer.encode(corpus)
    assert tokenizer.decode(ids) == corpus
    assert len(ids) < len(corpus.encode()) / 2
