import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cs336.model import Embedding, Linear, RMSNorm


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_linear_equals_torch():
    ours, theirs = Linear(6, 4), nn.Linear(6, 4, bias=False)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 6, generator=seeded())
    torch.testing.assert_close(ours(x), theirs(x))


def test_linear_starts_glorot_normal_truncated_at_three_sigma():
    std = math.sqrt(2 / (300 + 500))
    weight = Linear(300, 500, generator=seeded()).weight
    assert weight.abs().max() <= 3 * std
    # Truncation at 3 sigma leaves 0.9866 of the standard deviation; 150,000 draws know it to 0.2 %.
    assert weight.std().item() == pytest.approx(0.9866 * std, rel=0.01)
    assert weight.mean().item() == pytest.approx(0, abs=4 * std / math.sqrt(weight.numel()))


def test_embedding_equals_torch():
    ours = Embedding(10, 4)
    ids = torch.tensor([[0, 9], [3, 3]])
    torch.testing.assert_close(ours(ids), F.embedding(ids, ours.weight))


def test_embedding_starts_standard_normal_truncated_at_three():
    weight = Embedding(1000, 100, generator=seeded()).weight
    assert 2.9 < weight.abs().max() <= 3
    assert weight.std().item() == pytest.approx(0.9866, rel=0.01)


@pytest.mark.parametrize("layer", [Linear, Embedding])
def test_one_seed_gives_the_same_weights_in_every_dtype(layer):
    wide, narrow = (layer(8, 4, dtype=dtype, generator=seeded(3)).weight for dtype in (torch.float32, torch.bfloat16))
    assert narrow.dtype == torch.bfloat16
    assert torch.equal(wide.to(torch.bfloat16), narrow)


@pytest.mark.parametrize("layer", [Linear, Embedding])
def test_generator_alone_decides_the_weights(layer):
    torch.manual_seed(1)
    first = layer(8, 4, generator=seeded(3)).weight
    torch.manual_seed(2)
    assert torch.equal(first, layer(8, 4, generator=seeded(3)).weight)
    assert not torch.equal(first, layer(8, 4, generator=seeded(4)).weight)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_rms_norm_equals_torch(scale):
    ours, theirs = RMSNorm(16), nn.RMSNorm(16, eps=1e-5)
    with torch.no_grad():
        ours.weight.copy_(torch.rand(16, generator=seeded(1)))
    theirs.load_state_dict(ours.state_dict())
    x = scale * torch.randn(2, 3, 16, generator=seeded())
    torch.testing.assert_close(ours(x), theirs(x))


def test_rms_norm_computes_in_fp32_and_casts_back():
    norm = RMSNorm(512, dtype=torch.bfloat16)
    x = (100 * torch.randn(4, 512, generator=seeded())).bfloat16()
    y = norm(x)
    assert y.dtype == torch.bfloat16
    # Correctly rounded: bit-equal to the fp32 result, which computing in bf16 would miss.
    assert torch.equal(y, RMSNorm(512)(x.float()).bfloat16())


def test_rms_norm_of_zero_is_zero_with_finite_gradient():
    x = torch.zeros(2, 8, requires_grad=True)
    y = RMSNorm(8)(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros(2, 8))
    assert x.grad.isfinite().all()


def test_rms_norm_keeps_double_precision():
    assert RMSNorm(4)(torch.ones(4, dtype=torch.float64)).dtype == torch.float64


def test_no_layer_has_a_bias():
    for layer in (Linear(3, 2), Embedding(3, 2), RMSNorm(3)):
        assert list(layer.state_dict()) == ["weight"]


@pytest.mark.parametrize("strange", [-1, 10])
def test_embedding_refuses_an_id_without_a_row(strange):
    with pytest.raises(IndexError):
        Embedding(10, 4)(torch.tensor([0, strange]))


def test_embedding_gradient_in_bf16_counts_beyond_256_equal_ids():
    embedding = Embedding(4, 2, dtype=torch.bfloat16)
    embedding(torch.zeros(4096, dtype=torch.long)).sum().backward()
    assert embedding.weight.grad[0].tolist() == [4096, 4096]
