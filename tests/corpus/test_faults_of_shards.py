"""What must happen when shards are cut off, changed or not those that are wanted: rows 1 to 3 and 13 to 15 of the
table in docs/corpus.md.
"""

import errno
import os
import random
import shutil
import signal
import subprocess

import numpy as np
import pytest

from cs336 import _bpe, corpus
from cs336.corpus.task import run_task
from cs336.data import TokenDataset
from cs336.shards import MANIFEST, read_manifest
from cs336.tokenizer import Tokenizer

EOS = "<|endoftext|>"


def test_row_01_kill_9_leaves_whole_shards_and_the_next_run_goes_on(plan, long_jsonl, command, kit):
    undisturbed = plan(long_jsonl, "undisturbed")
    corpus.run(undisturbed)
    planned = plan(long_jsonl)
    process = command("--plan", planned.directory, "--threads", 1)
    kit.wait_for(planned.directory / "train-00000-00002.npy", process)
    process.kill()
    process.communicate()
    committed = kit.listed(planned.directory)
    assert not (planned.directory / MANIFEST).exists()
    others = {path.name for path in planned.directory.glob("*-*.npy")} - committed
    assert all(name.startswith("train-") for name in others)  # renamed, not listed yet: made again
    before = {name: (planned.directory / name).stat().st_mtime_ns for name in committed}
    corpus.run(planned)
    assert kit.tree(planned.directory) == kit.tree(undisturbed.directory)
    assert before == {name: (planned.directory / name).stat().st_mtime_ns for name in committed}


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
        ended = kit.in_a_child(lambda: run_task(planned, 0, num_threads=2, crash_at=num_steps))  # noqa: B023
        kit.listed(planned.directory)
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
    while kit.in_a_child(lambda: run_task(planned, 0, num_threads=1, crash_at=attempts)) != 0:  # noqa: B023
        attempts += 1
    corpus.run(planned)
    assert kit.tree(planned.directory) == expected


def test_row_02_a_failure_while_sealing_is_made_good(plan, kit, jsonl, monkeypatch):
    undisturbed = plan(jsonl, "undisturbed", shuffle_seed=1)
    corpus.run(undisturbed)
    planned = plan(jsonl, shuffle_seed=1)
    write, calls = _bpe.write_file, []

    def failing(path, content):
        calls.append(path)
        if len(calls) < 3:
            raise OSError(errno.EIO, "failed", str(path))
        write(path, content)

    monkeypatch.setattr(_bpe, "write_file", failing)
    for _ in range(2):
        with pytest.raises(OSError, match="failed"):
            corpus.run(planned)
    assert corpus.run(planned).is_finished
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
        kit.listed(planned.directory)
        subprocess.run(["mount", "-o", "remount,size=10m", str(place)], check=True)
        planned = corpus.plan(jsonl, tokenizer=tokenizer, out=place / "out", tokens_per_shard=1500)
        corpus.run(planned)
        undisturbed = plan(jsonl)
        corpus.run(undisturbed)
        assert kit.tree(planned.directory) == kit.tree(undisturbed.directory)
    finally:
        subprocess.run(["umount", str(place)], check=True)


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
