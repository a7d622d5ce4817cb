import copy
import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cs336.optim import AdamW


def parameters(*shapes, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in shapes]


def train(optimizer, params, num_steps, *, first=0):
    for step in range(first, first + num_steps):
        generator = torch.Generator().manual_seed(step)
        for param in params:
            param.grad = torch.randn(param.shape, generator=generator, dtype=param.dtype)
        optimizer.step()


@settings(max_examples=25)
@given(
    lr=st.floats(1e-5, 1e-1),
    beta1=st.floats(0, 0.99),
    beta2=st.floats(0, 0.9999),
    weight_decay=st.floats(0, 1),
    foreach=st.booleans(),
)
def test_equals_torch_with_vanishing_eps(lr, beta1, beta2, weight_decay, foreach):
    ours, theirs = parameters((3, 2), (4,)), parameters((3, 2), (4,))
    options = {"lr": lr, "betas": (beta1, beta2), "weight_decay": weight_decay, "eps": 1e-30}
    train(AdamW(ours, foreach=foreach, **options), ours, 7)
    train(torch.optim.AdamW(theirs, **options), theirs, 7)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)  # fp64, with 1 - beta^t losing a few digits


def test_one_step_by_hand():
    param = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    param.grad = torch.tensor([0.5], dtype=torch.float64)
    AdamW([param], 0.1, betas=(0.9, 0.99), eps=0.01, weight_decay=0.3).step()
    lr_1 = 0.1 * math.sqrt(1 - 0.99) / (1 - 0.9)
    moved = lr_1 * (0.1 * 0.5) / (math.sqrt(0.01 * 0.25) + 0.01)  # eps beside the uncorrected sqrt(v)
    assert param.item() == pytest.approx(2.0 * (1 - 0.1 * 0.3) - moved, rel=1e-12)


def test_decay_comes_before_the_update_and_alone_without_gradient_signal():
    param = torch.nn.Parameter(torch.ones(3))
    param.grad = torch.zeros(3)
    AdamW([param], 0.1, weight_decay=0.5).step()
    torch.testing.assert_close(param.data, torch.full((3,), 0.95))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_foreach_gives_the_same_bits(dtype):
    shapes = [(3, 5), (7,), (2, 2, 2), ()]
    plain, together = parameters(*shapes, dtype=dtype), parameters(*shapes, dtype=dtype)
    train(AdamW(plain, 1e-2), plain, 5)
    train(AdamW(together, 1e-2, foreach=True), together, 5)
    assert all(torch.equal(one, other) for one, other in zip(plain, together, strict=True))


@pytest.mark.slow
def test_the_compiler_is_not_loaded_before_it_is_needed():
    program = "import sys, cs336.optim, cs336.train, cs336.generate; sys.exit('torch._dynamo' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_compiled_gives_the_same_numbers_and_compiles_once_for_all_rates():
    shapes = [(3, 5), (7,), (2, 2, 2)]
    plain, compiled = parameters(*shapes, dtype=torch.float32), parameters(*shapes, dtype=torch.float32)
    one, other = AdamW(plain, 1e-2, foreach=True), AdamW(compiled, 1e-2, compiled=True)
    torch._dynamo.utils.counters.clear()
    for step in range(4):
        for optimizer, params in ((one, plain), (other, compiled)):
            optimizer.param_groups[0]["lr"] = 1e-2 / (1 + step)
            train(optimizer, params, 1, first=step)
    for mine, theirs in zip(compiled, plain, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("foreach", [False, True])
def test_a_parameter_without_gradient_is_left_alone_and_keeps_its_own_count(foreach):
    late, usual, reference = parameters((2,), (2,), (2,))
    with torch.no_grad():
        reference.copy_(late)
    optimizer = AdamW([late, usual], 1e-2, foreach=foreach)
    usual.grad = torch.ones(2, dtype=torch.float64)
    optimizer.step()
    assert torch.equal(late, reference)
    late.grad = reference.grad = torch.ones(2, dtype=torch.float64)
    optimizer.step()
    AdamW([reference], 1e-2).step()
    assert torch.equal(late, reference)  # its first step, though the other parameter's second


def test_groups_have_their_own_settings_and_lr_may_change_between_steps():
    decayed, free = parameters((2,), (2,))
    before = free.detach().clone()
    optimizer = AdamW([{"params": [decayed]}, {"params": [free], "lr": 0.0}], 1e-2)
    train(optimizer, [decayed, free], 1)
    assert torch.equal(free, before)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    after = decayed.detach().clone()
    train(optimizer, [decayed, free], 1, first=1)
    assert torch.equal(decayed, after)


def test_state_dict_round_trip_continues_bit_for_bit():
    ours, copies = parameters((3, 2)), parameters((3, 2))
    optimizer = AdamW(ours, 1e-2)
    train(optimizer, ours, 3)
    resumed = AdamW(copies, 1.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    with torch.no_grad():
        copies[0].copy_(ours[0])
    train(optimizer, ours, 3, first=3)
    train(resumed, copies, 3, first=3)
    assert torch.equal(ours[0], copies[0])


@pytest.mark.parametrize("foreach", [False, True])
def test_a_deep_copy_continues_bit_for_bit(foreach):
    ours = parameters((3, 2))
    optimizer = AdamW(ours, 1e-2, foreach=foreach)
    train(optimizer, ours, 2)
    twin = copy.deepcopy(optimizer)
    copies = twin.param_groups[0]["params"]
    train(optimizer, ours, 2, first=2)
    train(twin, copies, 2, first=2)
    assert torch.equal(ours[0], copies[0])


def test_step_returns_the_loss_of_a_closure_that_computes_gradients():
    (param,) = parameters((2,))
    optimizer = AdamW([param], 1e-2)

    def closure():
        optimizer.zero_grad()
        loss = param.square().sum()
        loss.backward()
        return loss.item()

    expected = param.detach().square().sum().item()
    assert optimizer.step(closure) == expected
    assert optimizer.step(closure) < expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr must be at least 0, got -1.0"),
        ({"lr": float("nan")}, "lr must be at least 0, got nan"),
        ({"eps": -1e-8}, "eps must be at least 0"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0"),
        ({"betas": (0.9, 1.0)}, r"betas must be in \[0, 1\), got \(0.9, 1.0\)"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AdamW(parameters((2,)), **options)
