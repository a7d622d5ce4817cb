import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cs336.generate import generate
from cs336.generate.reading import Reader, window_start
from cs336.model import ModelConfig, TransformerLM

CONFIG = ModelConfig(vocab_size=30, context_length=8, d_model=16, num_layers=2, num_heads=2, d_ff=24)
VARIANTS = [
    {},
    {"attention": "sdpa"},
    {"norm_position": "post"},
    {"position": "none"},
    {"qk_norm": True, "tie_embeddings": True, "logit_softcap": 5.0},
]


def build(**changes):
    config = dataclasses.replace(CONFIG, **changes)
    return TransformerLM(config, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@given(num_ids=st.integers(1, 200), context_length=st.integers(1, 30), data=st.data())
def test_a_window_fits_the_context_and_moves_in_steps(num_ids, context_length, data):
    slide_by = data.draw(st.integers(1, context_length))
    start = window_start(num_ids, context_length=context_length, slide_by=slide_by)
    seen = num_ids - start
    assert seen <= context_length
    assert seen >= min(num_ids, context_length - slide_by + 1)
    assert start % slide_by == 0
    if num_ids <= context_length:
        assert start == 0


def test_by_default_the_window_is_the_last_ids_of_the_context():
    assert [window_start(n, context_length=8, slide_by=1) for n in (1, 8, 9, 20)] == [0, 0, 1, 12]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("slide_by", [1, 3, 8])
@pytest.mark.parametrize("use_cache", [True, False])
def test_logits_are_the_models_on_the_window_at_every_length_also_past_the_context(changes, slide_by, use_cache):
    model = build(**changes)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(30, (3, 30), generator=generator).tolist()
    sequences = [ids[0][:1], ids[1][:6], ids[2][:11]]  # these pass the context at different times
    reader = Reader(model, sequences, capacity=8, slide_by=slide_by, use_cache=use_cache)
    for _ in range(18):
        logits = reader.next_logits([0, 1, 2])
        for row, sequence in enumerate(sequences):
            window = sequence[window_start(len(sequence), context_length=8, slide_by=slide_by) :]
            expected = model(torch.tensor([window]))[0, -1].float()
            torch.testing.assert_close(logits[row], expected, rtol=1e-6, atol=1e-6)
            sequence.append(ids[row][len(sequence)])


def test_rows_that_end_leave_the_others_as_they_were():
    model = build()
    sequences = [[1, 2], [3, 4, 5], [6] * 7, [7]]
    reader = Reader(model, sequences, capacity=8, slide_by=2, use_cache=True)
    for rows in ([0, 1, 2, 3], [0, 1, 2, 3], [1, 2, 3], [1, 3], [3], [3]):
        logits = reader.next_logits(rows)
        for place, row in enumerate(rows):
            window = sequences[row][window_start(len(sequences[row]), context_length=8, slide_by=2) :]
            expected = model(torch.tensor([window]))[0, -1].float()
            torch.testing.assert_close(logits[place], expected, rtol=1e-6, atol=1e-6)
            sequences[row].append(9 + row)


def test_inside_the_context_each_id_is_read_once(monkeypatch):
    model, num_read = build(), []
    hidden = model.hidden
    monkeypatch.setattr(model, "hidden", lambda ids, cache: num_read.append(ids.shape[1]) or hidden(ids, cache))
    generate(model, [1, 2, 3], max_new_tokens=6, temperature=0)
    assert num_read == [3, 1, 1, 1, 1, 1]
    num_read.clear()
    generate(model, [1, 2, 3], max_new_tokens=13, temperature=0, slide_by=4)
    assert num_read == [3, 1, 1, 1, 1, 1, 5, 1, 1, 1, 5, 1, 1]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("slide_by", [1, 3])
def test_the_cache_changes_no_draw(changes, slide_by):
    model, prompts = build(**changes), [[1], [2, 3, 4], list(range(12))]
    options = {"max_new_tokens": 20, "seed": 3, "top_p": 0.9, "stop_id": 7, "slide_by": slide_by}
    cached = generate(model, prompts, **options)
    assert cached == generate(model, prompts, use_cache=False, **options)
