import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cs336.config import TrainConfig
from cs336.experiments import demo
from cs336.experiments.demo import DemoConfig, run_demo
from cs336.tokenizer import Tokenizer


class Recorder:
    """Follows a demo and remembers what it saw."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notices: list[str] = []
        self.progress: list[str] = []
        self.records: list[Mapping[str, Any]] = []

    def on_stage(self, title: str, /) -> None:
        self.stages.append(title)

    def on_notice(self, text: str, /) -> None:
        self.notices.append(text)

    def on_progress(self, stage: str, done: int, total: int, /) -> None:
        self.progress.append(stage)

    @contextmanager
    def on_train(self, config: TrainConfig, /) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        yield self.records.append


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DemoConfig:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    files = []
    for number in range(12):
        files.append(tmp_path / f"text{number}.py")
        files[-1].write_text(f"def add{number}(first, second):\n    return first + second\n\n" * 20)
    return DemoConfig(
        run_dir=str(tmp_path / "demo"),
        text=tuple(files),
        steps=8,
        vocab_size=300,
        context_length=16,
        d_model=16,
        num_layers=1,
        num_heads=2,
        batch_size=4,
        valid_share=0.2,
        num_samples=2,
        sample_tokens=4,
        compile=False,
        device="cpu",
    )


def test_the_whole_pipeline_leaves_a_complete_directory(config: DemoConfig) -> None:
    recorder = Recorder()
    result = run_demo(config, recorder)
    run_dir = Path(config.run_dir)
    tokenizer = Tokenizer.load(run_dir / "tokenizer.json")
    ids = np.concatenate([np.load(run_dir / f"{name}.npy") for name in ("train", "valid")])
    assert result.num_documents == 12 == (ids == tokenizer.eos_id).sum()
    assert result.num_tokens == len(ids)
    assert result.num_bytes == sum((run_dir / f"{name}.txt").stat().st_size for name in ("train", "valid"))
    assert result.train.status == "finished"
    assert result.train.bits_per_byte is not None
    assert [prompt for prompt, _ in result.samples] == list(config.prompts)
    assert all(Path(path).exists() for path in result.paths.values())
    assert "the final model" in (run_dir / "samples.txt").read_text()
    assert list(result.stages_s) == ["corpus", "tokenizer", "encoding", "measuring", "training", "samples"]
    assert {"train", "valid", "sample"} == {record["kind"] for record in recorder.records}
    assert {"count", "merge", "encode"} == set(recorder.progress)


def test_a_second_demo_replaces_the_first_and_equals_it(config: DemoConfig) -> None:
    first = run_demo(config, Recorder())
    (Path(config.run_dir) / "mine.txt").write_text("keep me")
    second = run_demo(config, Recorder())
    assert second.samples == first.samples
    assert second.train.valid_loss == first.train.valid_loss
    assert (Path(config.run_dir) / "mine.txt").read_text() == "keep me"


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ({"text": (Path("gone.txt"),)}, FileNotFoundError, "gone.txt"),
        ({"num_heads": 3}, ValueError, "d_model must be divisible by num_heads, got 16 and 3"),
        ({"device": "tpu"}, ValueError, "tpu"),
        ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"seed": -1}, ValueError, "seed must not be negative, got -1"),
        ({"vocab_size": 256}, ValueError, r"vocab_size must be at least 257 .*, got 256"),
    ],
)
def test_what_does_not_fit_is_refused_before_an_earlier_demo_is_replaced(
    config: DemoConfig, bad: dict[str, Any], error: type[Exception], message: str
) -> None:
    Path(config.run_dir).mkdir()
    (Path(config.run_dir) / "demo.json").touch()
    earlier = Path(config.run_dir) / "train.txt"
    earlier.write_text("earlier")
    with pytest.raises(error, match=message):
        run_demo(dataclasses.replace(config, **bad), Recorder())
    assert earlier.read_text() == "earlier"


def test_a_directory_with_other_files_is_refused_untouched(config: DemoConfig) -> None:
    Path(config.run_dir).mkdir()
    precious = Path(config.run_dir) / "train.txt"
    precious.write_text("precious")
    with pytest.raises(ValueError, match=r"holds files that are not a demo's; choose an empty directory"):
        run_demo(config, Recorder())
    assert precious.read_text() == "precious"


def test_the_time_decides_about_the_steps(config: DemoConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[TrainConfig] = []

    def stop_before_training(plan: TrainConfig, **_: object) -> None:
        planned.append(plan)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "train", stop_before_training)
    for tokens_per_s in (10_000.0, 20_000.0):
        monkeypatch.setattr(demo, "measure_tokens_per_s", lambda *_, speed=tokens_per_s, **__: speed)
        with pytest.raises(KeyboardInterrupt):
            run_demo(dataclasses.replace(config, steps=None, minutes=1.0), Recorder())
    slow, fast = (config.num_steps for config in planned)
    # 64 tokens a step, nearly a minute: what is taken off for validation and samples is less on the faster machine
    assert 0.7 * 60 * 10_000 / 64 < slow < 60 * 10_000 / 64
    assert 2 * slow <= fast < 2.2 * slow
    assert planned[0].schedule.cosine_steps is None  # so the rate comes down by the last step


def test_a_compiler_that_fails_is_done_without(config: DemoConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(plan: TrainConfig, **_: object) -> float:
        if plan.compile:
            raise RuntimeError("no compiler")
        return 1000.0

    monkeypatch.setattr(demo, "measure_tokens_per_s", measure)
    result = run_demo(dataclasses.replace(config, steps=None, minutes=0.001, compile=True), Recorder())
    assert result.train.status in ("finished", "out of time")


def test_compiling_waits_for_a_demo_that_wins_it_back(config: DemoConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.shutil, "which", lambda _: "/usr/bin/g++")
    measured: list[bool] = []

    def measure(plan: TrainConfig, **_: object) -> float:
        measured.append(bool(plan.compile))
        return 1300.0 if plan.compile else 1000.0

    def stop_before_training(plan: TrainConfig, **_: object) -> None:
        measured.append(bool(plan.compile))
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "measure_tokens_per_s", measure)
    monkeypatch.setattr(demo, "train", stop_before_training)
    for minutes, is_compiled in ((3.5, False), (10.0, True)):
        measured.clear()
        with pytest.raises(KeyboardInterrupt):
            run_demo(dataclasses.replace(config, steps=None, minutes=minutes, compile=None), Recorder())
        assert any(measured) is measured[-1] is is_compiled  # nothing is compiled only to be measured


@pytest.mark.parametrize(("speed_of_two", "num_threads"), [(1_000.0, 1), (9_000.0, None)])
def test_one_thread_is_taken_where_several_stand_in_each_others_way(
    config: DemoConfig, monkeypatch: pytest.MonkeyPatch, speed_of_two: float, num_threads: int | None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(
        demo, "measure_tokens_per_s", lambda plan, **_: 4_000.0 if plan.num_threads == 1 else speed_of_two
    )
    plan, _ = demo._with_fewest_waits(
        demo._train_config(config, vocab_size=300, num_steps=5, compiled=False), demo._Clock(lambda: 0.0), limit_s=10
    )
    assert plan.num_threads == num_threads


class SlowMachine:
    """A clock, and measurements that move it: one thread takes 0.7 s a step, two take so long as is said."""

    def __init__(self, step_of_two_s: float) -> None:
        self.now_s = 0.0
        self.step_s = {1: 0.7, None: step_of_two_s}
        self.steps_of_two = 0

    def __call__(self) -> float:
        return self.now_s

    def measure(
        self, plan: TrainConfig, *, time_limit_s: float, num_steps: int = 8, num_warmup_steps: int = 3
    ) -> float:
        begin_s, step_s = self.now_s, self.step_s[plan.num_threads]
        for step in range(num_steps + num_warmup_steps):
            if step and self.now_s - begin_s >= time_limit_s:
                break
            self.now_s += step_s
            self.steps_of_two += plan.num_threads is None
        return plan.tokens_per_step / step_s


@pytest.mark.parametrize(("step_of_two_s", "is_busy"), [(0.4, False), (7.0, True)])
def test_on_a_busy_machine_measuring_is_cut_off_and_the_best_plan_so_far_is_taken(
    config: DemoConfig, monkeypatch: pytest.MonkeyPatch, step_of_two_s: float, is_busy: bool
) -> None:
    machine, recorder = SlowMachine(step_of_two_s), Recorder()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(demo, "measure_tokens_per_s", machine.measure)
    planned: list[TrainConfig] = []

    def stop_before_training(plan: TrainConfig, **_: object) -> None:
        planned.append(plan)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "train", stop_before_training)
    with pytest.raises(KeyboardInterrupt):
        run_demo(dataclasses.replace(config, steps=None, minutes=3.5), recorder, clock=machine)
    # a twentieth of the time, and the step that was under way
    assert machine.now_s < 0.05 * 3.5 * 60 + (step_of_two_s if is_busy else 0)
    assert machine.steps_of_two == (2 if is_busy else 11)
    assert planned[0].num_threads == (1 if is_busy else None)
    left_s = 3.5 * 60 - machine.now_s
    assert 0.7 * left_s < planned[0].num_steps * (0.7 if is_busy else step_of_two_s) < left_s
    if is_busy:
        assert "measuring was cut off after 16 s" in recorder.notices[0]
        assert "going on on one thread with the best speed seen, 91 tokens/s" in recorder.notices[0]
    else:
        assert not recorder.notices


@pytest.mark.parametrize("bad", [{"minutes": 0.0}, {"valid_share": 1.0}, {"prompts": ("",)}, {"num_samples": 0}])
def test_settings_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        DemoConfig(**bad)
