import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from cs336.data import TokenDataset
from cs336.model import ModelConfig, TransformerLM
from cs336.train.evaluate import evaluate


class Recorder(nn.Module):
    """Predicts uniformly over 100 ids, and remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.seen = []
        self.modes = set()

    def forward(self, ids):
        self.seen.append(ids)
        self.modes.add((self.training, torch.is_grad_enabled()))
        return torch.zeros(*ids.shape, 100)


@given(num_ids=st.integers(2, 60), batch_size=st.integers(1, 5), context_length=st.integers(1, 9))
def test_every_id_but_the_last_is_read_once_and_in_order(num_ids, batch_size, context_length):
    model = Recorder()
    result = evaluate(model, np.arange(num_ids), batch_size=batch_size, context_length=context_length)
    assert torch.cat([ids.flatten() for ids in model.seen]).tolist() == list(range(num_ids - 1))
    assert all(ids.shape[0] <= batch_size and ids.shape[1] <= context_length for ids in model.seen)
    assert result.num_tokens == num_ids - 1
    assert result.loss == pytest.approx(math.log(100))
    assert result.perplexity == pytest.approx(100)


def tiny_model():
    config = ModelConfig(vocab_size=20, context_length=8, d_model=8, num_layers=1, num_heads=2, d_ff=16)
    return TransformerLM(config, generator=torch.Generator().manual_seed(0))


def random_ids(num_ids=50):
    return np.random.default_rng(0).integers(20, size=num_ids).astype(np.uint16)


def test_loss_is_the_mean_over_targets_not_over_batches():
    model, ids = tiny_model(), torch.from_numpy(random_ids().astype(np.int64))
    losses = []
    for start in range(0, 49, 8):
        window = ids[start : start + 9]
        losses += F.cross_entropy(model(window[None, :-1])[0], window[1:], reduction="none").tolist()
    for batch_size in (1, 2, 6, 100):
        result = evaluate(model, random_ids(), batch_size=batch_size, context_length=8)
        assert result.loss == pytest.approx(sum(losses) / 49, rel=1e-6)


def test_memory_mapped_files_are_read(tmp_path):
    np.save(tmp_path / "ids.npy", random_ids())
    mapped = evaluate(tiny_model(), TokenDataset.open(tmp_path / "ids.npy"), batch_size=4, context_length=8)
    assert mapped == evaluate(tiny_model(), random_ids(), batch_size=4, context_length=8)


def test_max_tokens_predicts_the_first_so_many():
    limited = evaluate(tiny_model(), random_ids(), batch_size=4, context_length=8, max_tokens=20)
    assert limited == evaluate(tiny_model(), random_ids()[:21], batch_size=4, context_length=8)
    assert limited.num_tokens == 20
    assert evaluate(tiny_model(), random_ids(), batch_size=4, context_length=8, max_tokens=10**9).num_tokens == 49


@pytest.mark.parametrize("training", [False, True])
def test_runs_in_eval_mode_without_gradients_and_restores_the_mode(training):
    model = Recorder().train(training)
    evaluate(model, np.arange(9), batch_size=2, context_length=3)
    assert model.modes == {(False, False)}
    assert model.training == training


def test_mode_is_restored_after_an_error():
    model = tiny_model()
    with pytest.raises(ValueError, match="context_length"):
        evaluate(model, random_ids(), batch_size=2, context_length=9)
    assert model.training


def test_random_state_is_left_alone():
    before = torch.random.get_rng_state()
    evaluate(tiny_model(), random_ids(), batch_size=2, context_length=8)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("num_ids", "sizes", "message"),
    [
        (1, {}, "at least 2 ids, one to predict the next from, got 1"),
        (0, {}, "got 0"),
        (9, {"batch_size": 0}, "batch_size must be at least 1, got 0"),
        (9, {"context_length": 0}, "context_length must be at least 1, got 0"),
        (9, {"max_tokens": 0}, "max_tokens must be at least 1, got 0"),
    ],
)
def test_impossible_evaluations_are_refused(num_ids, sizes, message):
    with pytest.raises(ValueError, match=message):
        evaluate(Recorder(), np.arange(num_ids), **({"batch_size": 2, "context_length": 3} | sizes))


@pytest.mark.parametrize("ids", [np.zeros((4, 4), dtype=np.int64), np.zeros(9)])
def test_anything_but_a_row_of_integers_is_refused(ids):
    with pytest.raises(ValueError, match=f"ids must be one-dimensional and of an integer type, got {ids.dtype}"):
        evaluate(Recorder(), ids, batch_size=2, context_length=3)
