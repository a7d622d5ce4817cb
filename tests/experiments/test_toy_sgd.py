import pytest

from cs336.experiments.toy_sgd import RATES, predicted, run_toy, toy_table


@pytest.mark.parametrize("lr", RATES)
def test_the_losses_are_those_of_the_formula(lr):
    losses = run_toy(lr)
    assert losses == pytest.approx(predicted(losses[0], lr), rel=1e-9)


def test_slow_fast_faster_and_broken():
    slow, fast, faster, broken = (run_toy(lr)[-1] / run_toy(lr)[0] for lr in RATES)
    assert 1 > slow > fast > faster
    assert broken > 1e10
    assert [row[0] for row in toy_table()] == [str(step) for step in range(11)]
