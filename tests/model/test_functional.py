import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch.nn import functional as F

from cs336.model import scaled_dot_product_attention, silu, softmax


@given(seed=st.integers(0, 2**32), dim=st.integers(-3, 2), scale=st.sampled_from([1.0, 100.0, 1e4]))
def test_softmax_equals_torch_on_any_axis_and_scale(seed, dim, scale):
    x = scale * torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(softmax(x, dim), F.softmax(x, dim))


def test_softmax_does_not_overflow_and_ignores_a_shift():
    x = torch.tensor([1e4, 1e4 - 1, -1e4])
    torch.testing.assert_close(softmax(x, 0), softmax(x - 1e4, 0))
    assert softmax(x, 0).isfinite().all()


def test_softmax_gives_no_mass_to_minus_infinity():
    assert softmax(torch.tensor([0.0, -math.inf, 0.0]), 0).tolist() == [0.5, 0.0, 0.5]


def test_softmax_gradient_is_that_of_the_formula():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: softmax(x, -1), x)


def test_silu_equals_torch():
    x = torch.linspace(-90, 90, 1001)
    torch.testing.assert_close(silu(x), F.silu(x))


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_equals_torch_with_any_batch_dimensions(batch, masked):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(*batch, 5, 8, generator=generator)
    key = torch.randn(*batch, 7, 8, generator=generator)
    value = torch.randn(*batch, 7, 6, generator=generator)
    mask = torch.rand(*batch, 5, 7, generator=generator) < 0.7 if masked else None
    if mask is not None:
        mask[..., 0] = True  # every query attends to something
    expected = F.scaled_dot_product_attention(query, key, value, mask)
    torch.testing.assert_close(scaled_dot_product_attention(query, key, value, mask), expected)


def test_attention_broadcasts_one_mask_over_the_batch():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 5, 8, generator=generator) for _ in range(3))
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    expected = scaled_dot_product_attention(query, key, value, mask.expand(2, 3, 5, 5))
    torch.testing.assert_close(scaled_dot_product_attention(query, key, value, mask), expected)


def test_attention_with_one_key_returns_its_value():
    query, key, value = torch.randn(4, 8), torch.randn(1, 8), torch.arange(3.0)[None]
    torch.testing.assert_close(scaled_dot_product_attention(query, key, value), value.expand(4, 3))


def test_annotated_shapes_are_checked_in_tests():
    with pytest.raises(TypeCheckError):
        scaled_dot_product_attention(torch.zeros(4, 8), torch.zeros(4, 6), torch.zeros(4, 6))
