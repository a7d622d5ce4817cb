"""A real Ray cluster of two nodes on this machine, one of which is killed in the middle of a job."""

import dataclasses
import json
import os
import signal
import time
from pathlib import Path

import pytest

from cs336 import corpus as corpora
from cs336.corpus.counting import count_corpus
from cs336.corpus.work import run_tasks
from cs336.tokenizer import Tokenizer, count_pretokens

pytestmark = pytest.mark.slow


@dataclasses.dataclass(frozen=True)
class Slowly:
    """Writes a file for each task, in some time, and notes who was at it."""

    folder: Path

    def __call__(self, task):
        (self.folder / f"{task}.begun.{os.environ['RAY_NODE_MARK']}.{os.getpid()}").touch()
        time.sleep(0.5)
        if task == 2:
            raise ValueError("a bad record")
        aside = self.folder / f"{task}.tmp.{os.getpid()}"
        aside.write_text(f"task {task}")
        aside.replace(self.folder / f"{task}.done")


@pytest.fixture
def cluster(monkeypatch):
    """A head that works, and a node that may be killed; each has room for one task."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_DEDUP_LOGS", "0")
    monkeypatch.setenv("RAY_NODE_MARK", "head")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        monkeypatch.setenv("RAY_NODE_MARK", "other")
        made.other = made.add_node(num_cpus=1)
        ray.init(address=made.address, log_to_driver=False)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def under_way(folder):
    """Tasks that the other node is at."""
    begun = {path.name.split(".")[0] for path in folder.glob("*.begun.other.*")}
    return begun - {path.name.split(".")[0] for path in folder.glob("*.done")} - {"2"}


def test_a_lost_node_costs_time_and_nothing_else(cluster, tmp_path):
    folder, done = tmp_path / "tasks", []
    folder.mkdir()

    def on_done(task):
        done.append(task)
        if len(done) == 3:
            while not under_way(folder):
                time.sleep(0.02)
            workers = {int(path.suffix[1:]) for path in folder.glob("*.begun.other.*")}
            for worker in workers:
                os.kill(worker, signal.SIGKILL)
            cluster.remove_node(cluster.other, allow_graceful=False)

    outcome = run_tasks(Slowly(folder), range(12), executor="ray", on_done=on_done)
    assert outcome.failed == {2: "a bad record"}
    assert outcome.done == tuple(task for task in range(12) if task != 2)
    assert {path.name: path.read_text() for path in folder.glob("*.done")} == {
        f"{task}.done": f"task {task}" for task in outcome.done
    }
    assert len(list(folder.glob("*.begun.*"))) > 12, "nothing was lost with the node that was killed"

    # The cluster that is left counts, and comes to what one process counts.
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for part in range(5):
        (corpus / f"{part}.txt").write_text(f"low lower {part} lowest größer " * 50, encoding="utf-8")
    count_corpus(corpus, tmp_path / "parts", [], executor="ray")
    count_pretokens([corpus], tmp_path / "whole", [])
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()


def tree_of(directory):
    """What a finished corpus is, but for when and by whom it was made."""
    return {path.name: path.read_bytes() for path in directory.glob("*") if path.suffix in {".npy", ".json"}}


def test_a_corpus_made_by_a_failing_cluster_is_that_of_one_process(cluster, tmp_path):
    text = "low lower lowest größer " * 2_000
    for part in range(8):
        lines = "".join(json.dumps({"text": f"{part} {line} {text}"}) + "\n" for line in range(30))
        (tmp_path / f"{part}.jsonl").write_text(lines, encoding="utf-8")
    specials = ["<|endoftext|>"]
    tokenizer = Tokenizer({number: bytes([number]) for number in range(256)}, [], specials)
    options = {"tokenizer": tokenizer, "tokens_per_shard": 200_000, "task_bytes": 3_000_000}
    inputs = str(tmp_path / "*.jsonl")
    alone = corpora.plan(inputs, out=tmp_path / "alone", **options)
    corpora.run(alone)

    def kill_other(progress):
        if progress.done_tasks == 2 and cluster.other is not None:
            cluster.remove_node(cluster.other, allow_graceful=False)
            cluster.other = None

    spread = corpora.plan(inputs, out=tmp_path / "spread", **options)
    result = corpora.run(spread, executor="ray", progress=kill_other)
    assert result.is_finished
    assert result.num_tasks == 8
    assert cluster.other is None
    assert tree_of(tmp_path / "spread") == tree_of(tmp_path / "alone")
    assert not corpora.verify(tmp_path / "spread").problems
