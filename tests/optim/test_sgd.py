import math

import pytest
import torch

from cs336.optim import SGD


def test_plain_steps_equal_torch():
    ours, theirs = (torch.nn.Parameter(torch.arange(4.0)) for _ in range(2))
    for optimizer, param in ((SGD([ours], 0.1), ours), (torch.optim.SGD([theirs], 0.1), theirs)):
        for _ in range(3):
            optimizer.zero_grad()
            param.square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_inverse_sqrt_decay_follows_the_handout():
    param = torch.nn.Parameter(torch.zeros(1))
    optimizer = SGD([param], 1.0, inverse_sqrt_decay=True)
    expected = 0.0
    for t in range(4):
        param.grad = torch.ones(1)
        optimizer.step()
        expected -= 1 / math.sqrt(t + 1)
        assert param.item() == pytest.approx(expected)


@pytest.mark.parametrize(("lr", "falls"), [(1.0, True), (10.0, True), (100.0, True), (1000.0, False)])
def test_handouts_toy_example_diverges_only_at_the_greatest_rate(lr, falls):
    weights = torch.nn.Parameter(5 * torch.randn(10, 10, generator=torch.Generator().manual_seed(0)))
    optimizer = SGD([weights], lr, inverse_sqrt_decay=True)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = weights.square().mean()
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    assert (losses[-1] < losses[0]) == falls


def test_parameters_without_gradient_are_skipped():
    param = torch.nn.Parameter(torch.ones(2))
    SGD([param], 1.0).step()
    assert torch.equal(param.data, torch.ones(2))


@pytest.mark.parametrize("lr", [-1.0, math.nan])
def test_impossible_rate_is_refused(lr):
    with pytest.raises(ValueError, match=f"lr must be at least 0, got {lr}"):
        SGD([torch.nn.Parameter(torch.ones(1))], lr)
