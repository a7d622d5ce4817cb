import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cs336.optim import cosine_schedule, linear_schedule, wsd_schedule


def test_worked_example_of_every_phase():
    rates = [cosine_schedule(step, max_lr=1.0, min_lr=0.2, warmup_steps=4, cosine_steps=8) for step in range(11)]
    middle = 0.6
    half_diagonal = 0.4 * 2**-0.5  # cos(pi / 4) of the half range
    expected = [0, 0.25, 0.5, 0.75, 1, middle + half_diagonal, middle, middle - half_diagonal, 0.2, 0.2, 0.2]
    assert rates == pytest.approx(expected)


def test_cosine_part_equals_torch():
    params = [torch.nn.Parameter(torch.zeros(1))]
    optimizer = torch.optim.SGD(params, 1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10, eta_min=0.1)
    for step in range(11):
        ours = cosine_schedule(step, max_lr=1.0, min_lr=0.1, warmup_steps=0, cosine_steps=10)
        assert ours == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


@given(
    warmup=st.integers(0, 50),
    extra=st.integers(0, 50),
    step=st.integers(0, 200),
    low=st.floats(0, 1),
    top=st.floats(1, 2),
)
def test_stays_in_range_and_is_monotonic_in_each_phase(warmup, extra, step, low, top):
    def rate(step):
        return cosine_schedule(step, max_lr=top, min_lr=low, warmup_steps=warmup, cosine_steps=warmup + extra)

    assert rate(warmup) == pytest.approx(top)
    assert 0 <= rate(step) <= top + 1e-12
    if step < warmup:
        assert rate(step) <= rate(step + 1)
    else:
        assert rate(step) >= rate(step + 1) >= low - 1e-12


@pytest.mark.parametrize(
    ("step", "warmup_steps", "cosine_steps", "message"),
    [(-1, 0, 1, "step must be at least 0, got -1"), (0, 3, 2, "got 3 and 2"), (0, -1, 2, "got -1 and 2")],
)
def test_impossible_schedules_are_refused(step, warmup_steps, cosine_steps, message):
    with pytest.raises(ValueError, match=message):
        cosine_schedule(step, max_lr=1.0, min_lr=0.1, warmup_steps=warmup_steps, cosine_steps=cosine_steps)


def test_linear_schedule_falls_evenly_to_its_end_and_stays():
    rates = [linear_schedule(t, max_lr=1.0, min_lr=0.0, warmup_steps=2, total_steps=6) for t in range(9)]
    assert rates == pytest.approx([0, 0.5, 1, 0.75, 0.5, 0.25, 0, 0, 0])


def test_wsd_stays_at_the_top_until_its_cooldown():
    rates = [
        wsd_schedule(t, max_lr=1.0, min_lr=0.2, warmup_steps=2, cooldown_start=4, total_steps=8) for t in range(10)
    ]
    assert rates == pytest.approx([0, 0.5, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.2])


def test_wsd_without_any_cooldown_ends_at_once():
    rates = [wsd_schedule(t, max_lr=1.0, min_lr=0.0, warmup_steps=0, cooldown_start=3, total_steps=3) for t in range(5)]
    assert rates == [1, 1, 1, 1, 0]


def test_impossible_cooldowns_are_refused():
    with pytest.raises(ValueError, match="need 0 <= warmup_steps <= cooldown_start <= total_steps, got 2 and 1 and 5"):
        wsd_schedule(0, max_lr=1.0, min_lr=0.0, warmup_steps=2, cooldown_start=1, total_steps=5)
    with pytest.raises(ValueError, match="step must be at least 0, got -1"):
        linear_schedule(-1, max_lr=1.0, min_lr=0.0, warmup_steps=2, total_steps=5)
