"""What must happen when something goes wrong: a test for each row of the table in docs/corpus.md."""

import contextlib
import errno
import faulthandler
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cs336 import _bpe, corpus
from cs336.corpus import executors
from cs336.corpus.task import run_task
from cs336.data import TokenDataset
from cs336.shards import MANIFEST, read_journal, read_manifest
from cs336.tokenizer import Tokenizer, train_bpe

EOS = "<|endoftext|>"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def plan(tokenizer, tmp_path):
    """Plans a corpus of small shards."""

    def make(inputs, out="out", **options):
        options = {"tokens_per_shard": 1500} | options
        return corpus.plan(inputs, tokenizer=tokenizer, out=tmp_path / out, **options)

    return make


@pytest.fixture
def command(tmp_path, tokenizer):
    """Starts `cs336 corpus run` as a process of its own."""

    def start(*arguments, **environment):
        environment = os.environ | {key: str(value) for key, value in environment.items()}
        words = [sys.executable, "-m", "cs336", "corpus", "run", *map(str, arguments)]
        return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


@pytest.fixture
def long_jsonl(kit, documents, tmp_path):
    """Takes some tenths of a second, in many shards."""
    return kit.write_jsonl(tmp_path / "in" / "long.jsonl", documents * 80)


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)


def listed(directory):
    """Check that each shard in a journal is whole, and return their names."""
    names = set()
    for path in (directory / "journal").glob("*.jsonl"):
        for shard in read_journal(path).shards:
            for name, size_bytes, blake3 in shard.files():
                assert _bpe.hash_file(directory / name) == (size_bytes, blake3)
                names.add(name)
    return names


def test_row_01_kill_9_leaves_whole_shards_and_the_next_run_goes_on(plan, long_jsonl, command, kit):
    undisturbed = plan(long_jsonl, "undisturbed")
    corpus.run(undisturbed)
    planned = plan(long_jsonl)
    process = command("--plan", planned.directory, "--threads", 1)
    wait_for(planned.directory / "train-00000-00002.npy", process)
    process.kill()
    process.communicate()
    committed = listed(planned.directory)
    assert not (planned.directory / MANIFEST).exists()
    others = {path.name for path in planned.directory.glob("*-*.npy")} - committed
    assert all(name.startswith("train-") for name in others)  # renamed, not listed yet: made again
    before = {name: (planned.directory / name).stat().st_mtime_ns for name in committed}
    corpus.run(planned)
    assert kit.tree(planned.directory) == kit.tree(undisturbed.directory)
    assert before == {name: (planned.directory / name).stat().st_mtime_ns for name in committed}


