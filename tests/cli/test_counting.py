import json


def test_counting_in_parts_trains_as_the_whole_does(cs336, tmp_path):
    for part in range(3):
        lines = [json.dumps({"text": f"low lower {part} newest größer\n" * (part + 1)}) for _ in range(20)]
        (tmp_path / f"{part}.jsonl").write_text("\n".join(lines), encoding="utf-8")
        done = cs336("tokenizer", "count", tmp_path / f"{part}.jsonl", "-o", tmp_path / f"{part}.counts", "--json")
        assert done.code == 0, done.err
        assert done.json["num_pretokens"] == 6
    train = ("tokenizer", "train", "--vocab-size", 290, "--json", "-o")
    whole = cs336(*train, tmp_path / "whole.json", tmp_path)
    parts = cs336(*train, tmp_path / "parts.json", "--counts", *(tmp_path / f"{part}.counts" for part in range(3)))
    assert whole.code == parts.code == 0, whole.err + parts.err
    assert parts.json["sha256"] == whole.json["sha256"]
    merged = cs336("tokenizer", "count", "--merge", *tmp_path.glob("*.counts"), "-o", tmp_path / "sum")
    assert merged.code == 0, merged.err
    summed = cs336(*train, tmp_path / "sum.json", "--counts", tmp_path / "sum")
    assert summed.json["sha256"] == whole.json["sha256"]


def test_bad_lines_fail_or_are_skipped(cs336, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "low"}\nnone\n{"body": ""}\n', encoding="utf-8")
    count = ("tokenizer", "count", tmp_path / "a.jsonl", "-o", tmp_path / "a.counts")
    failed = cs336(*count)
    assert failed.code == 1
    assert "a.jsonl: the record at byte 16 is no document: invalid json" in failed.err.lower()
    assert not (tmp_path / "a.counts").exists()
    skipped = cs336(*count, "--on-bad", "skip")
    assert skipped.code == 0
    assert "2 records were left out" in skipped.err
    failed = cs336(*count, "--on-bad", "skip", "--max-bad", 1)
    assert failed.code == 1
    assert "more than 1 records" in failed.err


def test_files_are_counted_as_tasks(cs336, tmp_path):
    for part in range(3):
        (tmp_path / f"{part}.txt").write_text(f"low lower {part}", encoding="utf-8")
    tasks = cs336("tokenizer", "count", tmp_path, "-o", tmp_path / "tasks", "--executor", "local")
    whole = cs336("tokenizer", "count", tmp_path, "-o", tmp_path / "whole")
    assert tasks.code == whole.code == 0, tasks.err + whole.err
    assert (tmp_path / "tasks").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_failed_task_is_told_in_a_line(cs336, tmp_path):
    (tmp_path / "a.jsonl").write_text("none", encoding="utf-8")
    failed = cs336("tokenizer", "count", tmp_path / "a.jsonl", "-o", tmp_path / "out", "--executor", "local")
    assert failed.code == 1
    assert "1 of 1 tasks failed" in failed.err


def test_nothing_to_count_is_wrong_usage(cs336, tmp_path):
    assert cs336("tokenizer", "count", "-o", tmp_path / "a").code == 2
