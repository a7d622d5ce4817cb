"""A corpus from URLs and from parquet is the corpus from files: the same ids in the same shards."""

import gzip
import json

import numpy as np
import pytest

from cs336 import corpus as corpora
from cs336.shards import read_manifest
from cs336.tokenizer import Tokenizer

TEXTS = [f"{number} größer\n" * (number % 7) for number in range(400)]


@pytest.fixture
def tokenizer():
    return Tokenizer({number: bytes([number]) for number in range(256)}, [], ["<|endoftext|>"])


def lines(texts):
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


def made(inputs, out, tokenizer, **options):
    result = corpora.run(corpora.plan(inputs, tokenizer=tokenizer, out=out, tokens_per_shard=3_000, **options))
    assert result.is_finished
    assert not corpora.verify(out).problems
    return np.concatenate([np.load(path) for path in sorted(out.glob("train-*.npy")) if ".ends" not in path.name])


@pytest.fixture
def expected(tmp_path, tokenizer):
    (tmp_path / "a.jsonl").write_bytes(lines(TEXTS))
    return made(tmp_path / "a.jsonl", tmp_path / "local", tokenizer)


@pytest.mark.parametrize("compressed", [False, True])
def test_urls(tmp_path, tokenizer, expected, compressed):
    memory = pytest.importorskip("fsspec").filesystem("memory")
    suffix, compress = (".gz", gzip.compress) if compressed else ("", bytes)
    for part in range(2):
        memory.pipe(f"/remote/{part}.jsonl{suffix}", compress(lines(TEXTS[200 * part : 200 * part + 200])))
    try:
        assert np.array_equal(made("memory://remote", tmp_path / "out", tokenizer), expected)
    finally:
        memory.rm("/remote", recursive=True)


def test_a_url_that_breaks_off_fails_and_goes_on_when_it_is_mended(tmp_path, tokenizer, expected):
    memory = pytest.importorskip("fsspec").filesystem("memory")
    memory.pipe("/remote/a.jsonl", lines(TEXTS))
    plan = corpora.plan("memory://remote", tokenizer=tokenizer, out=tmp_path / "out", tokens_per_shard=3_000)
    kind = type(memory.open("/remote/a.jsonl"))
    read_before = kind.read

    def fails(self, length=-1):
        if self.tell() > 0:
            raise OSError(5, "the line is dead")
        return read_before(self, 5_000)

    try:
        kind.read = fails
        with pytest.raises(OSError, match="the line is dead"):
            corpora.run(plan)
        kind.read = read_before
        assert not (tmp_path / "out" / "manifest.json").exists()
        assert np.array_equal(made("memory://remote", tmp_path / "out", tokenizer), expected)
    finally:
        kind.read = read_before
        memory.rm("/remote", recursive=True)


def test_parquet(tmp_path, tokenizer, expected):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [*TEXTS[:100], None, *TEXTS[100:]]
    parquet.write_table(pyarrow.table({"body": rows}), tmp_path / "a.parquet", row_group_size=60)
    options = {"text_field": "body", "on_bad": "skip"}
    assert np.array_equal(made(tmp_path / "a.parquet", tmp_path / "out", tokenizer, **options), expected)


def test_rows_of_parquet_are_known_by_their_numbers(tmp_path, tokenizer):
    """What is recorded can be looked up: a document by file and row, a rejected one, too."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = {name: [text and f"{name} {text}" for text in TEXTS[:150]] for name in "ab"}
    rows["a"][7] = rows["b"][0] = rows["b"][99] = None
    for name, texts in rows.items():
        parquet.write_table(pyarrow.table({"text": texts}), tmp_path / f"{name}.parquet", row_group_size=40)
    options = {"on_bad": "quarantine", "sources": True, "valid_fraction": 0.3, "tokens_per_shard": 500}
    names = [tmp_path / f"{name}.parquet" for name in "ab"]
    plan = corpora.plan(names, tokenizer=tokenizer, out=tmp_path / "out", **options)
    assert corpora.run(plan).is_finished
    tables = [parquet.read_table(planned.name)["text"].to_pylist() for planned in plan.inputs]
    found = {}
    for split in ("train", "valid"):
        shards = read_manifest(plan.directory).of_split(split)
        ids = np.concatenate([np.load(plan.directory / shard.file) for shard in shards])
        sources = np.concatenate([np.load(plan.directory / shard.sources_file) for shard in shards]).tolist()
        ends = np.flatnonzero(ids == tokenizer.eos_id)
        for (index, row), begin, end in zip(sources, [0, *(ends[:-1] + 1)], ends, strict=True):
            assert tokenizer.decode(ids[begin:end]) == tables[index][row]
            found[index, row] = True
    quarantined = sorted((plan.directory / "quarantine").iterdir())
    kept = [json.loads(line) for path in quarantined for line in path.read_text().splitlines()]
    assert {(line["input"], line["row"]) for line in kept} == {(0, 7), (1, 0), (1, 99)}
    assert len(found) + len(kept) == 300
    failing = corpora.plan(names[1], tokenizer=tokenizer, out=tmp_path / "failing")
    with pytest.raises(ValueError, match=r"b\.parquet: row 0 .* is no document, not a string"):
        corpora.run(failing)
