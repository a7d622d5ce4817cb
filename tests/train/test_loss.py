import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from cs336.train.loss import bits_per_byte, chunked_cross_entropy, cross_entropy, perplexity


@given(seed=st.integers(0, 2**32), scale=st.sampled_from([1.0, 100.0, 1e4]))
def test_cross_entropy_equals_torch_in_value_and_gradient(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(6, 11, generator=generator)
    targets = torch.randint(11, (6,), generator=generator)
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    cross_entropy(ours, targets).backward()
    F.cross_entropy(theirs, targets).backward()
    torch.testing.assert_close(cross_entropy(logits, targets), F.cross_entropy(logits, targets))
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("batch", [(), (5,), (2, 3), (2, 1, 4)])
def test_mean_is_taken_over_all_batch_dimensions(batch):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(*batch, 7, generator=generator)
    targets = torch.randint(7, batch, generator=generator)
    expected = F.cross_entropy(logits.reshape(-1, 7), targets.reshape(-1))
    torch.testing.assert_close(cross_entropy(logits, targets), expected)


def test_logits_of_ten_thousand_are_exact():
    logits = torch.tensor([[1e4, 0.0], [0.0, 1e4], [-1e4, -1e4]])
    assert cross_entropy(logits, torch.tensor([0, 0, 1])).item() == pytest.approx((0 + 1e4 + math.log(2)) / 3)


def test_bf16_logits_are_summed_in_fp32():
    logits = torch.randn(4, 5000, generator=torch.Generator().manual_seed(0)).bfloat16()
    targets = torch.arange(4)
    loss = cross_entropy(logits, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, F.cross_entropy(logits.float(), targets))


def head_and_hidden(dtype=torch.float64, rows=(3, 5), d_model=8, vocab=23):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(*rows, d_model, generator=generator, dtype=dtype)
    head = torch.randn(vocab, d_model, generator=generator, dtype=dtype)
    return hidden, head, torch.randint(vocab, rows, generator=generator)


def plainly(hidden, head, targets, softcap=None):
    logits = hidden @ head.T
    return cross_entropy(logits if softcap is None else softcap * torch.tanh(logits / softcap), targets)


@pytest.mark.parametrize("chunk_size", [1, 4, 15, 100])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_loss_in_chunks_equals_the_whole_in_value_and_gradients(chunk_size, softcap):
    hidden, head, targets = head_and_hidden()
    both = [[tensor.clone().requires_grad_() for tensor in (hidden, head)] for _ in range(2)]
    whole = plainly(*both[0], targets, softcap)
    chunked = chunked_cross_entropy(*both[1], targets, chunk_size=chunk_size, softcap=softcap)
    torch.testing.assert_close(chunked, whole)
    (3 * whole).backward()  # the loss is scaled where a batch is worked off in parts
    (3 * chunked).backward()
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_loss_in_chunks_without_gradients_keeps_none():
    hidden, head, targets = head_and_hidden()
    loss = chunked_cross_entropy(hidden, head, targets, chunk_size=4)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, plainly(hidden, head, targets))


def test_loss_in_chunks_of_bf16_sums_in_fp32_and_gives_fp32_weights_fp32_gradients():
    hidden, head, targets = head_and_hidden(torch.float32, rows=(64,))
    narrow, weight = hidden.bfloat16().requires_grad_(), head.clone().requires_grad_()
    loss = chunked_cross_entropy(narrow, weight, targets, chunk_size=16)
    assert loss.dtype == torch.float32
    loss.backward()
    exact = head.clone().requires_grad_()
    plainly(hidden, exact, targets).backward()
    assert (narrow.grad.dtype, weight.grad.dtype) == (torch.bfloat16, torch.float32)
    assert (weight.grad - exact.grad).norm() < 0.02 * exact.grad.norm()  # bf16 keeps 8 bits


def test_no_tensor_of_the_chunked_loss_is_as_large_as_the_logits():
    hidden, head, targets = head_and_hidden(torch.float32, rows=(512,), vocab=300)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest = max(largest, result.numel())
            return result

    with Watch():
        chunked_cross_entropy(hidden.requires_grad_(), head.requires_grad_(), targets, chunk_size=32).backward()
    assert largest == 32 * 300  # not 512 * 300


def test_uniform_logits_lose_the_logarithm_of_the_vocabulary():
    loss = cross_entropy(torch.zeros(3, 50), torch.tensor([0, 7, 49])).item()
    assert loss == pytest.approx(math.log(50))
    assert perplexity(loss) == pytest.approx(50)


def test_perplexity_of_a_hopeless_loss_is_infinite():
    assert perplexity(1e4) == math.inf


def test_bits_per_byte_of_a_uniform_byte_model_is_eight():
    assert bits_per_byte(math.log(256), 1.0) == pytest.approx(8)
    assert bits_per_byte(1.3713, 4.1161) == pytest.approx(1.3713 / math.log(2) / 4.1161)


def test_bits_per_byte_needs_bytes():
    with pytest.raises(ValueError, match="bytes_per_token must be positive, got 0"):
        bits_per_byte(1.0, 0)
