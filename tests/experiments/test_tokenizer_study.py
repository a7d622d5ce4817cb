import os

import pytest

from cs336.experiments.documents import END_OF_TEXT
from cs336.experiments.tokenizer_facts import Corpus, read_study, save_study
from cs336.experiments.tokenizer_study import PILE_BYTES, measure, study_tokenizers
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


def test_speed_is_timed_over_the_longer_text_where_the_held_out_one_is_short(study, corpora):
    sizes = {corpus.name: corpus.train.stat().st_size for corpus in corpora}
    assert [(t.tokenizer, t.num_bytes) for t in study.throughput] == [
        (name, sizes[name]) for name in WORDS for _ in {1, os.cpu_count()}
    ]


def test_a_study_is_read_as_it_was_saved(study, tmp_path):
    path = save_study(study, tmp_path)
    assert read_study(tmp_path) == study
    path.write_text('{"corpora": 3}')
    with pytest.raises(ValueError, match=r"study\.json is damaged or of another version .*; remove it and study anew"):
        read_study(tmp_path)


def test_corpora_that_cannot_be_told_apart_or_sampled_are_refused(corpora, tmp_path):
    with pytest.raises(ValueError, match="must have different names, got 'animals' twice"):
        study_tokenizers(corpora[0], corpora[0], tmp_path)
    with pytest.raises(ValueError, match=r"has 40 documents, 50 are to be sampled"):
        study_tokenizers(*corpora, tmp_path, num_sampled=50)
