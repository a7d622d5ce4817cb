import json

import pytest

from cs336.corpus import Plan
from cs336.tokenizer import Tokenizer


@pytest.fixture
def inputs(tmp_path):
    """Two files of lines, one bad, and a tokenizer."""
    eos = "<|endoftext|>"
    Tokenizer({byte: bytes([byte]) for byte in range(256)} | {256: eos.encode()}, [], [eos]).save(tmp_path / "t.json")
    lines = "".join(json.dumps({"text": f"document {number}"}) + "\n" for number in range(50))
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl").write_text(lines + "bad\n")
    return tmp_path


def test_plan_run_and_verify(cs336, inputs):
    common = ["--tokenizer", inputs / "t.json", "--on-bad", "skip", "--task-bytes", 1500, "--json"]
    planned = cs336("corpus", "plan", inputs / "*.jsonl", "-o", inputs / "out", *common)
    assert planned.code == 0
    assert (planned.json["inputs"], planned.json["tasks"]) == (2, 2)
    share = cs336("corpus", "run", "--plan", inputs / "out", "--task-index", 0, "--num-tasks", 2, "--json")
    assert (share.code, share.json["finished"], share.json["tasks"]) == (0, False, "1 of 2")
    whole = cs336("corpus", "run", inputs / "*.jsonl", "-o", inputs / "out", *common, "--threads", 2)
    assert whole.code == 0
    assert whole.json["documents"] == 100
    assert whole.json["rejected: invalid JSON"] == whole.json["rejected"] == 1
    checked = cs336("corpus", "verify", inputs / "out", "--inputs", "--json")
    assert (checked.code, checked.json["good"], checked.json["problems"]) == (0, True, [])
    (inputs / "out" / "train-00000-00000.npy").unlink()
    damaged = cs336("corpus", "verify", inputs / "out")
    assert damaged.code == 1
    assert "train-00000-00000.npy: No such file" in damaged.err


def test_a_summary_stands_at_the_end_and_progress_before(cs336, inputs):
    ran = cs336("corpus", "run", inputs / "a.jsonl", "--tokenizer", inputs / "t.json", "-o", inputs / "out")
    assert ran.code == 0
    assert "documents               50\n" in ran.out
    assert "making shards: 100%" in ran.err
    assert "MB/s" in ran.err


def test_a_dry_run_writes_nothing(cs336, inputs):
    arguments = ["corpus", "run", inputs / "a.jsonl", "--tokenizer", inputs / "t.json", "-o", inputs / "out"]
    assert cs336(*arguments, "--dry-run", "--json").json["tasks"] == 1
    assert not (inputs / "out").exists()


def test_wrong_usage_and_failures_have_their_exit_codes(cs336, inputs):
    assert cs336("corpus", "run", inputs / "a.jsonl").code == 2
    arguments = ["corpus", "run", inputs / "b.jsonl", "--tokenizer", inputs / "t.json", "-o", inputs / "out"]
    failed = cs336(*arguments)
    assert failed.code == 1
    assert "b.jsonl: the record at byte" in failed.err
    assert Plan.load(inputs / "out").tasks
    changed = cs336(*arguments, "--on-bad", "skip")
    assert changed.code == 1
    assert "on_bad was 'fail', now 'skip'" in changed.err
    assert cs336("corpus", "run", "--plan", inputs / "out", "--on-bad", "skip").code == 2
