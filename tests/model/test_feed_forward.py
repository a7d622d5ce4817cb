import torch
from torch.nn import functional as F

from cs336.model import SiLUFeedForward, SwiGLU


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_swiglu_equals_its_formula_in_torch():
    ffn = SwiGLU(8, 12, generator=seeded())
    x = torch.randn(2, 3, 8, generator=seeded(1))
    expected = F.linear(F.silu(F.linear(x, ffn.w1.weight)) * F.linear(x, ffn.w3.weight), ffn.w2.weight)
    torch.testing.assert_close(ffn(x), expected)


def test_silu_feed_forward_equals_its_formula_in_torch():
    ffn = SiLUFeedForward(8, 12, generator=seeded())
    x = torch.randn(2, 3, 8, generator=seeded(1))
    torch.testing.assert_close(ffn(x), F.linear(F.silu(F.linear(x, ffn.w1.weight)), ffn.w2.weight))


def test_weights_have_the_handout_shapes():
    shapes = {name: tuple(weight.shape) for name, weight in SwiGLU(8, 12).state_dict().items()}
    assert shapes == {"w1.weight": (12, 8), "w2.weight": (8, 12), "w3.weight": (12, 8)}


def test_without_a_gate_three_halves_of_the_width_match_the_parameters():
    def count(ffn):
        return sum(weight.numel() for weight in ffn.parameters())

    assert count(SiLUFeedForward(512, 2016)) == count(SwiGLU(512, 1344))
