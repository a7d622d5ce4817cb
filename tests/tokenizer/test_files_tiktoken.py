"""Rank files: the merges that are recovered are tiktoken's, and what cannot be ranks is refused."""

from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs336.tokenizer import Tokenizer

tiktoken = pytest.importorskip("tiktoken")
load_tiktoken_bpe = pytest.importorskip("tiktoken.load").load_tiktoken_bpe
EOT = "<|endoftext|>"
BYTES = {i: bytes([i]) for i in range(256)}
RANKS = {token: id_ for id_, token in BYTES.items()}
ALL = r"[\s\S]+"


def write_ranks(path, ranks):
    path.write_bytes(b"".join(b64encode(token) + b" %d\n" % rank for token, rank in ranks.items()))
    return path


@st.composite
def rank_tables(draw):
    """Any tokens in any order, not only what training would come to, and sometimes with bytes among the others."""
    tokens = draw(st.lists(st.text("abc", min_size=2, max_size=7).map(str.encode), max_size=20, unique=True))
    ranks = draw(st.permutations(range(256, 256 + len(tokens) + 5)))
    table = {**RANKS, **dict(zip(tokens, ranks, strict=False))}
    if draw(st.booleans()):
        seed = draw(st.randoms(use_true_random=False))
        values = list(table.values())
        seed.shuffle(values)
        table = dict(zip(table, values, strict=True))
    return table


@settings(max_examples=300)
@given(
    ranks=rank_tables(), texts=st.lists(st.text("abc ", max_size=100), min_size=5, max_size=5), is_split=st.booleans()
)
def test_any_ranks_give_the_ids_of_tiktoken(tmp_path_factory, ranks, texts, is_split):
    path = write_ranks(tmp_path_factory.mktemp("ranks") / "t.tiktoken", ranks)
    ours = Tokenizer.load(path, pattern="gpt2" if is_split else ALL)
    theirs = tiktoken.Encoding("t", pat_str=ours.pattern_regex, mergeable_ranks=ranks, special_tokens={})
    for text in texts:
        assert ours.encode(text) == theirs.encode_ordinary(text)
    assert ours.ranks() == ranks


def test_what_was_trained_loads_in_tiktoken(small, corpus, tmp_path):
    small.save(tmp_path / "small.tiktoken")
    ranks = load_tiktoken_bpe(str(tmp_path / "small.tiktoken"))
    theirs = tiktoken.Encoding(
        "small", pat_str=small.pattern_regex, mergeable_ranks=ranks, special_tokens=small.special_tokens
    )
    assert theirs.encode(corpus, allowed_special="all") == small.encode(corpus)
    assert Tokenizer.load(tmp_path / "small.tiktoken", pattern="gpt2", special_tokens=[EOT]) == small
    assert [path.name for path in tmp_path.iterdir()] == ["small.tiktoken"]


@pytest.mark.parametrize("name", ["cl100k_base", "o200k_base"])
def test_published_encodings_are_known_by_name(data_directory, name, real_text):
    path = data_directory / f"{name}.tiktoken"
    ours = Tokenizer.load(path)
    published = getattr(pytest.importorskip("tiktoken_ext.openai_public"), name)
    with pytest.MonkeyPatch.context() as patch:
        ranks = load_tiktoken_bpe(str(path))
        patch.setitem(published.__globals__, "load_tiktoken_bpe", lambda *_, **__: ranks)
        theirs = tiktoken.Encoding(**published())
    assert (ours.special_tokens, ours.vocab_size) == (theirs._special_tokens, theirs.n_vocab)
    assert ours.encode(real_text) == theirs.encode(real_text, allowed_special="all")
    assert ours.encode_ordinary(real_text) == theirs.encode_ordinary(real_text)
    assert ours.as_tiktoken().token_byte_values() == theirs.token_byte_values()


@pytest.mark.parametrize("name", ["cl100k_base", "o200k_base"])
def test_published_files_are_written_byte_by_byte(data_directory, name, tmp_path):
    Tokenizer.load(data_directory / f"{name}.tiktoken").save(tmp_path / "t.tiktoken")
    assert (tmp_path / "t.tiktoken").read_bytes() == (data_directory / f"{name}.tiktoken").read_bytes()


def test_gpt2_is_the_same_from_ranks_as_from_merges(gpt2, tmp_path):
    gpt2.save(tmp_path / "r50k_base.tiktoken")
    assert Tokenizer.load(tmp_path / "r50k_base.tiktoken") == gpt2


class TestSpecialTokens:
    @pytest.fixture
    def path(self, tmp_path):
        return write_ranks(tmp_path / "p50k_base.tiktoken", {**RANKS, b"ab": 256})

    def test_those_of_a_known_name_come_first(self, path):
        tokenizer = Tokenizer.load(path, special_tokens=["<pad>", EOT])
        assert tokenizer.special_tokens == {EOT: 50256, "<pad>": 50257}

    def test_a_mapping_says_the_ids(self, path, tmp_path):
        tokenizer = Tokenizer.load(path, special_tokens={"<a>": 300, EOT: 50256})
        assert tokenizer.special_tokens == {EOT: 50256, "<a>": 300}
        assert tokenizer.encode("ab<a>") == [256, 300]
        other = Tokenizer.load(path.rename(tmp_path / "t.tiktoken"), pattern=ALL, special_tokens={"<a>": 300})
        assert (other.special_tokens, other.vocab_size) == ({"<a>": 300}, 301)

    @pytest.mark.parametrize("ids", [{EOT: 7}, {"<a>": 256}, {"b": 300}])
    def test_a_contradiction_is_refused(self, path, ids):
        with pytest.raises(ValueError, match="id"):
            Tokenizer.load(path, special_tokens=ids)

    def test_an_id_must_be_one(self, path):
        with pytest.raises(ValueError, match="out of range"):
            Tokenizer.load(path, special_tokens={"<a>": -1})
        with pytest.raises(TypeError, match="integers"):
            Tokenizer.load(path, special_tokens={"<a>": "b"})


