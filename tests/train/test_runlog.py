import dataclasses
import json
import math
from pathlib import Path

import pytest

from cs336.config import DataConfig, TrainConfig, load_config
from cs336.train.runlog import RunLog, read_metrics


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return TrainConfig(data=DataConfig(train="train.npy"), steps=3, run_dir=str(tmp_path / "run"))


def record_steps(log: RunLog, *kinds_and_steps: tuple[str, int]) -> None:
    for kind, step in kinds_and_steps:
        log.record({"kind": kind, "step": step})


def points(config: TrainConfig) -> list[tuple[str, int]]:
    return [(record["kind"], record["step"]) for record in read_metrics(config.run_dir)]


def test_records_are_read_back_and_what_is_not_finite_is_valid_json(config: TrainConfig) -> None:
    with RunLog(config) as log:
        log.record({"kind": "train", "step": 1, "loss": 1.25})
        log.record({"kind": "diverged", "step": 2, "loss": math.nan, "grad_norm": math.inf})
    lines = (Path(config.run_dir) / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"kind": "train", "step": 1, "loss": 1.25}
    assert math.isnan(float(json.loads(lines[1], parse_constant=pytest.fail)["loss"]))


def test_each_record_reaches_the_file_at_once(config: TrainConfig) -> None:
    with RunLog(config) as log:
        record_steps(log, ("train", 1))
        assert points(config) == [("train", 1)]


def test_a_torn_last_line_is_left_out_and_a_damaged_one_in_the_middle_is_an_error(config: TrainConfig) -> None:
    path = Path(config.run_dir) / "metrics.jsonl"
    path.parent.mkdir()
    path.write_text('{"kind": "train", "step": 1}\n{"kind": "tr')
    assert points(config) == [("train", 1)]
    path.write_text('{"kind": "train", "step": 1}\n{"kind": "tr\n{"kind": "train", "step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 2: damaged record"):
        read_metrics(config.run_dir)


def test_rewind_drops_what_lies_past_the_checkpoint(config: TrainConfig) -> None:
    steps = [("train", 1), ("train", 2), ("valid", 2), ("sample", 2), ("train", 3), ("diverged", 4)]
    for done, kept in [(("train", "valid"), steps[:3]), (("train",), steps[:2]), ((), steps[:1])]:
        with RunLog(config, resume=True) as log:
            (Path(config.run_dir) / "metrics.jsonl").unlink(missing_ok=True)
            record_steps(log, *steps)
            log.rewind(2, done=done)
        assert points(config) == kept


def test_the_config_is_kept_ready_to_run_again(config: TrainConfig) -> None:
    with RunLog(config):
        assert load_config(Path(config.run_dir) / "config.toml") == config


def test_moving_a_run_directory_does_not_make_it_another_run(config: TrainConfig, tmp_path: Path) -> None:
    with RunLog(config):
        pass
    moved = dataclasses.replace(config, run_dir=str(tmp_path / "moved"))
    Path(config.run_dir).rename(moved.run_dir)
    with RunLog(moved, resume=True) as log:
        assert log.is_resumed


def test_facts_accumulate_and_the_first_start_stays(config: TrainConfig) -> None:
    path = Path(config.run_dir) / "run.json"
    with RunLog(config) as log:
        log.start(tokenizer=None, step=0, device="cpu")
        log.describe(result={"step": 3})
        first = json.loads(path.read_text())
    with RunLog(config, resume=True) as log:
        log.start(tokenizer=None, step=3, device="cuda")
        second = json.loads(path.read_text())
    assert first["result"] == {"step": 3}
    assert second["device"] == "cuda"
    assert second["result"] is None
    assert second["started"] == first["started"]
    assert second["resumed"]["step"] == 3
    assert {"cs336", "commit", "uncommitted"} == first["code"].keys()
    assert {"processor", "num_cpus", "python", "torch"} <= first["machine"].keys()


def test_a_second_writer_is_refused_and_the_lock_does_not_outlive_the_first(config: TrainConfig) -> None:
    with RunLog(config), pytest.raises(OSError, match=r"another process is writing"):
        RunLog(config, resume=True)
    with RunLog(config, resume=True):
        pass
