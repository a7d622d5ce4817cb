"""What comes out is what went in, however it is done."""

import json
from pathlib import Path

import numpy as np
import pytest

from cs336 import corpus
from cs336.data import TokenDataset
from cs336.shards import read_manifest
from cs336.tokenizer import Tokenizer, train_bpe

EOS = "<|endoftext|>"


def zstd(content: bytes) -> bytes:
    return pytest.importorskip("zstandard").compress(content)


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "jsonl.zst", "txt", "txt.gz", "txt.zst"])
def test_documents_come_out_as_they_went_in(form, documents, tokenizer, make, tmp_path, kit):
    compress = {"gz": kit.gzipped, "zst": zstd}.get(form.rpartition(".")[2], bytes)
    path = tmp_path / f"a.{form}"
    if form.startswith("txt"):
        documents = [text for text in documents if EOS not in text]
        path.write_bytes(compress(EOS.join([*documents, "\n"]).encode()))
    else:
        kit.write_jsonl(path, documents, compress)
    out = make(path, separator=EOS)
    assert list(kit.read_back(out)) == [tokenizer.encode_ordinary(text) for text in documents]
    manifest = read_manifest(out)
    assert manifest.totals["documents"] == len(documents)
    assert manifest.totals["empty_documents"] == documents.count("")
    assert manifest.totals["text_bytes"] == sum(len(text.encode()) for text in documents)
    assert {shard.tokens for shard in manifest.shards[:-1]} == {1500}
    assert corpus.verify(out).is_good


def test_text_in_shards_is_the_text_encoded_whole(tokenizer, make, tmp_path):
    text = f"the cat{EOS}\nthe \n{EOS}\n\n 1234{EOS}"
    (tmp_path / "a.txt").write_text(text)
    out = make(tmp_path / "a.txt", separator=EOS)
    assert np.asarray(TokenDataset.open(out)).tolist() == tokenizer.encode(text)


def test_tasks_are_ranges_groups_and_whole_files_with_the_same_documents(documents, tokenizer, make, tmp_path, kit):
    half = len(documents) // 2
    kit.write_jsonl(tmp_path / "in" / "a.jsonl", documents[:half])
    kit.write_jsonl(tmp_path / "in" / "b.jsonl.gz", documents[half:], kit.gzipped)
    for index in range(5):
        kit.write_jsonl(tmp_path / "in" / f"c{index}.jsonl", documents[index : index + 1])
    expected = [tokenizer.encode_ordinary(text) for text in [*documents, *documents[:5]]]
    for task_bytes in (900, 5000, 1 << 30):
        out = make(tmp_path / "in", f"out{task_bytes}", task_bytes=task_bytes)
        assert list(kit.read_back(out)) == expected
        assert corpus.verify(out, inputs=True).is_good
    assert len(corpus.Plan.load(tmp_path / "out900").tasks) > len(corpus.Plan.load(tmp_path / "out5000").tasks) > 1


def test_held_out_documents_are_chosen_by_their_text_alone(documents, tokenizer, make, jsonl, tmp_path, kit):
    out = make(jsonl, valid_fraction=0.3)
    train, valid = (list(kit.read_back(out, split)) for split in ("train", "valid"))
    assert sorted(train + valid) == sorted(tokenizer.encode_ordinary(text) for text in documents)
    assert 0.2 < len(valid) / len(documents) < 0.4
    backwards = kit.write_jsonl(tmp_path / "in" / "b.jsonl", documents[::-1])
    assert list(kit.read_back(make(backwards, "b", valid_fraction=0.3), "valid")) == valid[::-1]
    assert list(kit.read_back(make(jsonl, "c", valid_fraction=0.3, split_seed=1), "valid")) != valid
    assert not read_manifest(make(jsonl, "d", valid_fraction=1.0)).of_split("train")


def test_a_shuffle_is_a_permutation_by_the_seed(documents, tokenizer, make, jsonl, kit):
    plain = list(kit.read_back(make(jsonl)))
    shuffled = {seed: list(kit.read_back(make(jsonl, f"s{seed}", shuffle_seed=seed, sources=True))) for seed in (0, 1)}
    assert shuffled[0] != plain
    assert shuffled[0] != shuffled[1]
    assert sorted(shuffled[0]) == sorted(shuffled[1]) == sorted(plain)
    again = make(jsonl, "again", shuffle_seed=0, sources=True, task_bytes=3000, num_threads=1)
    assert list(kit.read_back(again)) == shuffled[0]
    assert corpus.verify(again).is_good
    assert not list((again / "unshuffled").glob("*.npy"))
    _check_sources(again, tokenizer, kit)


def test_each_document_is_found_where_it_is_said_to_come_from(tokenizer, make, jsonl, kit):
    _check_sources(make(jsonl, sources=True, valid_fraction=0.2), tokenizer, kit)


