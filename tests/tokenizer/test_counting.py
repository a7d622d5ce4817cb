import random

import pytest

from cs336.tokenizer import CountSummary, count_pretokens, merge_counts, train_bpe

SPECIALS = ["<|endoftext|>", "<|pad|>"]


@pytest.fixture
def texts():
    draw = random.Random(3)
    words = ["low", "lower", "newest", "widest", "größer", "日本", "<|endoftext|>", " ", "\n", "  x", "a" * 40]
    return ["".join(draw.choice(words) + draw.choice([" ", "", "\n"]) for _ in range(200)) for _ in range(12)]


def train(input_path=None, **options):
    return train_bpe(input_path, 320, SPECIALS, **options)


@pytest.mark.parametrize("num_parts", [1, 3, 12])
def test_training_on_counts_is_training_on_the_texts(tmp_path, texts, num_parts):
    parts = [tmp_path / f"{part}.counts" for part in range(num_parts)]
    for part, path in enumerate(parts):
        count_pretokens(iter(texts[part::num_parts]), path, SPECIALS[::-1], num_threads=1 + part % 2)
    expected = train(iter(texts))
    assert train(counts=parts) == expected
    merge_counts(parts, tmp_path / "sum.counts")
    assert train(counts=[tmp_path / "sum.counts"]) == expected
    whole = tmp_path / "whole.counts"
    count_pretokens(iter(texts), whole, SPECIALS)
    assert whole.read_bytes() == (tmp_path / "sum.counts").read_bytes()
    assert train(iter(texts), counts=[whole]) == train(iter(texts + texts))


def test_weights_count(tmp_path, texts):
    for name, content in [("a.txt", texts[0]), ("b.txt", texts[1])]:
        (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    count_pretokens(files, tmp_path / "w.counts", SPECIALS, weights=[1, 3])
    assert train(counts=[tmp_path / "w.counts"]) == train(files, weights=[1, 3])


def test_the_summary_tells_what_is_in_a_file(tmp_path):
    path = tmp_path / "a.counts"
    summary = count_pretokens(iter(["low low", "<|pad|>low"]), path, SPECIALS)
    assert CountSummary.load(path) == summary
    assert (summary.num_pretokens, summary.num_bytes) == (2, 17)
    assert summary.special_tokens == tuple(sorted(SPECIALS))
    assert r"\p{L}" in summary.pattern


def test_tables_that_go_to_disk_change_nothing(tmp_path):
    draw = random.Random(1)
    text = " ".join(str(draw.random()) for _ in range(60_000))
    narrow, roomy = tmp_path / "narrow.counts", tmp_path / "roomy.counts"
    stages = set()
    count_pretokens(iter([text]), narrow, memory_mb=1, progress=lambda stage, *_: stages.add(stage))
    count_pretokens(iter([text]), roomy)
    assert narrow.read_bytes() == roomy.read_bytes()
    assert "sum" in stages
    assert {path.name for path in tmp_path.iterdir()} == {"narrow.counts", "roomy.counts"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "cl100k", "special_tokens": SPECIALS}, "was counted with the pattern"),
        ({"special_tokens": SPECIALS[:1]}, "was counted with the special tokens"),
    ],
)
def test_counts_by_other_rules_are_refused(tmp_path, texts, options, message):
    other, ours = tmp_path / "other.counts", tmp_path / "ours.counts"
    count_pretokens(iter(texts), other, **options)
    count_pretokens(iter(texts), ours, SPECIALS)
    with pytest.raises(ValueError, match=f"other.counts {message}.*count its texts again"):
        train(counts=[other])
    with pytest.raises(ValueError, match=f"other.counts {message}"):
        merge_counts([ours, other], tmp_path / "sum.counts")
    assert not (tmp_path / "sum.counts").exists()


def test_what_cannot_be_counts_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("just text, and enough of it to hold a header of fifty bytes")
    with pytest.raises(ValueError, match=r"a.txt: not a file of counts; `cs336 tokenizer count` writes them"):
        train(counts=[tmp_path / "a.txt"])
    with pytest.raises(FileNotFoundError):
        CountSummary.load(tmp_path / "none")
    with pytest.raises(ValueError, match="nothing to train on"):
        train()
    with pytest.raises(ValueError, match="no counts to add up"):
        merge_counts([], tmp_path / "sum.counts")
    with pytest.raises(ValueError, match="at least 1"):
        count_pretokens(iter(["a"]), tmp_path / "x", memory_mb=0)
    with pytest.raises(FileNotFoundError):
        count_pretokens(iter(["a"]), tmp_path / "none" / "x")


def test_an_error_leaves_nothing(tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"fine \xff")
    with pytest.raises(ValueError, match="invalid UTF-8"):
        count_pretokens(tmp_path / "bad.txt", tmp_path / "a.counts")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.txt"]