def in_a_child(function):
    """Run a function in a child process that may die; return how it ended."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            faulthandler.disable()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            function()
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_row_02_a_crash_at_any_step_is_made_good_by_the_next_run(plan, kit, documents, tmp_path):
    """Every step of the way to disk: temporary files, writes, syncs, renames, half a line, a line."""
    path = tmp_path / "a.jsonl"
    kit.write_jsonl(path, documents[:20])
    path.write_text(path.read_text() + "{}\n")
    options = {"valid_fraction": 0.4, "sources": True, "on_bad": "quarantine"}
    undisturbed = plan(path, "undisturbed", **options)
    corpus.run(undisturbed)
    expected = kit.tree(undisturbed.directory)
    num_steps = 0
    while True:
        planned = plan(path, f"crash{num_steps}", **options)
        ended = in_a_child(lambda: run_task(planned, 0, num_threads=2, crash_at=num_steps))  # noqa: B023
        listed(planned.directory)
        assert corpus.run(planned).is_finished
        assert kit.tree(planned.directory) == expected, f"after a crash at step {num_steps}"
        shutil.rmtree(planned.directory)
        if ended == 0:
            break
        assert ended == -signal.SIGABRT
        num_steps += 1
    assert num_steps > 30

    # And one directory in which every run crashes a step later than the one before, until one does not.
    planned = plan(path, "again", **options)
    attempts = 0
    while in_a_child(lambda: run_task(planned, 0, num_threads=1, crash_at=attempts)) != 0:  # noqa: B023
        attempts += 1
    corpus.run(planned)
    assert kit.tree(planned.directory) == expected


def test_row_02_a_failure_while_shuffling_or_sealing_is_made_good(plan, kit, jsonl, monkeypatch):
    undisturbed = plan(jsonl, "undisturbed", shuffle_seed=1)
    corpus.run(undisturbed)
    planned = plan(jsonl, shuffle_seed=1)
    write, calls = _bpe.write_file, []

    def failing(path, content):
        calls.append(path)
        if len(calls) % 3 == 0:
            raise OSError(errno.EIO, "failed", str(path))
        write(path, content)

    monkeypatch.setattr(_bpe, "write_file", failing)
    for _ in range(100):
        with contextlib.suppress(OSError):
            corpus.run(planned)
            break
    assert len(calls) > 9
    assert kit.tree(planned.directory) == kit.tree(undisturbed.directory)


@pytest.mark.parametrize("size_kb", [24, 60, 100])
def test_row_03_a_full_disk_is_named_and_a_rerun_resumes(size_kb, tokenizer, kit, jsonl, plan, tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    try:
        planned = corpus.plan(jsonl, tokenizer=tokenizer, out=place / "out", tokens_per_shard=1500)
        with pytest.raises(OSError, match=r"cannot write \d+ bytes \(No space left") as caught:
            corpus.run(planned)
        assert caught.value.errno == errno.ENOSPC
        assert str(place) in str(caught.value.filename)
        listed(planned.directory)
        subprocess.run(["mount", "-o", "remount,size=10m", str(place)], check=True)
        planned = corpus.plan(jsonl, tokenizer=tokenizer, out=place / "out", tokens_per_shard=1500)
        corpus.run(planned)
        undisturbed = plan(jsonl)
        corpus.run(undisturbed)
        assert kit.tree(planned.directory) == kit.tree(undisturbed.directory)
    finally:
        subprocess.run(["umount", str(place)], check=True)


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


def test_row_11_a_record_without_end_is_rejected_in_bounded_memory(kit, make, tokenizer, tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "the"}\n')
        file.seek(1 << 30, os.SEEK_CUR)  # a gigabyte of NUL, without a line's end
        file.write(b'\n{"text": "cat"}\n')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    out = make(path, on_bad="quarantine", max_record_bytes=10 << 20)
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert list(kit.read_back(out)) == [tokenizer.encode_ordinary(text) for text in ("the", "cat")]
    assert read_manifest(out).inputs[0]["rejected_by_reason"] == {"too long": 1}
    assert json.loads(next((out / "quarantine").iterdir()).read_text())["size_bytes"] == 1 << 30
    assert grown_kb < 150_000
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


def test_row_13_the_type_follows_from_the_greatest_id(tmp_path, jsonl):
    for last, dtype in ((65_535, np.uint16), (65_536, np.uint32)):
        vocab = {index: bytes([index]) for index in range(256)} | {last: EOS.encode()}
        planned = corpus.plan(jsonl, tokenizer=Tokenizer(vocab, [], [EOS]), out=tmp_path / str(last))
        corpus.run(planned)
        dataset = TokenDataset.open(planned.directory)
        assert dataset.ids.dtype == dtype
        assert dataset.ids.max() == last
        assert corpus.verify(planned.directory).is_good


def test_row_14_shards_of_another_tokenizer_are_refused(make, jsonl, tokenizer):
    out = make(jsonl)
    assert len(TokenDataset.open(out, vocab_size=284, tokenizer_sha256=tokenizer.sha256, eos_id=tokenizer.eos_id))
    for options, message in (
        ({"vocab_size": 283}, "holds id 283, but the model's vocab_size is 283"),
        ({"tokenizer_sha256": "0" * 64}, "was made with a tokenizer with the hash"),
        ({"eos_id": 5}, "documents that end with id 283, but the model's is 5"),
        ({"split": "valid"}, "holds no valid documents"),
    ):
        with pytest.raises(ValueError, match=message):
            TokenDataset.open(out, **options)


def test_row_15_changed_shards_are_found(make, jsonl):
    out = make(jsonl, sources=True)
    shard = read_manifest(out).shards[1]
    for name in (shard.file, shard.ends_file, shard.sources_file):
        path = out / name
        content = path.read_bytes()
        for place in (3, 100, len(content) - 1):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            assert any(name in problem for problem in corpus.verify(out).problems)
        path.write_bytes(content[:-2])
        assert any(f"{name} has" in problem for problem in corpus.verify(out).problems)
        path.unlink()
        assert any(f"{name}: No such file" in problem for problem in corpus.verify(out).problems)
        path.write_bytes(content)
    path = out / shard.file
    content = path.read_bytes()
    path.write_bytes(content[:-2])
    with pytest.raises(ValueError, match="is not a whole"):
        TokenDataset.open(out)
    path.write_bytes(content)
    assert corpus.verify(out).is_good
    shutil.copy(path, out / "train-00009-00000.npy")
    assert corpus.verify(out).problems == ("train-00009-00000.npy is in no manifest",)


def test_row_15_a_manifest_that_was_changed_is_never_believed(make, jsonl, plan, kit):
    out = make(jsonl)
    draw = random.Random(0)
    for name in (MANIFEST, "plan.json"):
        content = (out / name).read_bytes()
        for _ in range(60):
            damaged = bytearray(content)
            if draw.random() < 0.3:
                del damaged[draw.randrange(len(damaged)) :]
            else:
                for _ in range(draw.randrange(1, 4)):
                    damaged[draw.randrange(len(damaged))] = draw.randrange(256)
            (out / name).write_bytes(damaged)
            if damaged != content:
                with pytest.raises(ValueError, match=rf"{name}|not finished"):
                    corpus.verify(out)
        (out / name).write_bytes(content)
    # Of a journal what does not check is done again.
    (out / MANIFEST).unlink()
    expected = kit.tree(out)
    journal = out / "journal" / "00000.jsonl"
    content = journal.read_bytes()
    for _ in range(12):
        damaged = bytearray(content[: draw.randrange(len(content))] + draw.randbytes(draw.randrange(30)))
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        journal.write_bytes(damaged)
        run_task(corpus.Plan.load(out), 0)
        assert kit.tree(out) == expected


def test_row_16_a_second_writer_is_refused_by_name(plan, jsonl, long_jsonl, command):
    planned = plan(long_jsonl)
    process = command("--plan", planned.directory, "--threads", 1)
    try:
        wait_for(planned.directory / "train-00000-00000.npy", process)
        os.kill(process.pid, signal.SIGSTOP)
        for shares in ({}, {"task_index": 1, "num_tasks": 2}):
            with pytest.raises(corpus.CorpusLockedError) as caught:
                corpus.run(planned, **shares)
            assert f"process {process.pid} on host {socket.gethostname()}" in str(caught.value)
    finally:
        process.kill()
        process.communicate()
    assert corpus.run(planned).is_finished  # the lock of one that died holds nobody up


def test_row_16_the_lock_of_another_host_holds_while_it_is_touched(plan, jsonl):
    planned = plan(jsonl)
    lock = planned.directory / "locks" / "0-of-1.json"
    lock.parent.mkdir()
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 12}))
    with pytest.raises(corpus.CorpusLockedError, match="process 12 on host elsewhere"):
        corpus.run(planned)
    os.utime(lock, (time.time() - 1000, time.time() - 1000))
    assert corpus.run(planned).is_finished


def test_row_17_other_arguments_are_refused_with_what_changed(plan, jsonl, documents, kit, tmp_path):
    plan(jsonl)
    other = kit.write_jsonl(tmp_path / "in" / "b.jsonl", documents)
    for inputs, options, message in (
        (jsonl, {"tokens_per_shard": 7}, "tokens_per_shard was 1500, now 7"),
        (jsonl, {"valid_fraction": 0.5}, "valid_fraction was 0.0, now 0.5"),
        ([jsonl, other], {}, r"input .*b\.jsonl is new"),
        (other, {}, r"input .*a\.jsonl is missing"),
    ):
        with pytest.raises(ValueError, match=message):
            plan(inputs, **options)
    assert plan(jsonl).tasks
    jsonl.write_text('{"text": "other"}')
    with pytest.raises(ValueError, match=r"input .*a\.jsonl has changed"):
        plan(jsonl)


def test_row_18_tasks_that_fail_are_listed_and_the_others_done(plan, kit, documents, tmp_path, monkeypatch):
    for name in "abcd":
        kit.write_jsonl(tmp_path / "in" / f"{name}.jsonl", documents if name in "ac" else ["good"])
    for name in "bd":
        (tmp_path / "in" / f"{name}.jsonl").write_text("bad\n")
    planned = plan(tmp_path / "in", task_bytes=1 << 14)
    with pytest.raises(corpus.TasksFailedError, match=r"2 tasks failed, the others are done: .*b\.jsonl.*d\.jsonl"):
        corpus.run(planned)
    done = [read_journal(path) for path in (planned.directory / "journal").iterdir()]
    assert sum(journal.report is not None for journal in done) == len(planned.tasks) - 2

    tries = []

    def flaky(plan, task, **options):
        tries.append(task)
        if tries.count(task) == 1:
            raise OSError(errno.EIO, "the network was gone")
        return run_task(plan, task, **options)

    monkeypatch.setattr(executors, "run_task", flaky)
    planned = plan(tmp_path / "in" / "a.jsonl", "flaky")
    assert corpus.run(planned).is_finished
    assert sorted(tries) == sorted([*range(len(planned.tasks))] * 2)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_row_19_a_signal_stops_a_run_that_can_go_on(number, code, plan, long_jsonl, command, kit):
    planned = plan(long_jsonl)
    process = command("--plan", planned.directory, "--threads", 1)
    wait_for(planned.directory / "train-00000-00001.npy", process)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code
    assert not list(planned.directory.glob(".*.tmp.*"))
    listed(planned.directory)
    process = command("--plan", planned.directory, "--json")
    assert json.loads(process.communicate(timeout=60)[0])["finished"]
    undisturbed = plan(long_jsonl, "undisturbed")
    corpus.run(undisturbed)
    assert kit.tree(planned.directory) == kit.tree(undisturbed.directory)


def test_row_20_a_fork_after_threads_works(plan, jsonl, kit):
    first, second = plan(jsonl), plan(jsonl, "second")
    corpus.run(first, num_threads=2)
    assert in_a_child(lambda: corpus.run(second, num_threads=2)) == 0
    assert kit.tree(first.directory) == kit.tree(second.directory)


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


def test_row_28_threads_tasks_hash_seeds_and_locales_change_nothing(plan, long_jsonl, command, kit):
    options = {"task_bytes": 200_000, "valid_fraction": 0.2}
    base = plan(long_jsonl, "base", **options)
    corpus.run(base, num_threads=1)
    expected = kit.tree(base.directory)
    for threads in (2, 5):
        planned = plan(long_jsonl, f"threads{threads}", **options)
        corpus.run(planned, num_threads=threads)
        assert kit.tree(planned.directory) == expected
    planned = plan(long_jsonl, "hash", **options)
    process = command("--plan", planned.directory, PYTHONHASHSEED=7, LC_ALL="C", PYTHONUTF8=0, TZ="Asia/Tokyo")
    assert process.communicate(timeout=60)[1] is not None
    assert process.returncode == 0
    assert kit.tree(planned.directory) == expected


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="needs the source tree")
def test_the_table_of_the_documentation_names_these_tests():
    page = (ROOT / "docs" / "corpus.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|.*\|$", page, re.MULTILINE)
    assert [int(row) for row in rows] == [*range(1, 23), 28]
    named = set(re.findall(r"`(test_row_\w+)`", page))
    tests = {name for name in globals() if name.startswith("test_row_")}
    assert named == tests
    for line in page.splitlines():
        if found := re.match(r"\| (\d+) \|", line):
            assert f"test_row_{int(found[1]):02}_" in line
