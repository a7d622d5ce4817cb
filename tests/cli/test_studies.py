from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_toy_of_sgd_prints_a_row_for_each_number_of_steps(cs336):
    outcome = cs336("experiments", "sgd", "1", "1000", "--steps", "3")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0] == "| steps made | lr 1 | lr 1000 |"
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["0", "1", "2", "3"]


def test_a_report_of_a_single_run(cs336):
    np.save("train.npy", np.arange(500, dtype=np.uint16) % 256)
    np.save("valid.npy", np.arange(50, dtype=np.uint16) % 256)
    small = ("steps=2", "batch_size=2", "eval_every=1", "model.vocab_size=256", "model.context_length=8")
    small += ("model.d_model=16", "model.num_layers=1", "model.num_heads=2", "model.d_ff=16", "device=cpu")
    sets = [argument for each in small for argument in ("--set", each)]
    data = ("--set", "data.train=train.npy", "--set", "data.valid=valid.npy")
    assert cs336("train", "--run-dir", "runs/one", *data, *sets).code == 0
    outcome = cs336("report", "runs", "--out", "out", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json == {"page": "out/report.html", "markdown": "out/report.md"}
    assert "runs/one" in Path("out/report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report",), "name the directories of the runs"),
        (("report", "gone"), "no such directory: gone"),
        (("experiments", "generation", "gone"), "gone holds no whole checkpoint"),
        (("experiments", "all", "--only", "x"), "there is no sweep 'x' here"),
        (("experiments", "all", "--text", "gone.txt", "--valid", "gone.txt"), "no such file or directory: gone.txt"),
    ],
)
def test_what_does_not_go_together_is_one_line(cs336, arguments, message):
    outcome = cs336(*arguments)
    assert outcome.code != 0
    assert message in outcome.err
    assert len([line for line in outcome.err.splitlines() if "error:" in line]) == 1
