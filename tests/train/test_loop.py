import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from cs336.config import DataConfig, OptimConfig, TrainConfig, to_toml
from cs336.tokenizer import Tokenizer
from cs336.train import loop
from cs336.train.checkpoint import latest_checkpoint, read_checkpoint
from cs336.train.learner import Learner, measure_tokens_per_s
from cs336.train.loop import train
from cs336.train.progress import Progress
from cs336.train.runlog import CLOCK_KEYS, read_metrics
from cs336.train.watch import Watch


def elsewhere(config: TrainConfig, name: str, **changes: Any) -> TrainConfig:
    return dataclasses.replace(config, run_dir=str(Path(config.run_dir).parent / name), **changes)


def without_clock(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k not in CLOCK_KEYS} for record in records]


def outcome(run_dir: str) -> tuple[bytes, bytes, list[dict[str, Any]]]:
    """Everything about a finished run that must not depend on how it got there: weights, optimizer, measurements."""
    path = latest_checkpoint(run_dir)
    assert path is not None
    weights, moments = (path / f"{name}.safetensors" for name in ("model", "optimizer"))
    return weights.read_bytes(), moments.read_bytes(), without_clock(read_metrics(run_dir))


def at_step(step: int, action: Callable[[], None]) -> Callable[[Mapping[str, Any]], None]:
    def on_record(record: Mapping[str, Any]) -> None:
        if record["step"] == step:
            action()

    return on_record


def test_a_run_learns_and_leaves_a_complete_directory(config: TrainConfig) -> None:
    config = dataclasses.replace(config, steps=60)
    result = train(config)
    run_dir = Path(config.run_dir)
    records = read_metrics(run_dir)
    losses = [record["loss"] for record in records if record["kind"] == "train"]
    assert result.status == "finished"
    assert losses[-1] < losses[0] - 1
    assert result.num_tokens == 60 * 4 * 16
    assert {"step", "tokens", "elapsed_s", "loss", "lr", "grad_norm", "tokens_per_s"} <= records[0].keys()
    run = json.loads((run_dir / "run.json").read_text())
    assert run["config"]["optim"]["lr"] == 1e-2
    assert {"code", "machine", "started", "ended", "tokenizer_sha256", "data", "num_parameters"} <= run.keys()
    assert run["result"]["valid_loss"] == result.valid_loss
    assert run["tokenizer_sha256"] == Tokenizer.load(run_dir / "tokenizer.json").sha256
    assert (run_dir / "config.toml").read_text() == to_toml(config)
    assert "finished at step 60" in (run_dir / "notes.log").read_text()


def test_validation_covers_the_whole_file_and_ends_the_run(config: TrainConfig) -> None:
    train(config)
    valid = [record for record in read_metrics(config.run_dir) if record["kind"] == "valid"]
    assert [record["step"] for record in valid] == [4, 8, 12]
    assert all(record["num_tokens"] == 332 for record in valid)
    nats_per_bit = np.log(2)  # every token of this file is one byte
    assert valid[-1]["bits_per_byte"] == pytest.approx(valid[-1]["loss"] / nats_per_bit, rel=1e-12)


def test_two_runs_of_one_config_are_identical(config: TrainConfig) -> None:
    other = elsewhere(config, "other")
    train(config)
    torch.manual_seed(99)  # the state of the global generators is irrelevant
    np.random.seed(99)
    train(other)
    assert outcome(config.run_dir) == outcome(other.run_dir)


def test_evaluation_samples_and_checkpoints_do_not_disturb_the_training(config: TrainConfig) -> None:
    busy = elsewhere(config, "busy", eval_every=1, checkpoint_every=1, sample_every=1, sample_prompts=("ab",))
    busy = dataclasses.replace(busy, sample_tokens=3)
    train(config)
    train(busy)
    assert outcome(config.run_dir)[:2] == outcome(busy.run_dir)[:2]


@pytest.mark.parametrize("step", [3, 4, 5, 9])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_the_step_and_the_resumed_run_equals_an_undisturbed_one(
    config: TrainConfig, step: int, number: int
) -> None:
    undisturbed = elsewhere(config, "undisturbed", log_every=1, sample_every=3, sample_prompts=("a",), sample_tokens=3)
    train(undisturbed)
    config = dataclasses.replace(undisturbed, run_dir=config.run_dir)
    before = signal.getsignal(number)
    cut = train(config, on_record=at_step(step, lambda: os.kill(os.getpid(), number)))
    assert (cut.status, cut.signal, cut.step) == ("interrupted", number, step)
    assert signal.getsignal(number) == before
    assert train(config, resume=True).status == "finished"
    assert outcome(config.run_dir) == outcome(undisturbed.run_dir)


