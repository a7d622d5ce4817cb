import json

import pytest

from cs336.experiments.prepare import END_OF_TEXT
from cs336.experiments.tokenizer_report import study_markdown, write_study
from cs336.experiments.tokenizer_study import PILE_BYTES, Corpus, _is_word, measure, study_tokenizers
from cs336.tokenizer import Tokenizer, train_bpe

WORDS = {"animals": ["cat", "horse", "elephant", "mouse"], "numbers": ["1234", "77", "5,000", "0.5%"]}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    made = []
    for name, words in WORDS.items():
        paths = {}
        for part, count in (("train", 200), ("valid", 40)):
            paths[part] = folder / f"{name}-{part}.txt"
            texts = (" ".join(words[(i * j) % 4] for j in range(1, 5 + i % 7)) for i in range(count))
            paths[part].write_text("".join(text + "\n" + END_OF_TEXT for text in texts))
        made.append(Corpus(name=name, train=paths["train"], valid=paths["valid"], vocab_size=280))
    return made


@pytest.fixture(scope="module")
def study(corpora, tmp_path_factory):
    return study_tokenizers(*corpora, tmp_path_factory.mktemp("study"))


def test_a_tokenizer_compresses_its_own_corpus_better(study):
    whole = {(c.tokenizer, c.text): c for c in study.whole}
    for name, other in (("animals", "numbers"), ("numbers", "animals")):
        assert whole[name, name].bytes_per_token > whole[other, name].bytes_per_token
        assert whole[name, name].num_documents == 40
    assert {c.num_documents for c in study.sampled} == {10}


def test_compression_is_bytes_over_tokens_within_its_interval(corpora):
    vocab, merges = train_bpe(corpora[0].train, 280, [END_OF_TEXT])
    tokenizer = Tokenizer(vocab, merges, [END_OF_TEXT])
    texts = [b"cat horse", b"mouse", b"elephant cat cat"]
    found = measure(tokenizer, texts, tokenizer_name="a", text_name="b", seed=0)
    num_tokens = sum(len(tokenizer.encode(text.decode())) for text in texts)
    assert found.bytes_per_token == pytest.approx(sum(map(len, texts)) / num_tokens)
    assert found.low <= found.bytes_per_token <= found.high
    assert found == measure(tokenizer, texts, tokenizer_name="a", text_name="b", seed=0)


def test_training_is_told_by_stage_and_by_its_own_memory(study):
    for training in study.trainings:
        assert sum(training.stages_s.values()) == pytest.approx(training.elapsed_s)
        assert 1e6 < training.peak_bytes < 1e9
    assert study.trainings[0].longest[0] == "␣elephant"


def test_the_pile_takes_its_bytes_over_the_rate(study):
    for speed in study.throughput:
        assert speed.pile_s == pytest.approx(PILE_BYTES / speed.bytes_per_s)


def test_the_report_says_what_the_numbers_say(study, tmp_path):
    paths = write_study(study, tmp_path)
    assert [path.name for path in paths] == ["study.json", "study.md", "compression.svg"]
    values = json.loads(paths[0].read_text())
    text = paths[1].read_text()
    own = study.whole[0]
    assert f"{own.bytes_per_token:.3f} [{own.low:.3f}, {own.high:.3f}]" in text
    assert values["overlap"]["num_shared"] == study.overlap.num_shared
    assert "the tokenizer of numbers gives" in text
    assert "fewer bytes a token than animals's own" in text
    assert "16 bits hold every id" in text
    assert text == study_markdown(study)


def test_corpora_that_cannot_be_told_apart_or_sampled_are_refused(corpora, tmp_path):
    with pytest.raises(ValueError, match="must have different names, got 'animals' twice"):
        study_tokenizers(corpora[0], corpora[0], tmp_path)
    with pytest.raises(ValueError, match=r"has 40 documents, 50 are to be sampled"):
        study_tokenizers(*corpora, tmp_path, num_sampled=50)


@pytest.mark.parametrize(
    ("token", "expected"),
    [(" elephant", True), ("UUUU", False), ("pricksprick", True), ("pickspicks", False), ("--", False)],
)
def test_words_are_letters_and_not_one_thing_over_and_over(token, expected):
    assert _is_word(token) is expected
