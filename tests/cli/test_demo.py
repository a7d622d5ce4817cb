import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cs336.cli.demo import Demo
from cs336.experiments.demo import DemoConfig


@pytest.fixture
def arguments(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(
        "<|endoftext|>".join(f"def add{i}(first, second):\n    return first + second\n" * 9 for i in range(40))
    )
    return (
        *("demo", "--text", text, "--run-dir", tmp_path / "demo", "--steps", 4, "--vocab-size", 300, "--device", "cpu"),
        *("--context-length", 16, "--d-model", 16, "--num-layers", 1, "--num-heads", 2, "--batch-size", 4),
    )


def test_the_summary_fits_one_screen_and_tells_the_results(cs336, arguments):
    outcome = cs336(*arguments)
    assert outcome.code == 0, outcome.err
    for words in (
        "bytes/token",
        "tokens/s",
        "validation loss",
        "bits per byte",
        "curve.png",
        "samples.txt",
        "generated",
    ):
        assert words in outcome.out.replace("\n", "")
    assert outcome.out.count("\n") <= 50
    assert "step 4: validation loss" in outcome.err


def test_the_summary_tells_what_was_left_out_and_how_to_go_on(cs336, arguments, tmp_path, monkeypatch):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    arguments = list(arguments)
    arguments.insert(2, tmp_path / "binary")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", [".venv/bin/cs336"])
    out = cs336(*arguments).out
    assert "40 documents, 1 skipped: empty or not UTF-8" in out
    assert f".venv/bin/cs336 generate --checkpoint {tmp_path / 'demo'} --prompt " in out


def test_the_command_has_the_defaults_of_the_library():
    defaults = {field.name: field.default for field in dataclasses.fields(DemoConfig)}
    shared = [field for field in dataclasses.fields(Demo) if field.name != "json"]
    assert {field.name: field.default for field in shared} == {
        field.name: Path(defaults[field.name]) if field.name == "run_dir" else defaults[field.name] for field in shared
    }


def test_json_is_one_object(cs336, arguments):
    result = cs336(*arguments, "--json").json
    assert result["train"]["status"] == "finished"
    assert Path(result["paths"]["curve"]).read_bytes().startswith(b"\x89PNG")


def test_the_run_directory_is_ready_for_generate(cs336, arguments, tmp_path):
    assert cs336(*arguments).code == 0
    outcome = cs336("generate", "--checkpoint", tmp_path / "demo", "--prompt", "def", "--max-new-tokens", 2)
    assert outcome.out.startswith("def")


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--text", "gone.txt"], "no such file or directory: gone.txt"),
        (["--num-heads", "3"], "d_model must be divisible by num_heads, got 16 and 3"),
        (["--vocab-size", "10"], "10"),
        (["--minutes", "-1"], "minutes must be positive, got -1"),
        (["--context-length", "100000"], "must hold more than model.context_length"),
    ],
)
def test_what_does_not_fit_is_one_line(cs336, arguments, extra, words):
    outcome = cs336(*arguments, *extra)
    assert outcome.code == 1
    assert outcome.out == ""
    errors = [line for line in outcome.err.splitlines() if line.startswith("cs336: error: ")]
    assert len(errors) == 1
    assert words in errors[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_trains_ends_with_its_code(arguments, tmp_path, number):
    words = [str(argument) for argument in arguments]
    words[words.index("--steps") + 1] = "1000000"
    process = subprocess.Popen([sys.executable, "-m", "cs336", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    notes = tmp_path / "demo" / "notes.log"
    while process.poll() is None and not notes.exists():
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert b"Traceback" not in err
