import dataclasses
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from cs336.config import DataConfig, OptimConfig, ScheduleConfig, TrainConfig
from cs336.data import TokenDataset
from cs336.model import ModelConfig
from cs336.optim import AdamW, Muon
from cs336.optim import adamw as adamw_module
from cs336.train import learner as learner_module
from cs336.train.learner import Learner, measure_tokens_per_s, open_dataset

# every lever at its plain setting: the path that the others are held against
PLAIN: dict[str, Any] = {"micro_batch_size": 8, "loss_chunk_size": None, "precision": "fp32", "compile": False}


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    np.save(tmp_path / "train.npy", np.random.default_rng(0).integers(0, 60, 4000).astype(np.uint16))
    return TrainConfig(
        data=DataConfig(train=str(tmp_path / "train.npy")),
        model=ModelConfig(
            vocab_size=61, context_length=16, d_model=32, num_layers=2, num_heads=4, d_ff=64, attention="plain"
        ),
        optim=OptimConfig(lr=1e-2),
        schedule=ScheduleConfig(warmup_steps=2),
        batch_size=8,
        steps=12,
        device="cpu",
        num_threads=1,
        **PLAIN,
    )


@pytest.fixture
def dataset(config: TrainConfig) -> TokenDataset:
    return open_dataset(config, config.data.train)


def with_model(config: TrainConfig, **changes: Any) -> TrainConfig:
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **changes))


def losses_of(config: TrainConfig, dataset: TokenDataset, num_steps: int = 8) -> tuple[list[float], list[float]]:
    """Return the losses and gradient norms of the first steps."""
    learner = Learner(config)
    losses, norms = [], []
    for step in range(num_steps):
        loss, norm = learner.gradients(dataset, step)
        learner.update(step)
        losses.append(loss.item())
        norms.append(norm.item())
    return losses, norms


@pytest.mark.parametrize(
    "lever",
    [{"loss_chunk_size": 7}, {"loss_chunk_size": 10_000}, {"micro_batch_size": 2}, {"micro_batch_size": 3}],
    ids=str,
)
def test_a_lever_gives_the_losses_of_the_plain_path(
    config: TrainConfig, dataset: TokenDataset, lever: dict[str, Any]
) -> None:
    losses, norms = losses_of(dataclasses.replace(config, **lever), dataset)
    # fp32 sums in another order, through eight steps of training
    assert losses == pytest.approx(losses_of(config, dataset)[0], rel=1e-4)
    assert norms == pytest.approx(losses_of(config, dataset)[1], rel=1e-3)


def test_sdpa_gives_the_losses_of_the_plain_path(config: TrainConfig, dataset: TokenDataset) -> None:
    fused = losses_of(with_model(config, attention="sdpa"), dataset)[0]
    assert fused == pytest.approx(losses_of(config, dataset)[0], rel=1e-4)


