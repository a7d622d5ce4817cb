import dataclasses
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from cs336.config import TrainConfig
from cs336.train import trackers
from cs336.train.loop import train
from cs336.train.runlog import read_metrics


def scalars(run_dir: str) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(Path(run_dir) / "tensorboard"))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_gets_what_the_records_say(config: TrainConfig) -> None:
    pytest.importorskip("tensorboard")
    config = dataclasses.replace(config, trackers=("tensorboard",), sample_every=6, sample_prompts=("a",))
    train(config)
    found = scalars(config.run_dir)
    for kind in ("train", "valid"):
        records = [record for record in read_metrics(config.run_dir) if record["kind"] == kind]
        assert [step for step, _ in found[f"{kind}/loss"]] == [record["step"] for record in records]
        losses = [record["loss"] for record in records]
        assert [value for _, value in found[f"{kind}/loss"]] == pytest.approx(losses, rel=1e-6)
    assert {"train/lr", "train/grad_norm", "train/tokens_per_s"} <= found.keys()


def test_trackers_change_nothing_about_the_run(config: TrainConfig) -> None:
    pytest.importorskip("tensorboard")
    tracked = dataclasses.replace(config, trackers=("tensorboard",), run_dir=config.run_dir + "_tracked")
    assert train(config).valid_loss == train(tracked).valid_loss


@pytest.mark.slow
def test_wandb_keeps_a_run_offline(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(dataclasses.replace(config, trackers=("wandb",)))
    runs = list((Path(config.run_dir) / "wandb").glob("offline-run-*"))
    assert len(runs) == 1
    assert any(file.suffix == ".wandb" and file.stat().st_size for file in runs[0].iterdir())


class FakeWandb(types.ModuleType):
    """Stands in for the service: remembers what it is told."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.inits: list[dict[str, Any]] = []
        self.logged: list[dict[str, Any]] = []
        self.num_finished = 0

    def init(self, **options: Any) -> "FakeWandb":
        self.inits.append(options)
        return self

    def define_metric(self, *_: object, **__: object) -> None:
        pass

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def finish(self) -> None:
        self.num_finished += 1


def test_wandb_gets_config_records_and_the_same_run_when_resumed(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(trackers, "require_extra", lambda *_, **__: None)
    config = dataclasses.replace(config, trackers=("wandb",))
    train(config, time_limit_s=0.0)
    train(config, resume=True)
    first, second = fake.inits
    assert first["id"] == second["id"]
    assert len(first["id"]) == 8
    assert first["config"]["optim"]["lr"] == 1e-2
    losses = {entry["step"]: entry["valid/loss"] for entry in fake.logged if "valid/loss" in entry}
    assert losses == {r["step"]: r["loss"] for r in read_metrics(config.run_dir) if r["kind"] == "valid"}
    assert fake.num_finished == 2


def test_a_tracker_that_fails_is_reported_and_the_run_goes_on(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(trackers, "require_extra", lambda *_, **__: None)

    def fail(_values: dict[str, Any]) -> None:
        raise ConnectionError("the service is down")

    monkeypatch.setattr(fake, "log", fail)
    with pytest.warns(UserWarning, match=r"the tracker wandb failed and is left out.*service is down"):
        assert train(dataclasses.replace(config, trackers=("wandb",))).status == "finished"


def test_a_missing_extra_is_named_before_anything_is_written(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cs336 import _extras

    monkeypatch.setattr(_extras, "find_spec", lambda _name: None)
    with pytest.raises(ModuleNotFoundError, match=r"the tracker wandb needs wandb: pip install 'cs336\[wandb\]'"):
        train(dataclasses.replace(config, trackers=("wandb",)))
    assert not Path(config.run_dir).exists()


@pytest.mark.slow
def test_no_tracker_is_imported_unless_a_config_names_it() -> None:
    program = (
        "import json, sys; import cs336.train.launch; "
        "print(json.dumps([m for m in ('wandb', 'tensorboard', 'submitit') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
