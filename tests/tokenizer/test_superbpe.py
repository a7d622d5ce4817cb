"""SuperBPE: training in two stages, and encoding with merges across words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs336.tokenizer import Tokenizer, reference, train_bpe, train_superbpe

EOT = "<|endoftext|>"
PHRASES = [
    "by the way",
    " of the",
    " in 2024",
    ": ",
    ". ",
    ".\n\n",
    '."\n',
    " — ",
    "naïve ",
    "日本語 ",
    "...",
    "  ",
    "\t",
    EOT,
]
pieces = st.one_of(st.sampled_from(PHRASES), st.sampled_from([*"ab 1.:\n/'é", "the", " the", "\u3000", "\u0301", "🙂"]))
texts = st.lists(pieces, max_size=40).map("".join)
superword_patterns = st.sampled_from(["superbpe", "superbpe", r"[^\n]+|\n+", r"(?s).+", "gpt2"])


def regex_of(pattern: str) -> str:
    return {"superbpe": reference.SUPERBPE_PATTERN, "gpt2": reference.GPT2_PATTERN}.get(pattern, pattern)


class Documents:
    """Texts that can be gone through again and are no list, which would be one of paths."""

    def __init__(self, documents):
        self.documents = documents

    def __iter__(self):
        return iter(self.documents)


@settings(max_examples=200, deadline=None)
@given(
    documents=st.lists(texts, max_size=4),
    sizes=st.tuples(st.integers(0, 20), st.integers(0, 30)),
    specials=st.sampled_from([[], [EOT], [EOT, " of the"]]),
    superword_pattern=superword_patterns,
    limits=st.sampled_from(
        [{}, {"max_token_words": None, "forbidden": ()}, {"max_token_words": 2, "forbidden": ("e", "1 ")}]
    ),
    others=st.sampled_from([{}, {"min_frequency": 2}, {"max_token_length": 6}]),
    num_threads=st.integers(1, 3),
)
def test_training_equals_the_reference(documents, sizes, specials, superword_pattern, limits, others, num_threads):
    transition_size = 256 + len(specials) + sizes[0]
    vocab_size = transition_size + sizes[1]
    options = {"transition_size": transition_size, **limits, **others}
    expected = reference.train_superbpe(
        documents, vocab_size, specials, superword_pattern=regex_of(superword_pattern), **options
    )
    found = train_superbpe(
        Documents(documents),
        vocab_size,
        specials,
        superword_pattern=superword_pattern,
        num_threads=num_threads,
        **options,
    )
    assert found == expected


@settings(max_examples=150, deadline=None)
@given(st.lists(texts, min_size=1, max_size=3), texts, superword_patterns, st.integers(0, 40))
def test_encoding_equals_the_reference_in_every_form(documents, text, pattern, num_first):
    vocab, merges = reference.train_superbpe(
        documents * 2, 340, [EOT], transition_size=257 + num_first, superword_pattern=regex_of(pattern)
    )
    expected = reference.encode(text, vocab, merges, [EOT], pattern=regex_of(pattern))
    tokenizer = Tokenizer(vocab, merges, [EOT], pattern=pattern)
    assert tokenizer.encode(text) == expected
    assert tokenizer.encode(text) == expected  # from the cache
    assert tokenizer.encode_batch([text, "", text], num_threads=2) == [expected, [], expected]
    assert list(tokenizer.encode_iterable(iter(text))) == expected
    assert tokenizer.decode(expected) == text


@pytest.fixture(scope="module")
def trained(corpus):
    return train_superbpe(Documents([corpus * 3]), 400, [EOT], transition_size=330)


def test_tokens_reach_across_words_but_not_across_specials(trained):
    vocab, merges = trained
    assert len(vocab) == 400
    assert len(merges) == 143
    assert all(b" " not in left[1:] and b" " not in right[1:] for left, right in merges[:73])
    assert any(b"the " in left + right for left, right in merges[73:])
    assert not any(EOT[-3:].encode() in left + right for left, right in merges)
    assert not any(b": " in token or len(token.split(b" ")) > 5 for token in vocab.values())


def test_the_first_stage_is_ordinary_training(corpus, trained):
    _, merges = train_bpe(iter([corpus * 3]), 330, [EOT])
    assert trained[1][:73] == merges


def test_huggingface_gives_the_same_ids(tmp_path, corpus, trained):
    tokenizers = pytest.importorskip("tokenizers")
    for pattern in ("superbpe", r"[^\n]+|\n+"):
        vocab, merges = train_superbpe(
            Documents([corpus * 3]), 400, [EOT], transition_size=330, superword_pattern=pattern
        )
        ours = Tokenizer(vocab, merges, [EOT], pattern=pattern)
        ours.save(tmp_path / "tokenizer.json")
        theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        again = Tokenizer.load(tmp_path / "tokenizer.json")
        assert again.pattern == pattern
        for text in (corpus, corpus * 2, " by the way:  12345 times...\r\n/ 'tis  \n x", corpus.upper(), "é日 本" * 40):
            ids = ours.encode(text)
            assert theirs.encode(text).ids == ids
            assert again.encode(text) == ids
            assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False) == text


def test_files_threads_and_weights_give_the_same_vocabulary(tmp_path, corpus):
    documents = [corpus, "by the way " * 30, "one 1 two 22 three 333 " * 9000]
    weights = [3, 1, 2]
    copies = [text for text, weight in zip(documents, weights, strict=True) for _ in range(weight)]
    expected = train_superbpe(Documents(copies), 500, [EOT], transition_size=350, num_threads=1)
    paths = []
    for index, text in enumerate(documents):
        paths.append(tmp_path / f"{index}.txt")
        paths[-1].write_text(text, encoding="utf-8")
    for num_threads in (1, 2, 4):
        options = {"transition_size": 350, "weights": weights, "num_threads": num_threads}
        assert train_superbpe(paths, 500, [EOT], **options) == expected


def test_progress_tells_both_stages(tmp_path, corpus):
    calls = []
    path = tmp_path / "a.txt"
    path.write_text(corpus, encoding="utf-8")
    train_superbpe(path, 330, [EOT], transition_size=300, progress=lambda *call: calls.append(call))
    size = len(corpus.encode())
    assert calls.count(("count", size, size)) >= 2
    assert ("merge", 43, 43) in calls
    assert calls[-1] == ("merge", 30, 30)


def test_an_iterator_is_kept_for_the_second_stage(corpus):
    texts = [corpus[:100], "", corpus[100:], "\ud83d lone \n"]
    sizes = {"vocab_size": 330, "transition_size": 300}
    assert train_superbpe(iter(texts), **sizes) == train_superbpe(Documents(texts), **sizes)
    with pytest.raises(TypeError, match="must be str, got int at index 1"):
        train_superbpe(iter(["a", 1]), **sizes)  # type: ignore[list-item]


def test_sizes_and_limits_out_of_range_are_value_errors(corpus):
    def train(vocab_size=300, transition_size=280, **options):
        train_superbpe(Documents([corpus]), vocab_size, [EOT], transition_size=transition_size, **options)

    with pytest.raises(ValueError, match=r"transition_size must be from 257 .* to vocab_size 300, got 301"):
        train(transition_size=301)
    with pytest.raises(ValueError, match="got 256"):
        train(transition_size=256)
    with pytest.raises(ValueError, match="transition_size must be positive, got -1"):
        train(transition_size=-1)
    with pytest.raises(ValueError, match="max_token_words must be at least 1, got 0"):
        train(max_token_words=0)
    with pytest.raises(ValueError, match="forbidden string is empty"):
        train(forbidden=[""])
    with pytest.raises(TypeError, match="forbidden must be a list of str"):
        train(forbidden=": ")
    with pytest.raises(ValueError, match="nor a valid regular expression"):
        train(superword_pattern="(")
