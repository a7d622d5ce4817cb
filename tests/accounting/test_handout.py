import pytest

from cs336.accounting import count_parameters, training_s
from cs336.accounting.handout import answers, gpt2
from cs336.model import ModelConfig


@pytest.mark.parametrize(
    ("size", "parameters_2025", "d_ff_2026"),
    [
        ("small", 190_460_160, 2048),
        ("medium", 505_629_696, 2752),
        ("large", 1_072_469_760, 3392),
        ("xl", 2_127_057_600, 4288),
    ],
)
def test_shapes_of_both_years(size, parameters_2025, d_ff_2026):
    config = gpt2(size, 2025)
    assert (config.vocab_size, config.context_length, config.d_ff) == (50_257, 1024, 4 * config.d_model)
    assert count_parameters(config).total == parameters_2025
    assert gpt2(size, 2026).d_ff == gpt2(size).d_ff == d_ff_2026


@pytest.mark.parametrize(
    ("year", "parameters", "tera", "tera_long", "largest_batch", "days"),
    [(2025, 2_127_057_600, 4.513, 149.5, 2, 6584), (2026, 1_640_452_800, 3.517, 133.6, 3, 202)],
)
def test_answers_about_gpt2_xl(year, parameters, tera, tera_long, largest_batch, days):
    answer = answers("xl", year)
    assert answer["parameters"] == parameters
    assert answer["fp32_weight_bytes"] == 4 * parameters
    assert answer["training_state_bytes"] == 16 * parameters
    assert answer["forward_flops"]["total"] / 1e12 == pytest.approx(tera, abs=5e-4)
    assert answer["forward_flops_at_16384"]["total"] / 1e12 == pytest.approx(tera_long, abs=0.05)
    assert answer["largest_batch"] == largest_batch
    assert answer["training_days"] == pytest.approx(days, abs=0.5)


def test_attention_scores_lead_at_a_long_context():
    flops = answers("xl", 2026)["forward_flops_at_16384"]
    assert max((part for part in flops if part != "total"), key=flops.get) == "attention_scores"


def test_training_time_worked_example():
    config = ModelConfig(vocab_size=10, context_length=4, d_model=2, num_layers=0, num_heads=1, d_ff=1, norm="none")
    forward, adamw = 2 * 4 * 2 * 10, 14 * 40
    seconds = training_s(config, num_sequences=6, num_steps=3, flops_per_s=1000.0, mfu=0.5)
    assert seconds == pytest.approx((3 * forward * 6 + adamw * 3) / 500)


def test_what_the_handout_does_not_have_is_refused():
    with pytest.raises(ValueError, match="size must be one of small, medium, large, xl, got 'huge'"):
        gpt2("huge")
    with pytest.raises(ValueError, match="year must be one of 2025, 2026, got 2024"):
        gpt2("xl", 2024)
    with pytest.raises(ValueError, match=r"mfu must be in \(0, 1\], got 1.5"):
        training_s(gpt2("small"), num_sequences=1, num_steps=1, flops_per_s=1e12, mfu=1.5)
