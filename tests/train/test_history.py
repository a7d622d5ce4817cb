import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cs336.config import TrainConfig
from cs336.train.history import add_note, config_differences, find_runs, read_run
from cs336.train.loop import train
from cs336.train.runlog import RunLog


def another(config: TrainConfig, name: str, **changes: Any) -> TrainConfig:
    return dataclasses.replace(config, run_dir=str(Path(config.run_dir).parent / "more" / name), **changes)


def test_a_finished_run_is_summed_up(config: TrainConfig) -> None:
    result = train(config)
    run = read_run(config.run_dir)
    assert (run.status, run.step, run.num_steps, run.num_tokens) == ("finished", 12, 12, result.num_tokens)
    assert (run.valid_loss, run.best_valid_loss) == (result.valid_loss, result.best_valid_loss)
    assert run.bits_per_byte == result.bits_per_byte
    assert run.elapsed_s == pytest.approx(result.elapsed_s)
    assert run.machine.endswith("fp32")


def test_a_run_is_running_while_a_process_writes_and_lost_when_none_does(config: TrainConfig) -> None:
    with RunLog(config) as log:
        log.start(tokenizer=None, step=0)
        log.record({"kind": "train", "step": 3, "tokens": 192, "elapsed_s": 1.5, "loss": 2.5, "tokens_per_s": 9.0})
        run = read_run(config.run_dir)
        assert (run.status, run.step, run.num_tokens, run.train_loss) == ("running", 3, 192, 2.5)
    assert read_run(config.run_dir).status == "lost"


def test_runs_are_found_below_a_directory_in_the_order_of_their_start(config: TrainConfig) -> None:
    train(config)
    train(another(config, "second"))
    place = Path(config.run_dir).parent
    assert [run.path.name for run in find_runs(place)] == ["run", "second"]
    assert [run.path.name for run in find_runs(place / "more", place / "more" / "second")] == ["second"]
    with pytest.raises(FileNotFoundError, match="gone"):
        find_runs(place / "gone")


def test_only_what_differs_is_compared(config: TrainConfig) -> None:
    other = another(config, "other", seed=3, optim=dataclasses.replace(config.optim, lr=0.5))
    runs = []
    for one in (config, other):
        with RunLog(one) as log:
            log.start(tokenizer=None, step=0)
        runs.append(read_run(one.run_dir))
    assert config_differences(runs) == {"optim.lr": (0.01, 0.5), "seed": (0, 3)}
    assert config_differences(runs[:1]) == {}


def test_notes_are_kept_apart_from_what_the_program_writes(config: TrainConfig) -> None:
    train(config)
    for text in ("a first\nnote", "a second"):
        add_note(config.run_dir, text, time="2026-01-01T00:00:00+00:00")
    assert read_run(config.run_dir).notes == ("a first note", "a second")
    with pytest.raises(ValueError, match="the note is empty"):
        add_note(config.run_dir, " ", time="")
    with pytest.raises(FileNotFoundError):
        add_note(Path(config.run_dir) / "gone", "text", time="")


def test_a_damaged_run_file_is_named(config: TrainConfig) -> None:
    train(config)
    (Path(config.run_dir) / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run.json is damaged"):
        read_run(config.run_dir)
