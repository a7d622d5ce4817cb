import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cs336.accounting import (
    adamw_flops,
    count_parameters,
    forward_flops,
    training_flops_per_token,
)
from cs336.model import ModelConfig, TransformerLM

TINY = ModelConfig(vocab_size=70, context_length=24, d_model=16, num_layers=3, num_heads=4, d_ff=40)
VARIANTS = [{}, {"norm": "none"}, {"norm_position": "post"}, {"position": "none"}, {"ffn": "silu"}, {"qk_norm": True}]
XL_2025 = ModelConfig(vocab_size=50257, context_length=1024, num_layers=48, d_model=1600, num_heads=25, d_ff=6400)
XL_2026 = dataclasses.replace(XL_2025, d_ff=4288)


def measured_flops(model, ids, *, backward):
    counter = FlopCounterMode(display=False)
    with counter:
        logits = model(ids)
        if backward:
            logits.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_parameters_by_part_are_those_of_a_real_model(changes):
    config = dataclasses.replace(TINY, **changes)
    model = TransformerLM(config, device="meta")

    def count(*parts):
        return sum(
            weight.numel() for name, weight in model.named_parameters() if not set(parts).isdisjoint(name.split("."))
        )

    counted = count_parameters(config)
    assert counted.token_embeddings == count("token_embeddings")
    assert counted.attention == count("attn")
    assert counted.feed_forward == count("ffn")
    assert counted.norms == count("ln1", "ln2", "ln_final")
    assert counted.lm_head == count("lm_head")
    assert counted.total == sum(weight.numel() for weight in model.parameters())
    assert counted.non_embedding == counted.total - 70 * 16


def test_a_shared_table_is_counted_once_as_the_head():
    config = dataclasses.replace(TINY, tie_embeddings=True)
    counted = count_parameters(config)
    assert counted.total == sum(weight.numel() for weight in TransformerLM(config, device="meta").parameters())
    assert (counted.token_embeddings, counted.lm_head) == (0, 70 * 16)
    assert counted.non_embedding == counted.total


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("seq", [1, 10, 24])
def test_forward_flops_are_those_counted_by_torch(changes, seq):
    config = dataclasses.replace(TINY, **changes)
    model = TransformerLM(config, device="meta")
    ids = torch.zeros(5, seq, dtype=torch.long, device="meta")
    assert measured_flops(model, ids, backward=False) == 5 * forward_flops(config, seq=seq).total


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_training_flops_are_those_counted_by_torch(changes):
    config = dataclasses.replace(TINY, **changes)
    model = TransformerLM(config, device="meta")
    ids = torch.zeros(5, 24, dtype=torch.long, device="meta")
    assert measured_flops(model, ids, backward=True) == pytest.approx(5 * 24 * training_flops_per_token(config))


def test_flops_by_part_grow_as_their_formulas_say():
    short, long = forward_flops(TINY, seq=12), forward_flops(TINY, seq=24)
    assert long.attention_scores == 4 * short.attention_scores
    for part in ("attention_projections", "feed_forward", "lm_head"):
        assert getattr(long, part) == 2 * getattr(short, part)


@pytest.mark.parametrize(
    ("config", "parameters", "tera_flops", "tera_flops_at_16384"),
    [(XL_2025, 2_127_057_600, 4.513, 149.5), (XL_2026, 1_640_452_800, 3.517, 133.6)],
)
def test_gpt2_xl_answers_of_both_years(config, parameters, tera_flops, tera_flops_at_16384):
    assert count_parameters(config).total == parameters
    assert forward_flops(config).total / 1e12 == pytest.approx(tera_flops, abs=5e-4)
    long = dataclasses.replace(config, context_length=16_384)
    assert forward_flops(long).total / 1e12 == pytest.approx(tera_flops_at_16384, abs=0.05)


@pytest.mark.parametrize(
    ("vocab_size", "parameters", "mega_flops"), [(10_000, 22_696_448, 111.7), (32_000, 45_224_448, 179.3)]
)
def test_base_experiment_answers(vocab_size, parameters, mega_flops):
    config = ModelConfig(vocab_size=vocab_size)
    assert count_parameters(config).total == parameters
    assert training_flops_per_token(config) / 1e6 == pytest.approx(mega_flops, abs=0.05)


def test_adamw_costs_little_beside_a_batch():
    step = adamw_flops(count_parameters(ModelConfig()).total)
    assert 0 < step < 1e-3 * 128 * 256 * training_flops_per_token(ModelConfig())


@pytest.mark.parametrize("seq", [0, 25])
def test_a_sequence_the_model_cannot_read_is_refused(seq):
    with pytest.raises(ValueError, match=f"from 1 to context_length 24, got {seq}"):
        forward_flops(TINY, seq=seq)
