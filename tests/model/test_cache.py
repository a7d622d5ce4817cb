import dataclasses

import pytest
import torch

from cs336.model import KeyValueCache, ModelConfig, TransformerLM

CONFIG = ModelConfig(vocab_size=30, context_length=12, d_model=16, num_layers=2, num_heads=2, d_ff=24)
VARIANTS = [
    {},
    {"attention": "sdpa"},
    {"norm": "none"},
    {"norm_position": "post"},
    {"position": "none"},
    {"ffn": "silu"},
    {"qk_norm": True},
    {"tie_embeddings": True},
    {"logit_softcap": 5.0},
]
# In fp64, so that what is left is rounding in another order and nothing else: a wrong position or mask is off by 1e-2.
TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}


def build(**changes):
    config = dataclasses.replace(CONFIG, **changes)
    return TransformerLM(config, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def draw_ids(*shape):
    return torch.randint(30, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("pieces", [[1] * 12, [5, 1, 1, 4, 1], [12]], ids=str)
def test_reading_in_pieces_equals_reading_at_once(changes, pieces):
    model, ids = build(**changes), draw_ids(3, 12)
    cache = KeyValueCache(2, 3, capacity=12)
    logits = [model(piece, cache.step(range(3), [piece.shape[1]] * 3)) for piece in ids.split(pieces, dim=1)]
    torch.testing.assert_close(torch.cat(logits, dim=1), model(ids), **TOLERANCE)
    assert cache.lengths == [12] * 3


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_rows_of_different_lengths_do_not_see_their_padding(changes):
    model, lengths = build(**changes), [2, 7, 4]
    ids = draw_ids(3, 12)
    cache = KeyValueCache(2, 3, capacity=12)
    model(ids[:, :7], cache.step(range(3), lengths))  # what is beyond a row's length is padding
    for extra in range(5):
        places = torch.tensor([length + extra for length in lengths]).unsqueeze(1)
        logits = model(ids.gather(1, places), cache.step(range(3), [1, 1, 1]))
        for row, length in enumerate(lengths):
            whole = model(ids[row : row + 1, : length + extra + 1])
            torch.testing.assert_close(logits[row, -1], whole[0, -1], **TOLERANCE)


def test_some_rows_read_on_while_the_others_wait():
    model, ids = build(), draw_ids(3, 12)
    cache = KeyValueCache(2, 3, capacity=12)
    model(ids[:, :4], cache.step(range(3), [4] * 3))
    for rows in ([2, 0], [0], [1, 2]):
        begins = [cache.lengths[row] for row in rows]
        new = torch.stack([ids[row, begin : begin + 2] for row, begin in zip(rows, begins, strict=True)])
        logits = model(new, cache.step(rows, [2] * len(rows)))
        for place, (row, begin) in enumerate(zip(rows, begins, strict=True)):
            whole = model(ids[row : row + 1, : begin + 2])
            torch.testing.assert_close(logits[place], whole[0, -2:], **TOLERANCE)
    assert cache.lengths == [8, 6, 8]


def test_rows_that_are_kept_go_on_in_their_new_order():
    model, ids = build(), draw_ids(3, 12)
    cache = KeyValueCache(2, 3, capacity=12)
    model(ids[:, :6], cache.step(range(3), [6, 3, 5]))
    cache.keep([2, 0])
    assert cache.lengths == [5, 6]
    logits = model(torch.stack([ids[2, 5:6], ids[0, 6:7]]), cache.step(range(2), [1, 1]))
    for place, (row, length) in enumerate([(2, 6), (0, 7)]):
        torch.testing.assert_close(logits[place, -1], model(ids[row : row + 1, :length])[0, -1], **TOLERANCE)


def test_a_row_can_be_read_anew():
    model, ids = build(), draw_ids(2, 12)
    cache = KeyValueCache(2, 2, capacity=12)
    model(ids[:, :9], cache.step(range(2), [9, 9]))
    logits = model(ids[1:, 5:8], cache.step([1], [3], anew=True))
    torch.testing.assert_close(logits, model(ids[1:, 5:8]), **TOLERANCE)
    assert cache.lengths == [9, 3]


def test_weights_in_bf16_keep_their_keys_in_bf16():
    model, ids = build().to(torch.bfloat16), draw_ids(1, 12)
    cache = KeyValueCache(2, 1, capacity=12)
    logits = torch.cat([model(ids[:, i : i + 1], cache.step([0], [1])) for i in range(12)], dim=1)
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits, model(ids), rtol=0.05, atol=0.05)  # eight bits of mantissa


def test_more_than_the_capacity_is_refused():
    cache = KeyValueCache(2, 2, capacity=8)
    cache.step([0], [6])
    with pytest.raises(ValueError, match="a row of the cache holds at most 8 ids, got 9"):
        cache.step([0, 1], [3, 3])
    assert cache.lengths == [6, 0]
