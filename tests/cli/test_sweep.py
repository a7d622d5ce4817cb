import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cs336.tokenizer import Tokenizer, train_bpe


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """A data directory in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("text.txt").write_text("one two three one two three four<|endoftext|>" * 300)
    vocab, merges = train_bpe("text.txt", 270, ["<|endoftext|>"])
    tokenizer = Tokenizer(vocab, merges, ["<|endoftext|>"])
    tokenizer.save("data/tokenizer.json")
    ids = tokenizer.encode_array(Path("text.txt").read_text()).astype(np.uint16)
    np.save("data/train.npy", ids)
    np.save("data/valid.npy", ids[:200])


SMOKE = ("--data", "data", "--preset", "smoke")


def test_a_sweep_prints_its_table_and_passes_over_what_is_done(cs336):
    first = cs336("sweep", "learning-rate", *SMOKE, "--set", "optim.lr=1e-3,2e-3", "--json")
    assert first.code == 0, first.err
    variants = first.json["variants"]
    assert [variant["name"] for variant in variants] == ["lr=1e-3", "lr=2e-3"]
    assert all(variant["mean"] > 0 for variant in variants)
    again = cs336("sweep", "learning-rate", *SMOKE, "--set", "optim.lr=1e-3,2e-3", "--json")
    assert again.json == first.json
    assert again.err.count("done already") == 2
    facts = json.loads(Path("runs/learning-rate/sweep.json").read_text())
    assert facts["question"].endswith("?")
    config = (Path(variants[0]["run_dirs"][0]) / "config.toml").read_text()
    assert "vocab_size = 270" in config  # the tokenizer's, since the recipe does not say


def test_a_dry_run_lists_and_does_nothing(cs336):
    outcome = cs336("sweep", "main-experiment", *SMOKE, "--dry-run")
    assert outcome.code == 0
    assert outcome.out.count("1 not done") == 2
    assert not Path("runs").exists()


def test_a_time_limit_becomes_a_number_of_tokens_with_a_schedule_that_ends_there(cs336):
    outcome = cs336("sweep", "leaderboard", *SMOKE, "--minutes", "0.01", "--json")
    assert outcome.code == 0, outcome.err
    tokens = json.loads(Path("runs/leaderboard/budget.json").read_text())["tokens"]
    (variant,) = outcome.json["variants"]
    assert 0 <= variant["num_tokens"] - tokens < 64
    config = Path("runs/leaderboard/base/seed-0/config.toml").read_text()
    assert 'algorithm = "muon"' in config
    again = cs336("sweep", "leaderboard", *SMOKE, "--minutes", "0.01", "--json")
    assert again.json == outcome.json


def test_some_variants_can_be_run_alone(cs336):
    outcome = cs336("sweep", "best", *SMOKE, "--only", "and-Muon", "--json")
    assert outcome.code == 0, outcome.err
    assert [variant["name"] for variant in outcome.json["variants"]] == ["and-Muon"]
    assert 'algorithm = "muon"' in Path("runs/best/and-Muon/seed-0/config.toml").read_text()


def test_the_recipes_are_listed_with_their_questions(cs336):
    lines = cs336("sweep", "list").out.splitlines()
    assert {line.split()[0] for line in lines} >= {"base", "learning-rate", "batch-size", "main-experiment", "best"}
    assert all(line.endswith("?") for line in lines)


def test_ablations_compare_each_part_on_the_budget_of_the_baseline(cs336):
    outcome = cs336("ablate", *SMOKE, "--set", "optim.lr=1e-2", "--json")
    assert outcome.code == 0, outcome.err
    variants = {variant["name"]: variant for variant in outcome.json["variants"]}
    assert next(iter(variants)) == "baseline"
    assert len(variants) == 8
    assert len({variant["num_tokens"] for variant in variants.values()}) == 1
    assert Path("runs/ablations/post-norm/seed-0/run.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sweep", "learning-rate"), "say what to train on: --data DIRECTORY"),
        (("sweep", "learning-rate", "--data", "gone"), "no such file or directory: gone/train.npy"),
        (
            ("sweep", "learning-rate", "--data", "data", "--preset", "huge"),
            "no preset 'huge'; name one of cpu, gpu, smoke",
        ),
        (("sweep", "base", *SMOKE, "--minutes", "-1"), "--minutes must be positive, got -1"),
        (("ablate", "best", *SMOKE), "has several variants; say which to ablate"),
        (("ablate", "best", "--variant", "x", *SMOKE), "has no variant 'x'"),
        (("sweep", "batch-size", *SMOKE, "--bracket"), "needs a grid over optim.lr alone"),
        (("sweep", "learning-rate", *SMOKE, "--bracket", "--executor", "sbatch"), "give --bracket another --executor"),
        (("sweep", "base", *SMOKE, "--executor", "debug", "--slurm", "gpu"), "--slurm must look like"),
    ],
)
def test_what_does_not_go_together_is_one_line(cs336, arguments, message):
    outcome = cs336(*arguments)
    assert outcome.code != 0
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.slow
def test_the_script_for_sbatch_does_its_task_of_the_array(cs336, monkeypatch):
    command = cs336(
        "sweep", "learning-rate", *SMOKE, "--executor", "sbatch", "--jobs", "2", "--slurm", "partition=gpu", "--json"
    ).json["submit"]
    assert command == "sbatch runs/learning-rate/sweep.sbatch"
    script = Path("runs/learning-rate/sweep.sbatch")
    lines = script.read_text().splitlines()
    assert "#SBATCH --array=0-2%2" in lines
    assert "#SBATCH --partition=gpu" in lines
    bin_dir = Path("bin")
    bin_dir.mkdir()
    (bin_dir / "cs336").write_text(f'#!/bin/sh\nexec {sys.executable} -m cs336 "$@"\n')
    (bin_dir / "cs336").chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_dir.resolve()), prepend=":")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    subprocess.run(["bash", str(script)], check=True, capture_output=True)
    done = sorted(str(path.parent.parent.name) for path in Path("runs").rglob("run.json"))
    assert done == ["lr=0.01"]
    outcome = cs336("sweep", "learning-rate", *SMOKE, "--json")
    assert outcome.err.count("done already") == 1


@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="needs submitit")
def test_an_array_of_jobs(cs336):
    outcome = cs336("sweep", "main-experiment", *SMOKE, "--executor", "debug", "--json")
    assert outcome.code == 0, outcome.err
    assert all(len(variant["losses"]) == 1 for variant in outcome.json["variants"])