def test_a_killed_run_resumes_from_its_checkpoint_and_equals_an_undisturbed_one(
    config: TrainConfig, tmp_path: Path
) -> None:
    undisturbed = elsewhere(config, "undisturbed")
    train(undisturbed)
    program = (
        "import os, sys\n"
        "from cs336.config import load_config\n"
        "from cs336.train.loop import train\n"
        "train(load_config(sys.argv[1]), on_record=lambda r: r['step'] == 9 and os.kill(os.getpid(), 9))\n"
    )
    (tmp_path / "config.toml").write_text(to_toml(config))
    killed = subprocess.run([sys.executable, "-c", program, tmp_path / "config.toml"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert max(record["step"] for record in read_metrics(config.run_dir)) == 9
    with (Path(config.run_dir) / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tra')  # the line that the crash tore
    assert train(config, resume=True).status == "finished"
    assert outcome(config.run_dir) == outcome(undisturbed.run_dir)


def test_a_run_killed_before_its_first_checkpoint_begins_again(config: TrainConfig) -> None:
    undisturbed = elsewhere(config, "undisturbed")
    train(undisturbed)

    def crash() -> None:
        raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        train(config, on_record=at_step(3, crash))
    assert train(config, resume=True).status == "finished"
    assert outcome(config.run_dir) == outcome(undisturbed.run_dir)


def test_resume_passes_over_a_torn_checkpoint(config: TrainConfig) -> None:
    undisturbed = elsewhere(config, "undisturbed", eval_every=100)
    train(undisturbed)
    config = dataclasses.replace(undisturbed, run_dir=config.run_dir)
    train(config, on_record=at_step(11, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    last = latest_checkpoint(config.run_dir)
    assert last is not None
    weights = last / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    assert train(config, resume=True).status == "finished"
    assert outcome(config.run_dir) == outcome(undisturbed.run_dir)


def test_a_damaged_checkpoint_ahead_of_a_resumed_run_never_displaces_a_whole_one(config: TrainConfig) -> None:
    config = dataclasses.replace(config, eval_every=100, log_every=1, keep_checkpoints=2)
    train(config)
    damaged = Path(config.run_dir) / "checkpoints" / "step_00000012" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-7])
    config = dataclasses.replace(config, keep_checkpoints=1)
    train(config, resume=True, on_record=at_step(11, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    last = latest_checkpoint(config.run_dir)
    assert last is not None
    assert last.name == "step_00000011"


def test_resuming_a_finished_run_changes_nothing(config: TrainConfig) -> None:
    train(config)
    before = outcome(config.run_dir)
    result = train(config, resume=True)
    assert (result.status, result.step) == ("finished", 12)
    assert outcome(config.run_dir) == before


def test_a_second_run_in_the_same_directory_is_refused(config: TrainConfig) -> None:
    train(config)
    with pytest.raises(ValueError, match="holds this run already; resume it"):
        train(config)
    changed = dataclasses.replace(config, optim=OptimConfig(lr=0.5), seed=1)
    for resume in (False, True):
        with pytest.raises(ValueError, match=r"another config: optim.lr was 0.01, is 0.5; seed was 0, is 1; choose"):
            train(changed, resume=resume)


def test_resuming_with_other_data_is_refused(config: TrainConfig) -> None:
    train(config, on_record=at_step(6, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    np.save(config.data.train, np.zeros(3000, dtype=np.uint16))
    with pytest.raises(ValueError, match=r"data.train is not the file this run began with"):
        train(config, resume=True)


def test_a_run_in_use_by_another_process_is_refused(config: TrainConfig) -> None:
    def try_second() -> None:
        with pytest.raises(OSError, match=rf"another process is writing .*pid {os.getpid()}\)"):
            train(config, resume=True)

    train(config, on_record=at_step(3, try_second))


def test_diverging_run_stops_with_a_record_and_keeps_the_last_good_checkpoint(config: TrainConfig) -> None:
    config = dataclasses.replace(config, steps=50, log_every=1, eval_every=100, checkpoint_every=1, keep_checkpoints=1)
    config = dataclasses.replace(config, optim=OptimConfig(lr=1e22, max_grad_norm=None))
    result = train(config)
    record = read_metrics(config.run_dir)[-1]
    assert result.status == "diverged"
    assert record["kind"] == "diverged"
    assert record["step"] == result.step + 1
    assert not np.isfinite(float(record["loss"])) or not np.isfinite(float(record["grad_norm"]))
    assert {"lr", "batch"} <= record.keys()
    assert "diverged at step" in (Path(config.run_dir) / "notes.log").read_text()
    if result.checkpoint is not None:
        state = read_checkpoint(result.checkpoint).model_state
        assert all(bool(tensor.isfinite().all()) for tensor in state.values())


def test_weights_that_are_not_finite_are_never_saved(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    update = Learner.update

    def poison_fifth(self: Learner, step: int) -> None:
        update(self, step)
        if step == 4:
            with torch.no_grad():
                self.model.lm_head.weight[0, 0] = torch.nan

    monkeypatch.setattr(Learner, "update", poison_fifth)
    config = dataclasses.replace(config, eval_every=100, checkpoint_every=1)
    result = train(config)
    assert (result.status, result.step) == ("diverged", 5)
    assert result.checkpoint is not None
    assert read_checkpoint(result.checkpoint).step == 4


def test_a_run_diverges_the_same_whatever_looks_at_its_weights_first(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = Learner.update

    def poison(self: Learner, step: int) -> None:
        update(self, step)
        with torch.no_grad():
            self.model.lm_head.weight.fill_(torch.nan)

    monkeypatch.setattr(Learner, "update", poison)
    for name, busy in {"valid": {"eval_every": 1}, "sample": {"sample_every": 1, "sample_prompts": ("a",)}}.items():
        run = elsewhere(config, name, **busy)
        assert train(run).status == "diverged"
        assert [record["kind"] for record in read_metrics(run.run_dir)] == ["diverged"]
        json.loads((Path(run.run_dir) / "run.json").read_text(), parse_constant=pytest.fail)


def test_data_with_ids_beyond_the_model_is_refused_before_anything_is_written(config: TrainConfig) -> None:
    small = dataclasses.replace(config, model=dataclasses.replace(config.model, vocab_size=100))
    with pytest.raises(ValueError, match=r"vocab_size must be at least the tokenizer's 257, got 100"):
        train(small)
    small = dataclasses.replace(small, data=dataclasses.replace(config.data, tokenizer=None))
    with pytest.raises(ValueError, match=r"train.npy holds id 255, but the model's vocab_size is 100"):
        train(small)
    assert not Path(config.run_dir).exists()


def test_a_file_shorter_than_the_context_is_refused(config: TrainConfig) -> None:
    np.save(config.data.train, np.zeros(16, dtype=np.uint16))
    with pytest.raises(ValueError, match=r"train.npy must hold more than model.context_length = 16 ids, got 16"):
        train(config)


def test_samples_without_a_tokenizer_are_refused(config: TrainConfig) -> None:
    data = dataclasses.replace(config.data, tokenizer=None)
    with pytest.raises(ValueError, match=r"set data.tokenizer"):
        train(dataclasses.replace(config, data=data, sample_every=1, sample_prompts=("a",)))


def test_without_validation_and_tokenizer_a_run_still_works(config: TrainConfig) -> None:
    result = train(dataclasses.replace(config, data=DataConfig(train=config.data.train)))
    assert result.status == "finished"
    assert result.valid_loss is None
    assert result.bits_per_byte is None


def test_samples_are_handed_over_as_the_model_learns(config: TrainConfig) -> None:
    seen: list[Mapping[str, Any]] = []
    train(
        dataclasses.replace(config, sample_every=6, sample_prompts=("a", "bc"), sample_tokens=5), on_record=seen.append
    )
    samples = [(record["step"], record["prompt"]) for record in seen if record["kind"] == "sample"]
    assert samples == [(6, "a"), (6, "bc"), (12, "a"), (12, "bc")]
    assert without_clock([dict(record) for record in seen]) == without_clock(read_metrics(config.run_dir))


def test_the_latest_checkpoints_and_the_best_one_stay(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from cs336.train import loop

    losses = iter([3.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    monkeypatch.setattr(
        loop, "evaluate_on_ranks", lambda *_, **__: loop.Evaluation(loss=next(losses), num_tokens=1, perplexity=1.0)
    )
    train(dataclasses.replace(config, eval_every=2, checkpoint_every=2, keep_checkpoints=2))
    kept = sorted(path.name for path in (Path(config.run_dir) / "checkpoints").iterdir())
    assert kept == ["step_00000004", "step_00000010", "step_00000012"]


def test_permanent_checkpoints_stay(config: TrainConfig) -> None:
    train(dataclasses.replace(config, eval_every=100, checkpoint_every=1, keep_checkpoints=2, permanent_every=5))
    kept = sorted(path.name for path in (Path(config.run_dir) / "checkpoints").iterdir())
    assert kept == ["step_00000005", "step_00000010", "step_00000011", "step_00000012"]


def test_permanent_checkpoints_are_written_between_the_others_too(config: TrainConfig) -> None:
    train(dataclasses.replace(config, eval_every=100, checkpoint_every=12, keep_checkpoints=1, permanent_every=5))
    kept = sorted(path.name for path in (Path(config.run_dir) / "checkpoints").iterdir())
    assert kept == ["step_00000005", "step_00000010", "step_00000012"]


def test_another_interval_of_validation_gives_the_same_weights(config: TrainConfig) -> None:
    runs = [elsewhere(config, f"every_{every}", eval_every=every, eval_batch_size=every) for every in (1, 5, 12)]
    for run in runs:
        train(run)
    assert len({outcome(run.run_dir)[:2] for run in runs}) == 1


def test_the_resumed_run_says_so_and_may_keep_checkpoints_otherwise(config: TrainConfig) -> None:
    train(config, on_record=at_step(6, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert train(dataclasses.replace(config, permanent_every=3, parallel="fsdp"), resume=True).status == "finished"
    assert json.loads((Path(config.run_dir) / "run.json").read_text())["resumed"]["step"] == 6


def test_notices_and_the_plan_of_a_step_are_written_down(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    update = Learner.update

    def complain(self: Learner, step: int) -> None:
        update(self, step)
        if step == 1:
            self.on_notice("something odd")

    monkeypatch.setattr(Learner, "update", complain)
    with pytest.warns(RuntimeWarning, match="something odd"):
        train(config)
    assert "something odd" in (Path(config.run_dir) / "notes.log").read_text()
    assert json.loads((Path(config.run_dir) / "run.json").read_text())["plan"]["micro_batch_size"] >= 1


def test_smaller_micro_batches_than_planned_are_written_down(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    accumulate = Learner._accumulate

    def with_little_memory(self: Learner, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if self.micro_batch_size > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return accumulate(self, inputs, targets)

    monkeypatch.setattr(Learner, "_accumulate", with_little_memory)
    with pytest.warns(RuntimeWarning, match="out of memory with micro-batches"):
        assert train(config).status == "finished"
    assert json.loads((Path(config.run_dir) / "run.json").read_text())["plan"]["micro_batch_size"] == 1
    assert "micro-batches of 4 sequences: going on with 2" in (Path(config.run_dir) / "notes.log").read_text()


def test_between_log_points_nothing_is_read_off_a_device_that_computes_by_itself() -> None:
    looks: list[int] = []
    run = object.__new__(loop._Run)
    run.config = TrainConfig(data=DataConfig(train="x"), steps=7, log_every=3)
    run.step, run.progress = 0, Progress()
    for name in ("inputs", "learner", "watch", "recorder", "meter"):
        setattr(run, name, MagicMock())
    run.learner.device = torch.device("cuda")
    run.learner.gradients.return_value = (None, None)
    run.watch.look.side_effect = lambda progress: (looks.append(run.step), progress.unrecorded_losses.append(1.0))
    run.meter.read.return_value = {}
    while run.step < 7:
        run._advance()
    assert looks == [3, 6, 7]
    assert [call.args[0] for call in run.watch.add.call_args_list] == [*range(7)]


def test_waiting_for_steps_is_their_time_whoever_waits(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    look, num_looks = Watch.look, 0

    def wait(self: Watch, progress: Progress) -> None:
        nonlocal num_looks
        num_looks += 1
        look(self, progress)

    clock = SimpleNamespace(perf_counter=lambda: float(num_looks))  # which moves only while a device is waited for
    monkeypatch.setattr(Watch, "look", wait)
    monkeypatch.setattr(loop, "time", clock)
    result = train(config)  # validates and saves between its log points
    assert result.num_tokens / result.tokens_per_s == num_looks > config.num_steps


def test_time_limit_ends_with_validation_and_a_checkpoint_that_resumes(config: TrainConfig) -> None:
    result = train(config, time_limit_s=0.0)
    assert (result.status, result.step) == ("out of time", 0)
    assert train(config, resume=True).status == "finished"


def test_bf16_learns_as_fp32_does(config: TrainConfig) -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        run = elsewhere(config, precision, steps=60, precision=precision)
        losses[precision] = train(run).valid_loss
    assert losses["fp32"] is not None
    # bf16 keeps 8 bits of a product's factors; over 60 steps the loss of about 2 stays within a few percent
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.1)


def test_speed_is_measured_without_a_run_directory(config: TrainConfig) -> None:
    assert measure_tokens_per_s(config, num_steps=2, num_warmup_steps=1) > 0
    assert not Path(config.run_dir).exists()


def test_a_full_disk_is_an_error_that_names_the_file(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(config.run_dir).mkdir()
    (Path(config.run_dir) / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device.*metrics.jsonl"):
        train(config)
