import inspect

import pytest
import torch
from torch import nn

from cs336.model import MultiHeadSelfAttention, RotaryPositionalEmbedding


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def build(d_model=16, num_heads=4, *, with_rope=True, **options):
    rope = RotaryPositionalEmbedding(10_000.0, d_model // num_heads, max_seq_len=12) if with_rope else None
    return MultiHeadSelfAttention(d_model, num_heads, rope=rope, generator=seeded(), **options)


def test_equals_torch_multihead_attention():
    ours = build(with_rope=False)
    theirs = nn.MultiheadAttention(16, 4, bias=False, batch_first=True)
    projections = [ours.q_proj.weight, ours.k_proj.weight, ours.v_proj.weight]
    theirs.load_state_dict({"in_proj_weight": torch.cat(projections), "out_proj.weight": ours.output_proj.weight})
    x = torch.randn(2, 7, 16, generator=seeded(1))
    expected, _ = theirs(x, x, x, attn_mask=torch.ones(7, 7, dtype=torch.bool).triu(1))
    torch.testing.assert_close(ours(x), expected)


def test_equals_one_head_after_another_with_rope():
    ours = build()
    x = torch.randn(2, 7, 16, generator=seeded(1))
    heads = []
    for rows in torch.arange(16).split(4):
        query, key = (ours.rope(x @ proj.weight[rows].T) for proj in (ours.q_proj, ours.k_proj))
        scores = query @ key.mT / 2 + torch.full((7, 7), -torch.inf).triu(1)
        heads.append(scores.softmax(-1) @ (x @ ours.v_proj.weight[rows].T))
    torch.testing.assert_close(ours(x), torch.cat(heads, -1) @ ours.output_proj.weight.T)


@pytest.mark.parametrize("backend", ["plain", "sdpa"])
@pytest.mark.parametrize("with_rope", [False, True])
def test_no_position_sees_a_later_one(backend, with_rope):
    attention = build(with_rope=with_rope, backend=backend)
    x = torch.randn(1, 6, 16, generator=seeded(1), requires_grad=True)
    for position in range(6):
        (grad,) = torch.autograd.grad(attention(x)[0, position].sum(), x)
        reached = grad[0].abs().sum(-1) > 0
        assert reached.tolist() == [other <= position for other in range(6)]


def test_backends_agree_in_values_and_gradients():
    x = torch.randn(2, 9, 16, generator=seeded(1))
    results = []
    for backend in ("plain", "sdpa"):
        attention = build(backend=backend)
        y = attention(x)
        y.square().sum().backward()
        results.append((y, attention.q_proj.weight.grad, attention.v_proj.weight.grad))
    for plain, fused in zip(*results, strict=True):
        torch.testing.assert_close(plain, fused, atol=1e-5, rtol=1e-4)  # another order of summation


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_works_with_any_batch_dimensions(batch):
    attention = build()
    x = torch.randn(*batch, 5, 16, generator=seeded(1))
    one = x.reshape(-1, 5, 16)[-1]
    torch.testing.assert_close(attention(x).reshape(-1, 5, 16)[-1], attention(one))


def test_positions_default_to_counting_from_zero():
    attention = build()
    x = torch.randn(2, 5, 16, generator=seeded(1))
    torch.testing.assert_close(attention(x, torch.arange(5)), attention(x))
    torch.testing.assert_close(attention(x, torch.arange(5)[None]), attention(x))


def test_positions_may_differ_by_row_and_only_distances_matter():
    attention = build()
    x = torch.randn(2, 5, 16, generator=seeded(1))
    shifted = attention(x, torch.stack([torch.arange(5), torch.arange(5) + 7]))
    torch.testing.assert_close(shifted, attention(x), atol=1e-5, rtol=1e-4)  # equal angles differ by rounding
    stretched = attention(x, torch.stack([torch.arange(5), torch.arange(5) * 2]))
    torch.testing.assert_close(stretched[0], attention(x)[0])
    assert not torch.allclose(stretched[1], attention(x)[1], atol=1e-3)


def test_indivisible_width_is_refused():
    with pytest.raises(ValueError, match="d_model must be divisible by num_heads, got 512 and 12"):
        MultiHeadSelfAttention(512, 12)


def test_unknown_backend_is_refused():
    unchecked_init = inspect.unwrap(MultiHeadSelfAttention.__init__)  # beartype would complain first
    with pytest.raises(ValueError, match="one of plain, sdpa, got 'flash'"):
        unchecked_init(MultiHeadSelfAttention(8, 2), 8, 2, backend="flash")
