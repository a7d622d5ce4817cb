"""A corpus from URLs and from parquet is the corpus from files: the same ids in the same shards."""

import gzip
import json

import numpy as np
import pytest

from cs336 import corpus as corpora
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
