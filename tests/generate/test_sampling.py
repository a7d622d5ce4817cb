import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cs336.generate import next_id_probabilities


@given(
    logits=st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=12),
    temperature=st.floats(0.05, 5),
    top_p=st.floats(0.01, 1),
)
def test_top_p_keeps_the_smallest_set_of_at_least_that_mass(logits, temperature, top_p):
    logits = torch.tensor(logits)
    full = (logits.double() / temperature).softmax(-1)
    kept = next_id_probabilities(logits, temperature=temperature, top_p=top_p)
    support = kept > 0
    tolerance = 1e-9  # the sums are taken in another order
    assert full[support].sum() >= top_p - tolerance
    if support.sum() > 1:
        assert full[support].sum() - full[support].min() < top_p + tolerance
    if not support.all() and (full[~support] > 0).any():
        assert full[support].min() >= full[~support].max() - tolerance
    torch.testing.assert_close(kept[support], full[support] / full[support].sum())


def test_worked_example_of_the_choices():
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log()

    def kept(**options):
        return [round(p, 6) for p in next_id_probabilities(logits, **{"temperature": 1.0} | options).tolist()]

    assert kept() == [0.1, 0.5, 0.15, 0.25]
    assert kept(top_k=2) == [0, 0.666667, 0, 0.333333]
    assert kept(top_k=9) == [0.1, 0.5, 0.15, 0.25]
    assert kept(top_p=0.4) == [0, 1, 0, 0]
    assert kept(top_p=0.7) == [0, 0.666667, 0, 0.333333]
    assert kept(top_p=1.0) == [0.1, 0.5, 0.15, 0.25]
    assert kept(top_k=3, top_p=0.8) == [0, 0.666667, 0, 0.333333]  # 0.75 of the mass in all is 0.83 of the three
    assert kept(temperature=0.5) == [round(p * p / 0.345, 6) for p in (0.1, 0.5, 0.15, 0.25)]


def test_equally_likely_ids_do_not_widen_the_choice():
    assert (next_id_probabilities(torch.zeros(6), temperature=1.0, top_k=2) > 0).sum() == 2
    assert (next_id_probabilities(torch.zeros(6), temperature=1.0, top_p=0.5) > 0).sum() == 3


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_distribution_needs_a_positive_temperature(temperature):
    with pytest.raises(ValueError, match=f"temperature must be positive, got {temperature}"):
        next_id_probabilities(torch.zeros(3), temperature=temperature)
