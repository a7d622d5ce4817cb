import pytest
import torch
from torch.nn import functional as F

from cs336.model.lean import gated_silu, rms_norm


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def wide(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_first_and_second_derivatives_are_those_of_finite_differences(check):
    for shape in ((5,), (3, 5), (2, 3, 5)):
        assert check(lambda x, gain: rms_norm(x, gain, eps=1e-5), (wide(*shape), wide(5, seed=1)))
    assert check(gated_silu, (wide(3, 5), wide(3, 5, seed=1)))


def plain_rms_norm(x, gain):
    return (x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-5) * gain).to(x.dtype)


def plain_gated_silu(gate, value):
    return F.silu(gate) * value


@pytest.mark.parametrize(
    ("lean", "plain"), [(lambda x, gain: rms_norm(x, gain, eps=1e-5), plain_rms_norm), (gated_silu, plain_gated_silu)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autograd_left_to_itself_agrees(lean, plain, dtype):
    slope = torch.randn(4, 16, 8, generator=seeded(2))
    results = []
    for function in (lean, plain):
        x = (3 * torch.randn(4, 16, 8, generator=seeded())).to(dtype).requires_grad_()
        shape = (8,) if lean is not gated_silu else (4, 16, 8)
        second = torch.rand(shape, generator=seeded(1)).to(dtype if lean is gated_silu else torch.float32)
        y = function(x, second.requires_grad_())
        y.backward(slope.to(dtype))
        assert x.grad.dtype == y.dtype == dtype
        results.append((y, x.grad, second.grad))
    # in bf16 both round what lies between: a few units of 2^-8 of the largest value
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 2**-6, "atol": 2**-5}
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)


def kept_bytes(function, *arguments):
    """Return the bytes that autograd keeps beyond the arguments."""
    own, kept = {tensor.untyped_storage().data_ptr() for tensor in arguments}, {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        function(*arguments)
    return sum(size_bytes for address, size_bytes in kept.items() if address not in own)


def test_nothing_is_kept_beyond_the_arguments():
    x = torch.ones(6, 64, dtype=torch.bfloat16, requires_grad=True)
    assert kept_bytes(lambda x, gain: rms_norm(x, gain, eps=1e-5), x, torch.ones(64)) == 0
    assert kept_bytes(gated_silu, x, x.detach().clone()) == 0
