import json
from pathlib import Path

import numpy as np
import pytest

CONFIG = """\
steps = 4
batch_size = 2
log_every = 2
eval_every = 2
device = "cpu"
precision = "fp32"
num_threads = 1

[data]
train = "train.npy"
valid = "valid.npy"

[model]
vocab_size = 256
context_length = 8
d_model = 16
num_layers = 1
num_heads = 2
d_ff = 16
"""


@pytest.fixture(autouse=True)
def two_runs(tmp_path, monkeypatch, cs336):
    monkeypatch.chdir(tmp_path)
    np.save("train.npy", np.arange(500, dtype=np.uint16) % 256)
    np.save("valid.npy", np.arange(50, dtype=np.uint16) % 256)
    Path("run.toml").write_text(CONFIG)
    for name, lr in (("slow", "1e-4"), ("fast", "1e-2")):
        assert cs336("train", "--config", "run.toml", "--run-dir", f"runs/{name}", "--set", f"optim.lr={lr}").code == 0


def test_list_shows_each_run_on_a_line_of_its_own(cs336):
    outcome = cs336("runs", "list")
    lines = [line for line in outcome.out.splitlines() if "runs/" in line]
    assert ["runs/slow" in line for line in lines] == [True, False]
    assert all("finished" in line and "4/4" in line for line in lines)
    assert "\x1b" not in outcome.out
    assert cs336("runs", "list", "gone").code == 1
    Path("empty").mkdir()
    assert cs336("runs", "list", "empty").out == "no runs in empty\n"


def test_list_as_json_has_everything(cs336):
    runs = cs336("runs", "list", "--json").json["runs"]
    assert [run["path"] for run in runs] == ["runs/slow", "runs/fast"]
    assert runs[0]["facts"]["config"]["optim"]["lr"] == 1e-4
    assert {"code", "machine", "data"} <= runs[0]["facts"].keys()


def test_compare_names_the_differences_and_the_results(cs336):
    outcome = cs336("runs", "compare", "runs/slow", "runs/fast")
    rows = {line.split("  ")[0].strip(): line for line in outcome.out.splitlines()}
    assert "0.0001" in rows["optim.lr"]
    assert "0.01" in rows["optim.lr"]
    assert "seed" not in rows
    assert {"validation loss", "machine", "code"} <= rows.keys()
    as_json = cs336("runs", "compare", "runs/slow", "runs/fast", "--json").json
    assert as_json["differences"] == {"optim.lr": [1e-4, 1e-2]}
    assert cs336("runs", "compare").code == 2


def test_a_note_is_shown(cs336):
    assert cs336("runs", "note", "runs/slow", "too slow by far").code == 0
    assert "too slow by far" in cs336("runs", "list").out
    assert "too slow by far" in cs336("runs", "compare", "runs/slow", "runs/fast").out


@pytest.mark.parametrize(("runs", "out"), [(["runs/slow"], "one.png"), (["runs/slow", "runs/fast"], "both.svg")])
def test_plot_draws_one_run_or_several(cs336, runs, out):
    assert cs336("runs", "plot", *runs, "--out", out).code == 0
    content = Path(out).read_bytes()
    assert content.startswith(b"\x89PNG") if out.endswith("png") else b"fast" in content
    assert cs336("runs", "plot", "runs/slow", "--out", "x.nope").code == 1


def test_train_leaves_its_curve(cs336):
    assert Path("runs/slow/curve.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(Path("runs/slow/run.json").read_text())["num_ranks"] == 1
