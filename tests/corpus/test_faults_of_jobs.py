"""What must happen when jobs meet, stop, fail or are started otherwise: rows 16 to 20 and 28 of the table in
docs/corpus.md.
"""

import errno
import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from cs336 import corpus
from cs336.corpus import executors
from cs336.corpus.task import run_task
from cs336.shards import read_journal

ROOT = Path(__file__).parents[2]


def test_row_16_a_second_writer_is_refused_by_name(plan, jsonl, long_jsonl, command, kit):
    planned = plan(long_jsonl)
    process = command("--plan", planned.directory, "--threads", 1)
    try:
        kit.wait_for(planned.directory / "train-00000-00000.npy", process)
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
    kit.wait_for(planned.directory / "train-00000-00001.npy", process)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code
    assert not list(planned.directory.glob(".*.tmp.*"))
    kit.listed(planned.directory)
    process = command("--plan", planned.directory, "--json")
    assert json.loads(process.communicate(timeout=60)[0])["finished"]
    undisturbed = plan(long_jsonl, "undisturbed")
    corpus.run(undisturbed)
    assert kit.tree(planned.directory) == kit.tree(undisturbed.directory)


def test_row_20_a_fork_after_threads_works(plan, jsonl, kit):
    first, second = plan(jsonl), plan(jsonl, "second")
    corpus.run(first, num_threads=2)
    assert kit.in_a_child(lambda: corpus.run(second, num_threads=2)) == 0
    assert kit.tree(first.directory) == kit.tree(second.directory)


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
    files = Path(__file__).parent.glob("test_*.py")
    tests = {
        name for file in files for name in re.findall(r"^def (test_row_\w+)", file.read_text("utf-8"), re.MULTILINE)
    }
    assert named == tests
    for line in page.splitlines():
        if found := re.match(r"\| (\d+) \|", line):
            assert f"test_row_{int(found[1]):02}_" in line
