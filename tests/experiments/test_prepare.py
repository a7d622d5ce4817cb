import dataclasses
import json

import numpy as np
import pytest

from cs336.experiments import prepare as module
from cs336.experiments.documents import END_OF_TEXT
from cs336.experiments.golden import GoldenFile
from cs336.experiments.prepare import PrepareConfig, count_id, prepare
from cs336.tokenizer import Tokenizer, train_bpe

STORIES = [f"story {i} of one who had {i * i} apples and ate {i} \n" for i in range(300)]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "stories.txt"
    path.write_text(END_OF_TEXT.join(STORIES))
    return path


def config_for(text, tmp_path, **changes):
    return PrepareConfig(
        **{"train": (text,), "out": tmp_path / "data", "vocab_size": 300, "valid_share": 0.1} | changes
    )


def test_every_document_is_on_one_side_and_ends_with_the_special_token(text, tmp_path):
    prepared = prepare(config_for(text, tmp_path))
    tokenizer = Tokenizer.load(prepared.tokenizer)
    decoded = [tokenizer.decode(np.load(made.path)).split(END_OF_TEXT) for made in (prepared.train, prepared.valid)]
    assert decoded[0].pop() == decoded[1].pop() == ""
    assert sorted(decoded[0] + decoded[1]) == sorted(STORIES)
    assert (len(decoded[0]), len(decoded[1])) == (prepared.train.num_documents, prepared.valid.num_documents)
    assert prepared.valid.num_documents >= 10
    assert prepared.train.dtype == "uint16"
    assert prepared.train.golden is None


def test_what_is_done_is_passed_over(text, tmp_path, monkeypatch):
    first = prepare(config_for(text, tmp_path))
    monkeypatch.setattr(module, "train_bpe", None)
    monkeypatch.setattr(Tokenizer, "encode_file", None)
    assert prepare(config_for(text, tmp_path)) == first


def test_an_interrupted_preparation_goes_on(text, tmp_path, monkeypatch):
    undisturbed = prepare(config_for(text, tmp_path, out=tmp_path / "undisturbed"))
    with monkeypatch.context() as patch:
        patch.setattr(Tokenizer, "encode_file", lambda *_args, **_options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(config_for(text, tmp_path))
    resumed = prepare(config_for(text, tmp_path))
    assert resumed.train.path.read_bytes() == undisturbed.train.path.read_bytes()
    assert resumed.valid.path.read_bytes() == undisturbed.valid.path.read_bytes()


def test_another_preparation_in_the_directory_is_refused(text, tmp_path):
    prepare(config_for(text, tmp_path))
    with pytest.raises(
        ValueError, match=r"is prepared from something else: vocab_size was 300, is 301; choose another"
    ):
        prepare(config_for(text, tmp_path, vocab_size=301))
    text.write_text("changed")
    with pytest.raises(ValueError, match="is prepared from something else: train was"):
        prepare(config_for(text, tmp_path))
    (tmp_path / "data" / "prepare.json").write_text("{")
    with pytest.raises(ValueError, match=r"prepare.json is damaged"):
        prepare(config_for(text, tmp_path))


def test_given_held_out_text_and_tokenizer_are_used_as_they_are(text, tmp_path):
    valid = tmp_path / "valid.txt"
    valid.write_text("held out" + END_OF_TEXT)
    vocab, merges = train_bpe(text, 290, [END_OF_TEXT])
    Tokenizer(vocab, merges, [END_OF_TEXT]).save(tmp_path / "own.json")
    prepared = prepare(config_for(text, tmp_path, valid=(valid,), tokenizer=tmp_path / "own.json"))
    assert prepared.vocab_size == 290
    assert prepared.valid.num_bytes == valid.stat().st_size


def test_a_tokenizer_without_an_end_of_text_is_refused(text, tmp_path):
    vocab, merges = train_bpe(text, 290)
    Tokenizer(vocab, merges).save(tmp_path / "bare.json")
    with pytest.raises(
        ValueError, match=r"bare.json has no special token <.endoftext.>, with which documents end; it has none"
    ):
        prepare(config_for(text, tmp_path, tokenizer=tmp_path / "bare.json"))


def test_several_texts_are_put_together_without_running_into_one_another(tmp_path):
    (tmp_path / "a.txt").write_text("first text")
    (tmp_path / "b.txt").write_text("second text" + END_OF_TEXT + "\n")
    (tmp_path / "v.txt").write_text("third" + END_OF_TEXT)
    config = PrepareConfig(
        train=(tmp_path / "a.txt", tmp_path / "b.txt"),
        valid=(tmp_path / "v.txt",),
        out=tmp_path / "data",
        vocab_size=270,
    )
    prepared = prepare(config)
    text = Tokenizer.load(prepared.tokenizer).decode(np.load(prepared.train.path))
    assert text == f"first text{END_OF_TEXT}second text{END_OF_TEXT}\n"


def test_a_text_without_documents_to_hold_out_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("only one document")
    with pytest.raises(ValueError, match=r"1 documents are too few to hold out a share of 0.1; name a held-out text"):
        prepare(config_for(tmp_path / "a.txt", tmp_path))


def test_golden_counts_are_checked_when_the_file_is_the_courses(text, tmp_path, monkeypatch):
    prepared = prepare(config_for(text, tmp_path))
    train = prepared.train
    known = GoldenFile(
        name="known.txt",
        num_bytes=train.num_bytes,
        num_documents=train.num_documents,
        num_tokens={300: train.num_tokens},
        wrong_counts={},
    )
    monkeypatch.setattr("cs336.experiments.golden.TRAINED_ON", {300: "known.txt"})
    monkeypatch.setattr("cs336.experiments.golden.GOLDEN_FILES", (known,))
    again = prepare(config_for(text, tmp_path, out=tmp_path / "again"))
    assert again.train.golden == f"known.txt: {train.num_documents} documents and {train.num_tokens:,} tokens, as known"
    wrong = dataclasses.replace(known, num_tokens={300: train.num_tokens + 1})
    monkeypatch.setattr("cs336.experiments.golden.GOLDEN_FILES", (wrong,))
    with pytest.raises(ValueError, match=r"known.txt encodes to .* got .* \(-1\)"):
        prepare(config_for(text, tmp_path, out=tmp_path / "wrong"))
    assert "train" not in json.loads((tmp_path / "wrong" / "prepare.json").read_text())["done"]


def test_ids_are_counted_over_all_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_COPY_BYTES", 3)
    np.save(tmp_path / "ids.npy", np.array([1, 2, 1, 1, 5, 1, 1], np.uint16))
    assert count_id(tmp_path / "ids.npy", 1) == 5
