"""What must happen when an input is not what it should be: rows 4 to 12, 21 and 22 of the table in docs/corpus.md."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cs336 import _bpe, corpus
from cs336.shards import MANIFEST, read_manifest
from cs336.tokenizer import Tokenizer, train_bpe

EOS = "<|endoftext|>"


def compressors():
    zstandard = pytest.importorskip("zstandard")
    import gzip

    return {"gz": gzip.compress, "zst": zstandard.compress}


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_row_04_what_is_cut_off_is_an_error_in_encoding_and_in_training(suffix, plan, documents, kit, tmp_path):
    path = tmp_path / f"a.jsonl.{suffix}"
    kit.write_jsonl(path, documents, compressors()[suffix])
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 5, 0):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=rf"a\.jsonl\.{suffix}") as caught:
            corpus.run(plan(path, f"out{length}"))
        assert f"byte {length}" in str(caught.value) or length == 0
        assert not (tmp_path / f"out{length}" / MANIFEST).exists()
        with pytest.raises(ValueError, match=rf"a\.jsonl\.{suffix}"):
            train_bpe(path, 300, [EOS])


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_row_05_all_members_are_read_and_garbage_is_an_error(suffix, make, plan, documents, kit, tmp_path, tokenizer):
    compress = compressors()[suffix]
    path = tmp_path / f"a.jsonl.{suffix}"
    lines = kit.write_jsonl(tmp_path / "lines", documents).read_bytes()
    parts = [lines[:100], b"", lines[100:777], lines[777:]]
    path.write_bytes(b"".join(map(compress, parts)))
    assert list(kit.read_back(make(path))) == [tokenizer.encode_ordinary(text) for text in documents]
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"garbage")
    with pytest.raises(ValueError, match=f"goes on at byte {size}"):
        corpus.run(plan(path, "garbage"))


BAD = {
    b'{"text": "unfinished': "invalid JSON",
    b'{"text": "a"} {"text": "b"}': "invalid JSON",
    b'["text"]': "not an object",
    b'{"txt": "a"}': "missing text",
    b'{"text": null}': "not a string",
    b'{"text": ["a"]}': "not a string",
    b'{"text": "a", "text": "b"}': "repeated text",
    b'{"text": "\xff"}': "invalid UTF-8",
}


def with_bad_lines(path):
    """A bad line after each of the good ones."""
    good = [f"the cat {number}" for number in range(len(BAD) + 1)]
    lines = [json.dumps({"text": text}).encode() for text in good]
    mixed = [line for pair in zip(lines, [*BAD, b""], strict=True) for line in pair]
    path.write_bytes(b"\n".join(mixed))
    return good


def test_row_06_bad_records_fail_or_are_counted_or_kept(plan, make, kit, tokenizer, tmp_path):
    import base64

    path = tmp_path / "a.jsonl"
    good = with_bad_lines(path)
    expected = [tokenizer.encode_ordinary(text) for text in good]
    first = next(iter(BAD))
    with pytest.raises(ValueError, match=rf"a\.jsonl: the record at byte \d+ \({len(first)} bytes\) .*invalid JSON"):
        corpus.run(plan(path, "fail"))
    for policy in ("skip", "quarantine"):
        out = make(path, policy, on_bad=policy, task_bytes=60)
        assert list(kit.read_back(out)) == expected
        manifest = read_manifest(out)
        assert (manifest.totals["documents"], manifest.totals["rejected"]) == (len(good), len(BAD))
        assert manifest.totals["blank"] == 0
    kept = [json.loads(line) for each in sorted((out / "quarantine").iterdir()) for line in each.open()]
    assert {base64.b64decode(line["raw"]): line["reason"] for line in kept} == BAD
    content = path.read_bytes()
    for line in kept:
        assert content[line["offset"] :][: line["size_bytes"]] == base64.b64decode(line["raw"])
    assert corpus.verify(out).is_good
    next((out / "quarantine").iterdir()).write_text("")
    assert "is missing or has changed" in corpus.verify(out).problems[0]
    assert corpus.run(plan(path, "budget", on_bad="skip", max_rejected=len(BAD))).is_finished
    for task_bytes in (60, 1 << 20):  # the budget is the whole job's, however it is divided
        with pytest.raises(ValueError, match=r"more than .*7.* rejected|rejected, more than max_rejected = 7"):
            corpus.run(plan(path, f"over{task_bytes}", on_bad="skip", max_rejected=7, task_bytes=task_bytes))


@pytest.mark.parametrize("suffix", ["txt", "jsonl"])
def test_row_07_invalid_utf8_is_rejected_or_replaced(suffix, plan, make, kit, tokenizer, tmp_path):
    path = tmp_path / f"a.{suffix}"
    pieces = [b"the", b"caf\xe9 \xe6\x97 cat", "日本".encode()]
    if suffix == "txt":
        path.write_bytes(EOS.encode().join(pieces))
    else:
        path.write_bytes(b"".join(b'{"text": "' + piece + b'"}\n' for piece in pieces))
    with pytest.raises(ValueError, match=r"invalid UTF-8: byte .* is 0xE9"):
        corpus.run(plan(path, "strict", separator=EOS))
    out = make(path, separator=EOS, invalid_utf8="replace")
    replaced = [piece.decode(errors="replace") for piece in pieces]
    assert list(kit.read_back(out)) == [tokenizer.encode_ordinary(text) for text in replaced]
    assert read_manifest(out).totals["repaired_documents"] == 1


def test_row_08_surrogates_are_paired_or_replaced_as_in_every_method(make, kit, tokenizer, tmp_path):
    texts = ["\ud83d\ude42", "a\ud83d b", "\ude42\ud83d", "\ud83d\ud83d\ude42"]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    found = list(kit.read_back(make(path)))
    assert found == [tokenizer.encode(text) for text in texts] == tokenizer.encode_batch(texts)
    assert [tokenizer.decode(ids) for ids in found] == ["🙂", "a\ufffd b", "\ufffd\ufffd", "\ufffd🙂"]


def test_row_09_byte_order_marks_line_ends_and_nul(make, kit, tokenizer, tmp_path):
    jsonl, text = tmp_path / "a.jsonl", tmp_path / "b.txt"
    jsonl.write_bytes(b'\xef\xbb\xbf{"text": "a\\u0000\\r\\n"}\r\n\r\n{"text": "\xef\xbb\xbfb"}\r\n')
    text.write_bytes(b"\xef\xbb\xbfa\0\r\n<|endoftext|>\r\n")
    out = make([jsonl, text], separator=EOS)
    expected = ["a\0\r\n", "\ufeffb", "\ufeffa\0\r\n"]
    assert list(kit.read_back(out)) == [tokenizer.encode_ordinary(text) for text in expected]
    assert read_manifest(out).totals["blank"] == 2


def test_row_10_nothing_is_a_corpus_too(make, kit, tmp_path):
    for name, content in (("a.jsonl", b""), ("b.txt", b""), ("c.jsonl", b'{"text": ""}\n'), ("d.txt", b"\n")):
        (tmp_path / name).write_bytes(content)
    out = make([tmp_path / name for name in ("a.jsonl", "b.txt", "c.jsonl", "d.txt")], separator=EOS)
    totals = read_manifest(out).totals
    assert (totals["documents"], totals["empty_documents"], totals["tokens"]) == (1, 1, 1)
    empty = make(tmp_path / "a.jsonl", "empty")
    assert read_manifest(empty).shards == ()
    assert corpus.verify(empty).is_good


def peak_mb_of(plan):
    """The memory that a process of its own needs at most to make a corpus.

    By /proc: what `getrusage` tells of a child begins with the memory of whoever started it.
    """
    script = "import sys; from cs336 import corpus; corpus.run(corpus.Plan.load(sys.argv[1]), num_threads=2); "
    script += "print(open('/proc/self/status').read())"
    words = [sys.executable, "-c", script, str(plan.directory)]
    told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return int(re.search(r"VmHWM:\s+(\d+) kB", told)[1]) >> 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of a process")
def test_row_11_a_line_without_end_is_passed_over_and_a_long_one_is_read_in_bounded_memory(
    kit, plan, tokenizer, tmp_path
):
    """Lines of 30 and 240 MB are told apart by their memory only if they may be documents."""
    peaks = {}
    for name, size_mb, limit_mb in (("small", 30, 10), ("long", 240, 10), ("document", 30, 128)):
        path = tmp_path / f"{name}.jsonl"
        line = b'{"text": "' + b"the cat " * (size_mb << 17) + b'"}'
        path.write_bytes(b'{"text": "the"}\n' + line + b'\n{"text": "cat"}\n')
        planned = plan(path, name, on_bad="quarantine", max_record_bytes=limit_mb << 20, tokens_per_shard=1 << 24)
        peaks[name] = peak_mb_of(planned)
        totals = read_manifest(planned.directory).totals
        if name == "document":
            assert (totals["documents"], totals["text_bytes"]) == (3, 6 + (size_mb << 20))
        else:
            assert list(kit.read_back(planned.directory)) == [
                tokenizer.encode_ordinary(text) for text in ("the", "cat")
            ]
            assert read_manifest(planned.directory).inputs[0]["rejected_by_reason"] == {"too long": 1}
            kept = json.loads(next((planned.directory / "quarantine").iterdir()).read_text())
            assert kept["size_bytes"] == len(line)
        path.unlink()
    assert peaks["long"] < peaks["small"] + 30  # it does not grow with the line
    assert peaks["document"] < peaks["small"] + 12 * 30  # the line, its text, its ids, in both widths


def test_row_11_the_limit_is_exact(make, tmp_path):
    exact = tmp_path / "b.jsonl"
    exact.write_bytes(b'{"text": "abc"}\n' * 3)
    for limit, rejected in ((15, 0), (14, 3)):
        out = make(exact, f"limit{limit}", on_bad="skip", max_record_bytes=limit)
        assert read_manifest(out).totals["rejected"] == rejected


def test_row_12_an_input_that_changed_is_refused(plan, jsonl, documents, kit, tmp_path):
    content, status = jsonl.read_bytes(), jsonl.stat()

    def restore_times():
        os.utime(jsonl, ns=(status.st_atime_ns, status.st_mtime_ns))

    planned = plan(jsonl, fingerprint="full")
    jsonl.write_bytes(content + b"\n")
    with pytest.raises(ValueError, match=r"a\.jsonl has changed since it was planned: its size was"):
        corpus.run(planned)
    middle = len(content) // 2
    jsonl.write_bytes(content[:middle] + b"x" + content[middle + 1 :])
    restore_times()
    with pytest.raises(ValueError, match="its content was"):
        corpus.run(planned)
    jsonl.write_bytes(content)
    with pytest.raises(ValueError, match="its time of change was"):
        corpus.run(planned)
    jsonl.unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.jsonl"):
        corpus.run(planned)
    assert not list(planned.directory.glob("train-*"))
    jsonl.write_bytes(content)
    restore_times()
    assert corpus.run(planned).is_finished


def test_row_12_an_input_that_changes_meanwhile_leaves_nothing(plan, jsonl, monkeypatch):
    planned = plan(jsonl)
    work = _bpe.run_corpus_task

    def changing(*arguments, **options):
        report = work(*arguments, **options)
        jsonl.write_bytes(jsonl.read_bytes() + b"\n")
        return report

    monkeypatch.setattr(_bpe, "run_corpus_task", changing)
    with pytest.raises(ValueError, match="has changed since it was planned"):
        corpus.run(planned)
    assert not (planned.directory / MANIFEST).exists()
    assert not list((planned.directory / "journal").iterdir())


def test_row_12_a_file_that_is_written_to_while_it_is_read_is_an_error(plan, long_jsonl, command, kit):
    planned = plan(long_jsonl)
    process = command("--plan", planned.directory, "--threads", 1)
    kit.wait_for(planned.directory / "train-00000-00001.npy", process)
    with long_jsonl.open("ab") as file:
        file.write(b"\n")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "changed" in errors
    assert not (planned.directory / MANIFEST).exists()


def test_row_21_a_pattern_that_backtracks_without_end_is_an_error(jsonl, tmp_path):
    jsonl.write_text(json.dumps({"text": "a" * 5000}) + "\n")
    vocab = {index: bytes([index]) for index in range(256)} | {256: EOS.encode()}
    hostile = Tokenizer(vocab, [], [EOS], pattern=r"x |(?:(?=a)a+)+b")
    with pytest.raises(ValueError, match="less backtracking"):
        corpus.run(corpus.plan(jsonl, tokenizer=hostile, out=tmp_path / "out"))


def test_row_22_special_tokens_in_documents_are_text_unless_asked_for(make, kit, tokenizer, tmp_path):
    texts = [f"a{EOS}b", EOS * 2]
    path = kit.write_jsonl(tmp_path / "a.jsonl", texts)
    ordinary = make(path)
    assert list(kit.read_back(ordinary)) == [tokenizer.encode_ordinary(text) for text in texts]
    special = make(path, "special", special_text="special")
    assert list(kit.read_back(special)) == [tokenizer.encode(text) for text in texts]
    for out in (ordinary, special):
        assert read_manifest(out).totals["special_tokens"] == 3
