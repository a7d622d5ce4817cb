"""What must never lose a run, row by row of the table in docs/training.md."""

import dataclasses
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from cs336.config import DataConfig, OptimConfig, ScheduleConfig, TrainConfig, to_toml
from cs336.train import durable
from cs336.train.checkpoint import latest_checkpoint, read_checkpoint
from cs336.train.loop import train
from cs336.train.runlog import CLOCK_KEYS, read_metrics


class Bomb:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return os._exit, (66,)


def elsewhere(config: TrainConfig, name: str, **changes: Any) -> TrainConfig:
    return dataclasses.replace(config, run_dir=str(Path(config.run_dir).parent / name), **changes)


def outcome(config: TrainConfig) -> tuple[bytes, bytes, list[dict[str, Any]]]:
    """Bytes of weights and optimizer, and the measurements without what the clock says."""
    path = latest_checkpoint(config.run_dir)
    assert path is not None
    weights, moments = ((path / f"{name}.safetensors").read_bytes() for name in ("model", "optimizer"))
    records = read_metrics(config.run_dir)
    return weights, moments, [{k: v for k, v in r.items() if k not in CLOCK_KEYS} for r in records]


def at_step(step: int, action: Callable[[], None]) -> Callable[[Mapping[str, Any]], None]:
    return lambda record: action() if record["step"] == step else None


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def cs336(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cs336", *map(str, arguments)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_row_23_a_pickle_bomb_in_place_of_a_checkpoint_is_never_set_off(config: TrainConfig) -> None:
    train(config)
    last = latest_checkpoint(config.run_dir)
    assert last is not None
    for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
        content = (last / name).read_bytes()
        (last / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(ValueError, match="is damaged"):
            read_checkpoint(last)
        (last / name).write_bytes(content)
    torch.save({"model": Bomb()}, last / "model.safetensors")
    with pytest.raises(ValueError, match="is damaged"):
        read_checkpoint(last)


def test_row_23_the_package_has_no_pickle_in_it() -> None:
    from cs336.train import loop

    unsafe = re.compile(r"import pickle|import marshal|(?<!safetensors\.)torch\.(load|save)\(|allow_pickle=True")
    sources = Path(loop.__file__).parents[1].rglob("*.py")
    assert [str(path) for path in sources if unsafe.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_row_24_whatever_moment_a_checkpoint_dies_at_a_whole_one_is_found_and_used(config: TrainConfig) -> None:
    config = dataclasses.replace(config, steps=11, eval_every=100, checkpoint_every=10, keep_checkpoints=1)
    undisturbed = elsewhere(config, "undisturbed")
    train(undisturbed)
    train(config, on_record=at_step(9, interrupt))
    before = Path(config.run_dir + "_before")
    shutil.copytree(config.run_dir, before)
    event, has_died = 0, True
    while has_died:
        shutil.rmtree(config.run_dir)
        shutil.copytree(before, config.run_dir)
        event += 1
        has_died = _resume_and_die_at_event(config, event)
        found = latest_checkpoint(config.run_dir)
        assert found is not None
        assert read_checkpoint(found).step in (9, 10, 11)
        assert train(config, resume=True).status == "finished"
        assert outcome(config) == outcome(undisturbed)
    assert event > 15  # two checkpoints of three files, each followed by the removal of the one before


def _resume_and_die_at_event(config: TrainConfig, fatal_event: int) -> bool:
    """Resume in a process that dies, as by kill -9, at the n-th change that it makes to checkpoints."""
    child = os.fork()
    if child == 0:
        num_events = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal num_events
            is_change = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir") or (
                event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]
            )
            if is_change and (
                "step_" in str(arguments[0]) or event == "os.remove"
            ):  # rmtree names files by their last part
                num_events += 1
                if num_events == fatal_event:
                    os._exit(9)

        sys.addaudithook(hook)
        train(config, resume=True)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_row_24_a_full_disk_names_the_checkpoint_and_the_run_goes_on_from_the_one_before(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = elsewhere(config, "undisturbed")
    train(undisturbed)

    def refuse(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    def fill_disk() -> None:
        monkeypatch.setattr(durable, "write_synced", refuse)

    with pytest.raises(OSError, match=r"cannot write [\d,]+ bytes \(No space left on device\): .*step_00000010"):
        train(config, on_record=at_step(9, fill_disk))
    monkeypatch.undo()
    assert train(config, resume=True).status == "finished"
    assert outcome(config) == outcome(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_row_25_a_signal_saves_at_the_steps_end_and_exits_resumable(
    config: TrainConfig, tmp_path: Path, name: str
) -> None:
    number = getattr(signal, name)
    config = dataclasses.replace(config, steps=200_000, log_every=1, eval_every=10**6, checkpoint_every=10**6)
    (tmp_path / "run.toml").write_text(to_toml(config))
    command = [sys.executable, "-m", "cs336", "train", "--config", str(tmp_path / "run.toml"), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    process.stderr.readline()  # the first record: the loop is under way
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    result = json.loads(out)
    assert (result["status"], result["signal"]) == ("interrupted", number)
    assert read_checkpoint(result["checkpoint"]).step == result["step"] > 0
    assert "go on with: cs336 train --run-dir" in err


def test_row_26_a_loss_that_is_no_number_stops_the_run_with_a_record_and_the_last_good_checkpoint(
    config: TrainConfig,
) -> None:
    optim = OptimConfig(lr=1e22, max_grad_norm=None)
    config = dataclasses.replace(config, steps=50, log_every=1, eval_every=100, checkpoint_every=1, optim=optim)
    result = train(config)
    assert result.status == "diverged"
    record = read_metrics(config.run_dir)[-1]
    assert record["kind"] == "diverged"
    assert {"step", "lr", "loss", "grad_norm"} <= record.keys()
    assert record["batch"].keys() == {"seed", "step", "sha256"}
    assert result.checkpoint is not None
    good = read_checkpoint(result.checkpoint)
    assert good.step < record["step"]
    assert all(bool(tensor.isfinite().all()) for tensor in good.model_state.values())
    facts = json.loads((Path(config.run_dir) / "run.json").read_text())
    assert facts["result"]["status"] == "diverged"


@pytest.mark.parametrize("accumulation", [1, 2])
def test_row_27_a_run_killed_in_the_middle_of_a_step_ends_with_the_bytes_of_an_undisturbed_one(
    config: TrainConfig, tmp_path: Path, accumulation: int
) -> None:
    config = dataclasses.replace(config, micro_batch_size=config.batch_size // accumulation)
    undisturbed = elsewhere(config, "undisturbed")
    train(undisturbed)
    (tmp_path / "run.toml").write_text(to_toml(config))
    program = (  # killed in the backward pass of the last micro-batch of step 8
        "import os, sys, torch\n"
        "from cs336.config import load_config\n"
        "from cs336.train.loop import train\n"
        "backward, count = torch.Tensor.backward, 0\n"
        "def dying(self, *args, **kwargs):\n"
        "    global count\n"
        "    count += 1\n"
        "    if count == 8 * int(sys.argv[2]):\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return backward(self, *args, **kwargs)\n"
        "torch.Tensor.backward = dying\n"
        "train(load_config(sys.argv[1]))\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, tmp_path / "run.toml", str(accumulation)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert train(config, resume=True).status == "finished"
    assert outcome(config) == outcome(undisturbed)


def choices() -> list[tuple[str, str, Any]]:
    """Every value of every setting that is chosen by name, and the ones of the model that change what is saved."""
    sections = (("optim", OptimConfig), ("schedule", ScheduleConfig), ("data", DataConfig))
    named = [
        (section, name, value)
        for section, cls in sections
        for name, hint in typing.get_type_hints(cls).items()
        if typing.get_origin(hint) is typing.Literal
        for value in typing.get_args(hint)
    ]
    return [*named, ("model", "tie_embeddings", True), ("model", "qk_norm", True), ("model", "norm", "none")]


@pytest.mark.parametrize(("section", "name", "value"), choices())
def test_row_27_a_resumed_run_is_exact_under_every_choice(
    config: TrainConfig, section: str, name: str, value: Any
) -> None:
    changed = dataclasses.replace(getattr(config, section), **{name: value})
    config = dataclasses.replace(config, **{section: changed})
    undisturbed = elsewhere(config, "undisturbed")
    train(undisturbed)
    assert train(config, on_record=at_step(6, interrupt)).step == 6
    assert train(config, resume=True).status == "finished"
    assert outcome(config) == outcome(undisturbed)


@pytest.mark.slow
def test_row_28_hash_seed_locale_and_core_count_change_nothing(config: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(config, sample_every=6, sample_prompts=("a",), sample_tokens=3)
    train(config)
    other = elsewhere(config, "other")  # num_threads = 1 in the config: it rules, not the environment
    (tmp_path / "run.toml").write_text(to_toml(other))
    surroundings = {"PYTHONHASHSEED": "17", "LC_ALL": "C", "PYTHONUTF8": "0", "OMP_NUM_THREADS": "2"}
    done = cs336("train", "--config", tmp_path / "run.toml", **surroundings)
    assert done.returncode == 0, done.stderr
    assert outcome(other) == outcome(config)