def test_bf16_gives_nearly_the_losses_of_the_plain_path(config: TrainConfig, dataset: TokenDataset) -> None:
    learner = Learner(dataclasses.replace(config, precision="bf16"))
    assert all(parameter.dtype == torch.float32 for parameter in learner.model.parameters())
    narrow = losses_of(dataclasses.replace(config, precision="bf16", loss_chunk_size=32), dataset)[0]
    # 8 bits of a factor; a loss averages 128 positions, whose roundings largely cancel
    assert narrow == pytest.approx(losses_of(config, dataset)[0], rel=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_compiled_step_gives_the_losses_of_the_plain_path(
    config: TrainConfig, dataset: TokenDataset, precision: str
) -> None:
    every_lever = {"compile": True, "loss_chunk_size": 32, "micro_batch_size": 4, "precision": precision}
    learner = Learner(dataclasses.replace(config, **every_lever))
    assert learner.plan.compiled
    compiled = losses_of(with_model(dataclasses.replace(config, **every_lever), attention="sdpa"), dataset)[0]
    tolerance = 1e-4 if precision == "fp32" else 5e-3
    assert compiled == pytest.approx(losses_of(config, dataset)[0], rel=tolerance)


@pytest.mark.gpu
@pytest.mark.parametrize("lever", [{}, {"compile": True, "cuda_graphs": False}, {"compile": True, "cuda_graphs": True}])
@pytest.mark.parametrize("placement", ["device", "host"])
def test_the_gpu_gives_the_losses_of_the_cpu(
    config: TrainConfig, dataset: TokenDataset, lever: dict[str, Any], placement: Any
) -> None:
    data = dataclasses.replace(config.data, placement=placement)
    on_gpu = losses_of(dataclasses.replace(config, device="cuda", data=data, **lever), dataset)[0]
    assert on_gpu == pytest.approx(losses_of(config, dataset)[0], rel=1e-3)


@pytest.mark.gpu
def test_a_step_on_the_gpu_waits_for_nothing(config: TrainConfig, dataset: TokenDataset) -> None:
    learner = Learner(dataclasses.replace(config, device="cuda", precision="bf16"))
    for step in range(3):
        if step == 2:  # the first ones may set something up
            torch.cuda.set_sync_debug_mode("error")
        try:
            learner.gradients(dataset, step)
            learner.update(step)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_no_step_reads_a_number_off_the_device(
    config: TrainConfig, dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = Learner(config)

    def refuse(*_: object) -> None:
        raise AssertionError("a step must not wait for the device")

    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    learner.optimizer.param_groups[0]["foreach"] = True
    windows = learner._own_stream(dataset).batch(0)
    monkeypatch.setattr(learner, "_own_stream", lambda _: type("", (), {"batch": lambda *_: windows})())
    learner.gradients(dataset, 0)
    learner.update(0)


@pytest.mark.parametrize("algorithm", ["adamw", "muon"])
@pytest.mark.parametrize("placement", ["device", "host"])
def test_all_that_a_step_computes_on_a_gpu_stays_there_and_waits_for_nothing(
    config: TrainConfig, dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch, placement: Any, algorithm: Any
) -> None:
    """On a GPU that is not there: fake tensors know their device, refuse to mix two, and have no values to read."""
    gpu = torch.device("cuda")
    monkeypatch.setattr(learner_module, "choose_device", lambda _: gpu)
    monkeypatch.setattr(torch.nn.init, "trunc_normal_", lambda tensor, **_: tensor)  # reads its values
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    config = dataclasses.replace(
        with_model(config, qk_norm=True, logit_softcap=10.0),
        optim=OptimConfig(algorithm=algorithm),
        data=dataclasses.replace(config.data, placement=placement),
        precision="bf16",
        loss_chunk_size=32,
        micro_batch_size=4,
    )
    with FakeTensorMode(allow_non_fake_inputs=True):
        learner = Learner(config)

        def backward(_: torch.Tensor) -> None:  # autograd's engine has no fake device
            for parameter in learner.model.parameters():
                parameter.grad = torch.ones_like(parameter)

        monkeypatch.setattr(torch.Tensor, "backward", backward)
        for step in range(2):
            loss, norm = learner.gradients(dataset, step)
            learner.update(step)
        state = [value for one in learner.optimizer.state.values() for value in one.values()]
        kept = [loss, norm, *learner.model.parameters(), *(one for one in state if isinstance(one, torch.Tensor))]
        assert {tensor.device.type for tensor in kept} == {"cuda"}
        assert {tensor.dtype for tensor in kept} == {torch.float32}


def test_the_compiled_update_takes_its_numbers_from_the_host_without_waiting() -> None:
    with FakeTensorMode():
        params = [torch.zeros(shape, device="cuda") for shape in ((4, 5), (4,))]
        grads, ms, vs = ([torch.zeros_like(param) for param in params] for _ in range(3))
        decay, rate = torch.tensor(0.9), torch.tensor(0.1)
        adamw_module._move_in_one_pass(params, grads, ms, vs, decay, rate, beta1=0.9, beta2=0.95, eps=1e-8)
        assert {param.device.type for param in params} == {"cuda"}


def test_memory_that_runs_out_in_the_first_step_halves_the_micro_batch_and_says_so(
    config: TrainConfig, dataset: TokenDataset
) -> None:
    learner, notices = Learner(config), []
    learner.on_notice = notices.append
    compute = learner._compute_loss

    def with_little_memory(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if len(inputs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return compute(inputs, targets)

    learner._compute_loss = with_little_memory
    loss, norm = learner.gradients(dataset, 0)
    assert learner.micro_batch_size == 2
    assert [notice.split(":")[0] for notice in notices] == [
        "out of memory with micro-batches of 8 sequences",
        "out of memory with micro-batches of 4 sequences",
    ]
    assert "going on with 2; set micro_batch_size=2" in notices[1]
    expected_loss, expected_norm = Learner(config).gradients(dataset, 0)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=0)
    torch.testing.assert_close(norm, expected_norm, rtol=1e-5, atol=0)


def test_gradients_of_an_attempt_that_ran_out_of_memory_are_forgotten(
    config: TrainConfig, dataset: TokenDataset
) -> None:
    config = dataclasses.replace(config, micro_batch_size=4)
    learner, num_calls = Learner(config), 0
    learner.on_notice = lambda _: None
    compute = learner._compute_loss

    def fails_once(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal num_calls
        num_calls += 1
        if num_calls == 2:  # after the first micro-batch has left its gradients
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return compute(inputs, targets)

    learner._compute_loss = fails_once
    _, norm = learner.gradients(dataset, 0)
    torch.testing.assert_close(norm, Learner(config).gradients(dataset, 0)[1], rtol=1e-5, atol=0)


@pytest.mark.parametrize("algorithm", ["adamw", "muon"])
def test_the_first_step_holds_all_that_the_later_ones_hold(
    config: TrainConfig, dataset: TokenDataset, algorithm: Any
) -> None:
    learner = Learner(dataclasses.replace(config, optim=OptimConfig(algorithm=algorithm)))
    compute, held = learner._compute_loss, []

    def bytes_of_state() -> int:
        states = learner.optimizer.state.values()
        return sum(value.nbytes for state in states for value in state.values() if isinstance(value, torch.Tensor))

    def noting_what_is_held(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        held.append(bytes_of_state())
        return compute(inputs, targets)

    learner._compute_loss = noting_what_is_held
    for step in range(2):
        learner.gradients(dataset, step)
        learner.update(step)
    assert held[0] == held[1] == bytes_of_state() > 0


def test_what_an_attempt_computed_is_gone_before_the_next_one_begins(
    config: TrainConfig, dataset: TokenDataset
) -> None:
    learner, computed, is_gone = Learner(config), [], []
    compute = learner._compute_loss

    def runs_out_after_some_layers(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if len(inputs) == 8:
            activations = torch.zeros(4)
            computed.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return compute(inputs, targets)

    learner._compute_loss = runs_out_after_some_layers
    learner.on_notice = lambda _: is_gone.append(computed[0]() is None)
    learner.gradients(dataset, 0)
    assert is_gone == [True]


def test_memory_that_runs_out_later_or_with_one_sequence_is_an_error(
    config: TrainConfig, dataset: TokenDataset
) -> None:
    learner = Learner(dataclasses.replace(config, micro_batch_size=1))

    def out_of_memory(*_: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    working, learner._compute_loss = learner._compute_loss, out_of_memory
    with pytest.raises(RuntimeError, match="out of memory with micro-batches of 1 sequences; set a smaller"):
        learner.gradients(dataset, 0)
    learner._compute_loss = working
    learner.gradients(dataset, 0)
    learner._compute_loss = out_of_memory
    with pytest.raises(torch.OutOfMemoryError):
        learner.gradients(dataset, 1)


def test_a_notice_warns_if_nobody_listens(config: TrainConfig) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Learner(config).on_notice("half")
    assert [str(warning.message) for warning in caught] == ["half"]


def test_batches_differ_between_steps_and_seeds_and_repeat_for_the_same(config: TrainConfig) -> None:
    dataset = open_dataset(config, config.data.train)
    learner, other_seed = Learner(config), Learner(dataclasses.replace(config, seed=1))
    inputs, targets = learner.batch(dataset, 3)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert torch.equal(learner.batch(dataset, 3)[0], inputs)
    assert not torch.equal(learner.batch(dataset, 4)[0], inputs)
    assert not torch.equal(other_seed.batch(dataset, 3)[0], inputs)


def test_the_first_step_moves_and_the_last_one_has_the_lowest_rate(config: TrainConfig) -> None:
    learner = Learner(config)
    rates = [learner.learning_rate(step) for step in range(12)]
    assert rates[0] == pytest.approx(0.5e-2)
    assert max(rates) == rates[1] == pytest.approx(1e-2)
    assert rates[-1] == pytest.approx(1e-3)


@pytest.mark.parametrize("shape", ["cosine", "linear", "wsd"])
def test_every_schedule_ends_at_its_lowest_rate(config: TrainConfig, shape: Any) -> None:
    schedule = ScheduleConfig(shape=shape, warmup_steps=2, min_lr_ratio=0.0, cooldown_ratio=0.25)
    learner = Learner(dataclasses.replace(config, schedule=schedule))
    rates = [learner.learning_rate(step) for step in range(12)]
    assert max(rates) == pytest.approx(1e-2)
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    if shape == "wsd":
        assert rates[1:9] == [1e-2] * 8  # the last quarter goes down
        assert rates[9] < 1e-2


@pytest.mark.parametrize(("algorithm", "kind"), [("adamw", AdamW), ("muon", Muon)])
def test_gains_do_not_decay_and_both_optimizers_learn(
    config: TrainConfig, dataset: TokenDataset, algorithm: Any, kind: type
) -> None:
    np.save(config.data.train, np.arange(4000, dtype=np.uint16) * 7 % 60)
    config = dataclasses.replace(config, optim=OptimConfig(algorithm=algorithm, lr=1e-2), steps=30)
    learner = Learner(config)
    assert type(learner.optimizer) is kind
    free = [group for group in learner.optimizer.param_groups if group["weight_decay"] == 0]
    assert {parameter.ndim for group in free for parameter in group["params"]} == {1}
    losses, _ = losses_of(config, open_dataset(config, config.data.train), num_steps=30)
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize(
    ("placement", "fits", "is_resident"),
    [("auto", True, True), ("auto", False, False), ("device", False, True), ("host", True, False)],
)
def test_the_training_file_is_kept_on_the_device_if_it_fits_or_is_told_to(
    config: TrainConfig,
    dataset: TokenDataset,
    monkeypatch: pytest.MonkeyPatch,
    placement: Any,
    fits: bool,
    is_resident: bool,
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(learner_module, "fits_on", lambda _, num_bytes: asked.append(num_bytes) or fits)
    learner = Learner(dataclasses.replace(config, data=dataclasses.replace(config.data, placement=placement)))
    assert (learner._own_stream(dataset)._resident is not None) is is_resident
    assert asked == ([2 * len(dataset)] if placement == "auto" else [])


def test_both_orders_are_there_and_without_replacement_is_the_default(
    config: TrainConfig, dataset: TokenDataset
) -> None:
    starts = set()
    learner = Learner(config)
    for step in range(30):  # 30 x 8 of the 248 windows
        inputs, _ = learner.batch(dataset, step)
        starts |= {tuple(row) for row in inputs.tolist()}
    assert len(starts) == 240
    drawn = Learner(dataclasses.replace(config, data=dataclasses.replace(config.data, order="random")))
    assert not torch.equal(drawn.batch(dataset, 0)[0], learner.batch(dataset, 0)[0])


class SlowSteps:
    """A clock that moves only while a step is taken: by the next of these times, or by the last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *steps_s: float) -> None:
        self.now_s, self.taken = 0.0, 0
        update = Learner.update

        def slow(learner: Learner, step: int) -> None:
            update(learner, step)
            self.now_s += steps_s[min(self.taken, len(steps_s) - 1)]
            self.taken += 1

        monkeypatch.setattr(Learner, "update", slow)

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(
    ("steps_s", "time_limit_s", "num_taken", "step_s"),
    [
        ((5.0, 2.0, 1.0), 1000.0, 5, 1.0),  # the warm-up does not count
        ((5.0, 2.0, 1.0), 7.5, 3, 1.0),  # the first step that counts
        ((5.0, 2.0, 1.0), 6.0, 2, 2.0),  # only warm-up steps: the fastest of them
        ((5.0, 2.0, 1.0), 0.0, 1, 5.0),  # one at least
    ],
)
def test_measuring_ends_with_its_time_and_tells_what_it_has_seen(
    config: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
    steps_s: tuple[float, ...],
    time_limit_s: float,
    num_taken: int,
    step_s: float,
) -> None:
    clock = SlowSteps(monkeypatch, *steps_s)
    speed = measure_tokens_per_s(config, num_steps=3, num_warmup_steps=2, time_limit_s=time_limit_s, clock=clock)
    assert clock.taken == num_taken
    assert speed == pytest.approx(config.tokens_per_step / step_s)


def test_the_time_that_compiling_takes_is_not_taken_for_a_slow_step(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_plain(*arguments: Any, compiled: bool, **options: Any) -> AdamW:
        return AdamW(*arguments, **options)

    monkeypatch.setattr(learner_module, "AdamW", build_plain)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    clock = SlowSteps(monkeypatch, 60.0, 1.0)
    compiled = dataclasses.replace(config, compile=True)
    speed = measure_tokens_per_s(compiled, num_steps=3, num_warmup_steps=2, time_limit_s=1.5, clock=clock)
    assert clock.taken == 3
    assert speed == pytest.approx(config.tokens_per_step)
