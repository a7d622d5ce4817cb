"""Training reads what the corpus reads, and the result depends on the texts alone."""

import gzip
import json

import pytest

from cs336.inputs import ReadOptions
from cs336.tokenizer import count_pretokens, train_bpe, train_superbpe

TEXTS = [
    "low lower lowest",
    "newest größer\n\n",
    "",
    'a "quoted" \\ text\n',
    "  wide widest 日本日本 <|endoftext|> low",
] * 20
SPECIALS = ["<|endoftext|>"]


@pytest.fixture
def expected():
    return train_bpe(iter(TEXTS), 300, SPECIALS)


def lines(texts=TEXTS):
    return "".join(json.dumps({"text": text, "meta": {}}) + "\n" for text in texts).encode()


def zstd(content):
    zstandard = pytest.importorskip("zstandard")
    middle = len(content) // 2
    return b"".join(zstandard.compress(part) for part in (content[:middle], content[middle:]))


def write_parquet(path, texts=TEXTS):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"text": texts, "id": range(len(texts))}), path, row_group_size=17)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_all_formats_train_alike(tmp_path, name, expected):
    path = tmp_path / name
    if name == "a.parquet":
        write_parquet(path)
    else:
        compress = {".gz": gzip.compress, ".zst": zstd}.get(path.suffix, bytes)
        path.write_bytes(compress(lines()))
    for source in (path, tmp_path, str(tmp_path / "*")):
        assert train_bpe(source, 300, SPECIALS, num_threads=2) == expected
    count_pretokens(path, tmp_path / "counts", SPECIALS)
    assert train_bpe(None, 300, SPECIALS, counts=[tmp_path / "counts"]) == expected


@pytest.mark.parametrize("separator", [None, "<|endoftext|>"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstd])
def test_texts_train_alike_compressed_or_not(tmp_path, separator, compress):
    text = "<|endoftext|>".join(TEXTS).encode()
    names = {bytes: "a.txt", gzip.compress: "a.txt.gz", zstd: "a.txt.zst"}
    path = tmp_path / names[compress]
    path.write_bytes(compress(text))
    read = ReadOptions(separator=separator)
    assert train_bpe(path, 300, SPECIALS, read=read) == train_bpe(iter([text.decode()]), 300, SPECIALS)


def test_urls_train_alike(expected):
    memory = pytest.importorskip("fsspec").filesystem("memory")
    memory.pipe({"/train/a.jsonl": lines(TEXTS[:50]), "/train/b.jsonl.gz": gzip.compress(lines(TEXTS[50:]))})
    assert train_bpe("memory://train", 300, SPECIALS) == expected
    memory.pipe("/train/b.jsonl.gz", gzip.compress(lines(TEXTS[50:]))[:-5])
    with pytest.raises(ValueError, match=r"memory:///train/b.jsonl.gz: is cut off"):
        train_bpe("memory://train", 300, SPECIALS)
    memory.rm("/train", recursive=True)


def test_superbpe_reads_all_formats(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines()))
    options = {"transition_size": 280}
    files = []
    for index, text in enumerate(TEXTS):
        files.append(tmp_path / f"{index}.txt")
        files[-1].write_text(text, encoding="utf-8", newline="")
    expected = train_superbpe(files, 300, SPECIALS, **options)
    assert train_superbpe(tmp_path / "a.jsonl.gz", 300, SPECIALS, **options) == expected


def test_bad_records_fail_or_are_skipped_with_a_warning(tmp_path, expected):
    good = lines().splitlines(keepends=True)
    bad = [b'{"text": null}\n', b"no json\n", b'{"body": ""}\n', b'{"text": "\xff"}\n']
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join([*good[:30], *bad, *good[30:]]))
    offset = sum(map(len, good[:30]))
    with pytest.raises(ValueError, match=rf"a.jsonl: the record at byte {offset} is no document: not a string"):
        train_bpe(path, 300, SPECIALS)
    with pytest.warns(UserWarning, match=r"a.jsonl: 4 records were left out \(1 invalid JSON, 1 invalid UTF-8, 1"):
        assert train_bpe(path, 300, SPECIALS, read=ReadOptions(on_bad="skip")) == expected
    with pytest.raises(ValueError, match="more than 3 records are no documents"):
        train_bpe(path, 300, SPECIALS, read=ReadOptions(on_bad="skip", max_bad=3))


def test_invalid_utf8_is_replaced_on_request(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"low \xff low")
    with pytest.raises(ValueError, match="invalid UTF-8"):
        train_bpe(tmp_path / "a.txt", 260, [])
    replace = ReadOptions(invalid_utf8="replace")
    assert train_bpe(tmp_path / "a.txt", 260, [], read=replace) == train_bpe(iter(["low � low"]), 260, [])


def test_weights_are_those_of_what_was_named(tmp_path):
    (tmp_path / "some").mkdir()
    for name in ("a", "b"):
        (tmp_path / "some" / f"{name}.jsonl").write_bytes(lines(TEXTS[:5]))
    (tmp_path / "c.txt").write_text("cccc cccc", encoding="utf-8")
    weighted = train_bpe([tmp_path / "some", tmp_path / "c.txt"], 270, [], weights=[3, 2])
    assert weighted == train_bpe(iter(TEXTS[:5] * 6 + ["cccc cccc"] * 2), 270, [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separator": ""}, "the separator of documents is empty"),
        ({"on_bad": "ignore"}, "on_bad must be one of fail, skip, got 'ignore'"),
        ({"format": "csv"}, "format must be one of text, jsonl, parquet, got 'csv'"),
        ({"invalid_utf8": "ignore"}, "invalid_utf8 must be"),
        ({"max_bad": 3}, "max_bad is for on_bad='skip'"),
        ({"max_document_bytes": 0}, "max_document_bytes must be at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ReadOptions(**options)
