import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cs336.optim import clip_gradients


def with_gradients(*shapes, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    params = [torch.nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in shapes]
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator).to(dtype)
    return params


@given(seed=st.integers(0, 1000), max_norm=st.sampled_from([1e-3, 0.5, 3.0, 4.0, 1e6]))
def test_equals_torch(seed, max_norm):
    ours, theirs = (with_gradients((3, 4), (2,), (), seed=seed) for _ in range(2))
    norm = clip_gradients(ours, max_norm)
    torch.testing.assert_close(norm, torch.nn.utils.clip_grad_norm_(theirs, max_norm))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_returns_the_norm_before_clipping_and_leaves_the_maximum():
    params = with_gradients((100,))
    params[0].grad = torch.full((100,), 3.0)
    assert clip_gradients(params, 1.0).item() == pytest.approx(30)
    assert params[0].grad.norm().item() == pytest.approx(1, abs=1e-6)


def test_small_gradients_keep_their_bits():
    params = with_gradients((3, 4))
    before = params[0].grad.clone()
    clip_gradients(params, 1e3)
    assert torch.equal(params[0].grad, before)


def test_parameters_without_gradient_are_skipped():
    frozen, trained = torch.nn.Parameter(torch.ones(2)), with_gradients((2,))[0]
    expected = trained.grad.norm()
    torch.testing.assert_close(clip_gradients([frozen, trained], 1e-2), expected)
    assert frozen.grad is None
    assert clip_gradients([frozen], 1.0).item() == 0


def test_takes_a_single_parameter():
    (param,) = with_gradients((3, 4))
    clip_gradients(param, 0.1)
    torch.testing.assert_close(param.grad.norm(), torch.tensor(0.1))


def test_takes_an_iterator():
    params = with_gradients((3,), (4,))
    clip_gradients(iter(params), 1e-2)
    total = math.sqrt(sum(param.grad.square().sum().item() for param in params))
    assert total == pytest.approx(1e-2, rel=1e-3)  # eps 1e-6 beside a norm of order one


def test_bf16_gradients_are_summed_in_fp32():
    params = with_gradients((100_000,), dtype=torch.bfloat16)
    params[0].grad = torch.ones(100_000, dtype=torch.bfloat16)
    assert clip_gradients(params, 1e6).item() == pytest.approx(math.sqrt(100_000), rel=1e-5)


def test_nonpositive_maximum_is_refused():
    with pytest.raises(ValueError, match="max_norm must be positive, got 0"):
        clip_gradients([], 0.0)