def _check_sources(out, tokenizer, kit):
    plan = corpus.Plan.load(out)
    for split in ("train", "valid"):
        rows = [
            row for shard in read_manifest(out).of_split(split) for row in np.load(out / shard.sources_file).tolist()
        ]
        found = list(kit.read_back(out, split))
        assert len(rows) == len(found)
        for (index, offset), ids in zip(rows, found, strict=True):
            with Path(plan.inputs[index].name).open("rb") as file:
                file.seek(offset)
                assert tokenizer.encode_ordinary(json.loads(file.readline())["text"]) == ids


def test_shares_of_a_plan_make_the_same_corpus(make, jsonl, tokenizer, tmp_path, kit):
    whole = make(jsonl, task_bytes=4000)
    planned = corpus.plan(jsonl, tokenizer=tokenizer, out=tmp_path / "b", tokens_per_shard=1500, task_bytes=4000)
    assert len(planned.tasks) > 3
    for share in (2, 0):
        assert not corpus.run(planned, task_index=share, num_tasks=3).is_finished
    assert corpus.run(planned, task_index=1, num_tasks=3).is_finished
    assert kit.tree(whole) == kit.tree(tmp_path / "b")


def test_wide_ids_are_uint32(tmp_path, jsonl):
    vocab = {index: bytes([index]) for index in range(256)} | {70_000: EOS.encode()}
    planned = corpus.plan(jsonl, tokenizer=Tokenizer(vocab, [], [EOS]), out=tmp_path / "out")
    corpus.run(planned)
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.dtype, manifest.greatest_id) == ("uint32", 70_000)
    assert np.load(tmp_path / "out" / manifest.shards[0].file).dtype == np.uint32


def test_whole_files_are_documents(make, tmp_path, tokenizer, kit):
    for name, text in (("a", "the cat\n"), ("b", ""), ("c", " the")):
        (tmp_path / f"{name}.txt").write_text(text)
    out = make([tmp_path / f"{name}.txt" for name in "abc"], whole_files=True)
    assert list(kit.read_back(out)) == [tokenizer.encode_ordinary(text) for text in ("the cat\n", " the")]


def test_a_dry_run_writes_nothing(tokenizer, jsonl, tmp_path):
    planned = corpus.plan(jsonl, tokenizer=tokenizer, out=tmp_path / "out", dry_run=True)
    assert planned.tasks
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens_per_shard": 0}, "tokens_per_shard must be at least 1, got 0"),
        ({"valid_fraction": 1.5}, r"valid_fraction must lie in \[0, 1\], got 1.5"),
        ({"separator": ""}, "separator must not be empty"),
        ({"separator": "x", "whole_files": True}, "give either a separator or whole_files"),
        ({"eos": "<eos>"}, "'<eos>', which is no special token of this tokenizer"),
        ({"max_rejected": -1}, "max_rejected must be at least 0"),
    ],
)
def test_options_are_checked(options, message, tokenizer, jsonl, tmp_path):
    with pytest.raises(ValueError, match=message):
        corpus.plan(jsonl, tokenizer=tokenizer, out=tmp_path / "out", **options)


def test_text_needs_to_know_its_documents(tokenizer, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ValueError, match="say what stands between its documents"):
        corpus.plan(tmp_path / "a.txt", tokenizer=tokenizer, out=tmp_path / "out")


def test_a_directory_with_other_things_in_it_is_left_alone(tokenizer, jsonl, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    with pytest.raises(FileExistsError, match=r"it holds thesis\.tex"):
        corpus.plan(jsonl, tokenizer=tokenizer, out=tmp_path / "out")


def test_another_tokenizer_of_the_same_size_has_another_hash(tokenizer, jsonl, tmp_path, make):
    make(jsonl)
    vocab, merges = train_bpe(iter(["other words altogether " * 9]), 280, [EOS])
    with pytest.raises(ValueError, match="tokenizer_sha256 was"):
        corpus.plan(jsonl, tokenizer=Tokenizer(vocab, merges, [EOS]), out=tmp_path / "out", tokens_per_shard=1500)


@pytest.mark.parametrize("num_threads", [0, -1])
def test_no_threads_are_refused_before_anything_is_done(make, jsonl, tmp_path, num_threads):
    with pytest.raises(ValueError, match=f"num_threads must be at least 1 .* got {num_threads}"):
        make(jsonl, num_threads=num_threads)
    assert not list(tmp_path.rglob("*-00000-*.npy"))


@pytest.mark.parametrize(
    ("option", "value"),
    [("invalid_utf8", "ignore"), ("special_text", "allowed"), ("fingerprint", "none"), ("format", "csv")],
)
def test_a_choice_that_there_is_not_is_refused_before_it_is_planned(jsonl, tokenizer, tmp_path, option, value):
    with pytest.raises(ValueError, match=f"{option} must be one of .*, got '{value}'"):
        corpus.plan(jsonl, tokenizer=tokenizer, out=tmp_path / "out", **{option: value})
    assert not (tmp_path / "out").exists()
