import copy

import pytest
import torch

from cs336.optim import AdamW, Muon, parameter_groups
from cs336.optim.muon import orthogonalised


def matrices(*shapes, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in shapes]


def give_gradients(params, step):
    generator = torch.Generator().manual_seed(step)
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator, dtype=param.dtype)


@pytest.mark.parametrize("shape", [(8, 8), (5, 12), (12, 5), (3, 4, 6)])
def test_orthogonalised_keeps_singular_vectors_and_levels_singular_values(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalised(matrix)
    inside = left.mT @ result @ right.mT  # diagonal if the vectors are the same
    new_values = inside.diagonal(dim1=-2, dim2=-1)
    assert (values.amax() / values.amin()) > 2
    torch.testing.assert_close(inside, torch.diag_embed(new_values), atol=1e-4, rtol=0)
    assert new_values.min() > 0.6
    assert new_values.max() < 1.3  # the quintic overshoots on purpose


def test_one_step_by_hand():
    (weight,) = matrices((4, 9))
    before = weight.detach().clone()
    give_gradients([weight], 1)
    Muon([weight], 0.1, momentum=0.9, weight_decay=0.5).step()
    update = 0.2 * 9**0.5 * orthogonalised(weight.grad + 0.9 * weight.grad)
    torch.testing.assert_close(weight.detach(), before * (1 - 0.1 * 0.5) - 0.1 * update)


def test_updates_are_as_large_as_adamws():
    (weight,) = matrices((64, 256))
    before = weight.detach().clone()
    give_gradients([weight], 1)
    Muon([weight], 1.0, weight_decay=0.0).step()
    assert (weight.detach() - before).square().mean().sqrt().item() == pytest.approx(0.2, rel=0.3)


def test_matrices_of_several_shapes_do_not_mix():
    shapes = [(4, 6), (6, 4), (4, 6)]
    together, alone = matrices(*shapes), matrices(*shapes)
    optimizer, optimizers = Muon(together, 0.1), [Muon([param], 0.1) for param in alone]
    for step in range(3):
        give_gradients(together, step)
        give_gradients(alone, step)
        optimizer.step()
        for other in optimizers:
            other.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other)


def test_the_rest_is_left_to_adamw():
    ours, theirs = matrices((4, 6), (5,)), matrices((4, 6), (5,))
    muon = Muon([{"params": [ours[0]]}, {"params": [ours[1]], "orthogonal": False}], 0.1, betas=(0.8, 0.9))
    adamw = AdamW([theirs[1]], 0.1, betas=(0.8, 0.9), weight_decay=0.1, foreach=True)
    for step in range(3):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        muon.step()
        adamw.step()
    assert torch.equal(ours[1], theirs[1])
    assert not torch.equal(ours[0], theirs[0])


def test_a_deep_copy_continues_bit_for_bit():
    ours = matrices((4, 6), (3, 3))
    optimizer = Muon(ours, 0.1)
    give_gradients(ours, 0)
    optimizer.step()
    twin = copy.deepcopy(optimizer)
    copies = twin.param_groups[0]["params"]
    for params, one in ((ours, optimizer), (copies, twin)):
        give_gradients(params, 1)
        one.step()
    assert all(torch.equal(one, other) for one, other in zip(ours, copies, strict=True))


def test_what_is_no_matrix_is_refused():
    with pytest.raises(ValueError, match=r"muon orthogonalises matrices, got a parameter of shape \(5,\); put it into"):
        Muon(matrices((5,)))
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\), got 1.0"):
        Muon(matrices((5, 5)), momentum=1.0)


def named(*names_and_shapes):
    return [(name, torch.nn.Parameter(torch.zeros(shape))) for name, shape in names_and_shapes]


def test_groups_decay_matrices_and_not_gains_and_orthogonalise_blocks_alone():
    parameters = named(
        ("token_embeddings.weight", (9, 4)), ("layers.0.ln1.weight", (4,)), ("layers.0.attn.q_proj.weight", (4, 4))
    )
    table, gain, matrix = (parameter for _, parameter in parameters)
    decayed, free = parameter_groups(parameters, with_muon=False)
    assert decayed["params"] == [matrix, table]
    assert free == {"params": [gain], "weight_decay": 0.0}
    blocks, tables, gains = parameter_groups(parameters, with_muon=True)
    assert (blocks["params"], blocks["orthogonal"]) == ([matrix], True)
    assert (tables["params"], tables["orthogonal"]) == ([table], False)
    assert (gains["params"], gains["weight_decay"]) == ([gain], 0.0)


def test_groups_without_members_are_left_out():
    assert len(parameter_groups(named(("lm_head.weight", (4, 4))), with_muon=True)) == 1
