import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cs336.model import RotaryPositionalEmbedding


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_pairs_rotate_as_complex_numbers():
    theta, d_k, seq = 10_000.0, 8, 20
    x = torch.randn(2, seq, d_k, dtype=torch.float64, generator=seeded())
    angles = torch.outer(torch.arange(seq).double(), theta ** (-torch.arange(0, d_k, 2).double() / d_k))
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2))) * torch.polar(torch.ones_like(angles), angles)
    expected = torch.view_as_real(turned).flatten(-2)
    rotated = RotaryPositionalEmbedding(theta, d_k, max_seq_len=seq)(x)
    torch.testing.assert_close(rotated, expected, atol=1e-6, rtol=0)  # the tables are fp32


def test_position_zero_is_not_rotated():
    x = torch.randn(1, 6, generator=seeded())
    assert torch.equal(RotaryPositionalEmbedding(10_000.0, 6, max_seq_len=4)(x), x)


def test_first_pair_turns_by_one_radian_a_position():
    x = torch.tensor([[1.0, 0.0]]).expand(4, 2)
    rotated = RotaryPositionalEmbedding(10_000.0, 2, max_seq_len=4)(x)
    expected = torch.tensor([[math.cos(i), math.sin(i)] for i in range(4)])
    torch.testing.assert_close(rotated, expected)


@settings(max_examples=30)
@given(query_at=st.integers(0, 400), key_at=st.integers(0, 400), shift=st.integers(0, 100))
def test_dot_products_depend_on_the_distance_alone(query_at, key_at, shift):
    rope = RotaryPositionalEmbedding(10_000.0, 16, max_seq_len=501)
    query, key = torch.randn(2, 1, 16, dtype=torch.float64, generator=seeded())

    def product(shift):
        return rope(query, torch.tensor([query_at + shift])) @ rope(key, torch.tensor([key_at + shift])).T

    torch.testing.assert_close(product(0), product(shift), atol=1e-5, rtol=0)  # fp32 tables, 16 products of order one


def test_rotation_keeps_lengths():
    x = torch.randn(3, 50, 16, generator=seeded())
    rotated = RotaryPositionalEmbedding(10_000.0, 16, max_seq_len=50)(x)
    torch.testing.assert_close(rotated.norm(dim=-1), x.norm(dim=-1))


def test_positions_pick_the_rows_and_broadcast_over_the_batch():
    rope = RotaryPositionalEmbedding(10_000.0, 4, max_seq_len=10)
    x = torch.randn(2, 10, 4, generator=seeded())
    whole = rope(x)
    assert torch.equal(rope(x[:, 3:7], torch.arange(3, 7)), whole[:, 3:7])
    positions = torch.tensor([[0, 1], [5, 9]])
    picked = torch.stack([whole[0, :2], whole[1, [5, 9]]])
    assert torch.equal(rope(torch.stack([x[0, :2], x[1, [5, 9]]]), positions), picked)


def test_bf16_input_is_rotated_in_fp32():
    rope = RotaryPositionalEmbedding(10_000.0, 8, max_seq_len=300)
    x = torch.randn(300, 8, generator=seeded()).bfloat16()
    rotated = rope(x)
    assert rotated.dtype == torch.bfloat16
    assert torch.equal(rotated, rope(x.float()).bfloat16())


def test_tables_are_accurate_far_out():
    rope = RotaryPositionalEmbedding(10_000.0, 64, max_seq_len=16_384)
    exact = math.cos(16_383 * 10_000 ** (-2 / 64))
    assert rope.cosines[16_383, 1].item() == pytest.approx(exact, abs=1e-6)


def test_tables_stay_out_of_the_state_dict():
    assert RotaryPositionalEmbedding(10_000.0, 8, max_seq_len=4).state_dict() == {}


def test_odd_width_is_refused():
    with pytest.raises(ValueError, match="d_k must be even, got 7"):
        RotaryPositionalEmbedding(10_000.0, 7, max_seq_len=4)


@pytest.mark.parametrize("theta", [0.0, -1.0, math.nan])
def test_nonpositive_theta_is_refused(theta):
    with pytest.raises(ValueError, match=f"theta must be positive, got {theta}"):
        RotaryPositionalEmbedding(theta, 8, max_seq_len=4)


@pytest.mark.parametrize("position", [-1, 4])
def test_a_position_outside_the_table_is_refused(position):
    with pytest.raises(IndexError):
        RotaryPositionalEmbedding(10_000.0, 8, max_seq_len=4)(torch.zeros(2, 8), torch.tensor([0, position]))


def test_too_long_a_sequence_is_refused():
    with pytest.raises(ValueError, match=r"at most 4 .* got 5"):
        RotaryPositionalEmbedding(10_000.0, 8, max_seq_len=4)(torch.zeros(5, 8))
