import gzip
import json
import os

import pytest

from cs336.corpus.counting import CountPart, count_corpus
from cs336.tokenizer import count_pretokens

SPECIALS = ["<|endoftext|>"]


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for part in range(4):
        lines = "".join(json.dumps({"text": f"low {part * line} lower größer"}) + "\n" for line in range(200))
        (folder / f"{part}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "4.txt").write_text("just text", encoding="utf-8")
    return folder


def test_parts_add_up_to_the_whole(corpus, tmp_path):
    reports = []
    summary = count_corpus(corpus, tmp_path / "parts", SPECIALS, progress=lambda *report: reports.append(report))
    assert summary == count_pretokens([corpus], tmp_path / "whole", SPECIALS)
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()
    assert reports[-1] == ("count", 5, 5)
    assert {path.name for path in tmp_path.iterdir()} == {"corpus", "parts", "whole"}


def test_a_failed_task_is_listed_and_the_rest_is_kept(corpus, tmp_path):
    damaged = corpus / "2.jsonl.gz"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match=r"1 of 5 tasks failed.*task 2: .*2.jsonl.gz: is cut off"):
        count_corpus(corpus, tmp_path / "out", SPECIALS)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out.parts").glob("*.counts")}
    assert len(kept) == 4
    damaged.write_bytes(whole)
    with pytest.raises(ValueError, match="counted with other files; go on with what"):
        count_corpus(corpus, tmp_path / "out", SPECIALS)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out.parts").glob("*.counts")} == kept


def test_what_was_interrupted_goes_on(corpus, tmp_path, monkeypatch):
    whole = count_corpus(corpus, tmp_path / "whole", SPECIALS)
    counted = []

    def counting(self, task):
        if len(counted) == 3:
            raise KeyboardInterrupt
        counted.append(task)
        count(self, task)

    count = CountPart.__call__
    monkeypatch.setattr(CountPart, "__call__", counting)
    with pytest.raises(KeyboardInterrupt):
        count_corpus(corpus, tmp_path / "out", SPECIALS)
    monkeypatch.undo()
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out.parts").glob("*.counts")}
    assert len(before) == 3
    with pytest.raises(ValueError, match="counted with other special_tokens"):
        count_corpus(corpus, tmp_path / "out", [])
    assert count_corpus(corpus, tmp_path / "out", SPECIALS, memory_mb=5) == whole


def test_a_file_that_changed_is_not_counted(corpus, tmp_path):
    (corpus / "5.jsonl").write_text("bad", encoding="utf-8")
    with pytest.raises(ValueError, match="1 of 6 tasks failed"):
        count_corpus(corpus, tmp_path / "out", SPECIALS)
    os.utime(corpus / "5.jsonl", ns=(1, 1))
    with pytest.raises(OSError, match="it has changed since it was planned"):
        CountPart(tmp_path / "out.parts")(5)
