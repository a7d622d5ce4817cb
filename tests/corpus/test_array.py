"""One plan, done in shares: by an array of jobs under SLURM's variables, and by submitit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cs336 import corpus as corpora
from cs336.tokenizer import Tokenizer

NUM_TASKS = 3


@pytest.fixture
def planned(tmp_path):
    """A plan of five tasks, and the files of the same corpus made at once."""
    for part in range(5):
        lines = "".join(json.dumps({"text": f"{part} {line} " * 50}) + "\n" for line in range(200))
        (tmp_path / f"{part}.jsonl").write_text(lines, encoding="utf-8")
    tokenizer = Tokenizer({number: bytes([number]) for number in range(256)}, [], ["<|endoftext|>"])
    options = {"tokenizer": tokenizer, "tokens_per_shard": 20_000, "task_bytes": 100_000}
    alone = corpora.plan(str(tmp_path / "*.jsonl"), out=tmp_path / "alone", **options)
    corpora.run(alone)
    plan = corpora.plan(str(tmp_path / "*.jsonl"), out=tmp_path / "shared", **options)
    assert len(plan.tasks) >= 5
    return plan, tree_of(tmp_path / "alone")


def tree_of(directory):
    return {path.name: path.read_bytes() for path in directory.glob("*") if path.suffix in {".npy", ".json"}}


def test_an_array_of_jobs_makes_the_same_corpus(planned, tmp_path):
    plan, expected = planned
    cs336 = Path(sys.executable).with_name("cs336")
    if not cs336.exists():
        pytest.skip("the command is not installed")
    script = tmp_path / "job.sbatch"
    script.write_bytes(subprocess.run([cs336, "corpus", "slurm"], check=True, capture_output=True).stdout)
    jobs = []
    for index in range(NUM_TASKS):
        variables = {
            "PATH": f"{cs336.parent}{os.pathsep}{os.environ['PATH']}",
            "SLURM_ARRAY_TASK_ID": str(index),
            "SLURM_ARRAY_TASK_MAX": str(NUM_TASKS - 1),
            "SLURM_CPUS_PER_TASK": "1",
        }
        arguments = ["bash", script, plan.directory]
        jobs.append(subprocess.Popen(arguments, env={**os.environ, **variables}, stderr=subprocess.PIPE, text=True))
    for job in jobs:
        _, errors = job.communicate(timeout=120)
        assert job.returncode == 0, errors
    assert tree_of(plan.directory) == expected
    bare = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    alone = subprocess.run(["bash", script, plan.directory], env=bare, capture_output=True, text=True, check=False)
    assert "this is for sbatch --array" in alone.stderr


def test_submitit_does_a_plan_in_one_line(planned, tmp_path):
    submitit = pytest.importorskip("submitit")
    plan, expected = planned
    executor = submitit.AutoExecutor(folder=tmp_path / "logs", cluster="local")
    executor.update_parameters(timeout_min=2)
    jobs = [
        executor.submit(corpora.run, plan, num_threads=1, task_index=i, num_tasks=NUM_TASKS) for i in range(NUM_TASKS)
    ]
    results = [job.result() for job in jobs]
    assert any(result.is_finished for result in results)
    assert tree_of(plan.directory) == expected