class TestReading:
    def test_an_unknown_name_needs_a_pattern(self, tmp_path):
        path = write_ranks(tmp_path / "mine.tiktoken", RANKS)
        with pytest.raises(ValueError, match=r"mine\.tiktoken: .*pass pattern="):
            Tokenizer.load(path)
        assert Tokenizer.load(path, pattern="gpt2").vocab == BYTES

    def test_the_pattern_of_a_known_name_can_be_replaced(self, tmp_path):
        path = write_ranks(tmp_path / "cl100k_base.tiktoken", RANKS)
        assert Tokenizer.load(path, pattern=ALL).pattern == ALL

    def test_blank_lines_and_carriage_returns_do_not_matter(self, tmp_path):
        path = write_ranks(tmp_path / "t.tiktoken", RANKS)
        path.write_bytes(b"\n" + path.read_bytes().replace(b"\n", b"\r\n") + b"YWI= 256")
        assert Tokenizer.load(path, pattern="gpt2").merges == [(b"a", b"b")]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (b"YWI=", 'line 257 is "YWI=", expected a token in base64'),
            (b"YWI= x", "line 257"),
            (b"YWI= -1", "line 257"),
            (b"YW!= 256", "line 257"),
            (b"YWI= 256 3", "line 257"),
            (b"\xff 256", "invalid UTF-8 at byte"),
            (b"YQ== 256", "ids 97 and 256 are both"),
            (b"YWI= 7", "id 7 is given twice"),
            (b" 256", "id 256 is empty"),
            (b"YWI= 4294967295", "out of range"),
            (b64encode(b"a" * 5000) + b" 256", "the token in line 257 has 5000 bytes, expected at most 4096"),
        ],
    )
    def test_a_malformed_file_is_a_value_error_that_names_the_place(self, tmp_path, line, message):
        path = write_ranks(tmp_path / "t.tiktoken", RANKS)
        path.write_bytes(path.read_bytes() + line + b"\n")
        with pytest.raises(ValueError, match=message):
            Tokenizer.load(path, pattern="gpt2")

    def test_a_missing_byte_is_named(self, tmp_path):
        path = write_ranks(tmp_path / "t.tiktoken", {b"a": 0, b"b": 1})
        with pytest.raises(ValueError, match="lacks the byte 0x00"):
            Tokenizer.load(path, pattern="gpt2")

    def test_a_missing_file_is_an_os_error(self, tmp_path):
        with pytest.raises(FileNotFoundError) as caught:
            Tokenizer.load(tmp_path / "t.tiktoken", pattern="gpt2")
        assert caught.value.filename == str(tmp_path / "t.tiktoken")


class TestWriting:
    def test_special_tokens_stay_out_but_bytes_and_parts_of_merges_stay_in(self, tmp_path):
        vocab = {**BYTES, 256: b"<e>", 257: b"ab", 258: b"abc"}
        tokenizer = Tokenizer(vocab, [(b"a", b"b"), (b"ab", b"c")], ["<e>", "b", "ab"])
        assert tokenizer.ranks() == {**RANKS, b"ab": 257, b"abc": 258}

    @pytest.mark.parametrize(
        ("tokens", "merges", "message"),
        [
            # The order of the ids is not that of the merges.
            (
                [b"bc", b"ab"],
                [(b"a", b"b"), (b"b", b"c")],
                r'0 the merge \(b"b", b"c"\) instead of .*b"a", b"b"',
            ),
            # A token that is only a token: tiktoken would merge it.
            ([b"ab"], [], r'position 0 the merge \(b"a", b"b"\) instead of no more merge'),
            # A merge that never applies.
            ([b"ab", b"bc", b"abc"], [(b"a", b"b"), (b"b", b"c"), (b"a", b"bc")], "position 2"),
            # No merge makes it, but tiktoken would find it as a whole.
            ([b"abc"], [], r'tiktoken would give id 256 to the pretoken b"abc"'),
            ([b"a" * 5000], [], "id 256 has 5000 bytes"),
        ],
    )
    def test_what_ranks_cannot_say_is_refused(self, tmp_path, tokens, merges, message):
        tokenizer = Tokenizer({**BYTES, **dict(enumerate(tokens, 256))}, merges)
        with pytest.raises(ValueError, match=message):
            tokenizer.save(tmp_path / "t.tiktoken")
        assert list(tmp_path.iterdir()) == []

    def test_whole_pretokens_are_what_tiktoken_does(self, tmp_path):
        tokenizer = Tokenizer({**BYTES, 256: b"abc"}, [], ignore_merges=True)
        tokenizer.save(tmp_path / "t.tiktoken")
        loaded = Tokenizer.load(tmp_path / "t.tiktoken", pattern="gpt2")
        assert loaded == tokenizer
        assert loaded.encode("abc abc") == [256, 32, 97, 98, 99]

    def test_the_format_follows_the_name_unless_it_is_given(self, small, tmp_path):
        small.save(tmp_path / "t.json", format="tiktoken")
        assert (tmp_path / "t.json").read_bytes().startswith(b"AA== 0\n")


@pytest.mark.usefixtures("no_warnings")
def test_the_order_of_lines_does_not_matter(small, tmp_path):
    ranks = small.ranks()
    turned = write_ranks(tmp_path / "t.tiktoken", dict(reversed(ranks.items())))
    assert Tokenizer.load(turned, pattern="gpt2", special_tokens=[EOT]) == small
