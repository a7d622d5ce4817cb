import dataclasses
import json

import pytest

from cs336.experiments.report.words import findings


@pytest.fixture
def told(study_of):
    """Return the findings for a study that came out as a test says."""
    return lambda more, loss_of, **options: list(findings(study_of(more, loss_of, **options)))


def test_the_best_is_not_told_apart_within_twice_its_error(told):
    grid = '[grid]\n"optim.lr" = [1e-3, 2e-3]\n'
    losses = {("lr=0.001", 0): 2.0, ("lr=0.001", 1): 2.2, ("lr=0.002", 0): 2.05, ("lr=0.002", 1): 2.25}
    text = told(grid, lambda name, seed: losses[name, seed], seeds=(0, 1))
    assert text[0] == (
        "The lowest loss is 2.1000 nats/token, of lr=0.001, 0.0500 below the next, lr=0.002 "
        "(within twice its standard error of 0.1414: not told apart)."
    )
    assert not any("One seed" in sentence for sentence in text)


def test_the_edge_of_stability_and_where_learning_fails_before_it(told):
    losses = {"lr=0.001": 2.0, "lr=0.002": 1.9, "lr=0.004": 2.5, "lr=0.008": None}
    text = told('[grid]\n"optim.lr" = [1e-3, 2e-3, 4e-3, 8e-3]\n', lambda name, _: losses[name])
    assert "From 0.004 on runs end more than 0.5 nats above the best: they do not diverge" in " ".join(text)
    assert (
        "The edge of stability lies between 0.004 and 0.008; the best rate, 0.002, is 4 times below the first that "
        "breaks." in text
    )
    assert "Diverged: lr=0.008." in text


def test_each_batch_size_is_told_at_its_best_rate_beside_the_square_roots(told):
    more = (
        '[grid]\nbatch_size = [4, 16]\n[scale]\n"optim.lr" = { with = "batch_size", power = 0.5 }\n'
        '[probe]\n"optim.lr" = [1, 2]\n'
    )
    losses = {"batch_size=4": 2.0, "batch_size=4,lrx2": 2.1, "batch_size=16": 2.4, "batch_size=16,lrx2": 2.3}
    text = told(more, lambda name, _: losses[name])
    assert (
        "The lowest loss of each batch size: 2.0000 of 4 at a rate of 0.001, that of the square root; "
        "2.3000 of 16 at a rate of 0.004, 2 times that of the square root." in text
    )


def test_a_part_is_compared_with_the_whole_at_the_same_rate(told):
    more = "".join(
        f'[[runs]]\nname = "{name}"\nset = {{ {set_} }}\ntimes = {{ {times} }}\n'
        for name, set_, times in (
            ("baseline", "", ""),
            ("slow", "", '"optim.lr" = 0.1'),
            ("bare", '"model.norm" = "none"', ""),
            ("slow bare", '"model.norm" = "none"', '"optim.lr" = 0.1'),
        )
    )
    losses = {"baseline": 2.0, "slow": 3.0, "bare": None, "slow-bare": 3.25}
    text = told(more, lambda name, _: losses[name])
    assert "Against baseline at the same rate: slow-bare +0.2500." in text


def test_a_ladder_is_told_rung_by_rung(told):
    more = "".join(
        f'[[runs]]\nname = "{name}"\nset = {{ {set_} }}\n'
        for name, set_ in (
            ("baseline", ""),
            ("one", '"model.qk_norm" = true'),
            ("two", '"model.qk_norm" = true, "model.tie_embeddings" = true'),
        )
    )
    losses = {"baseline": 2.0, "one": 1.5, "two": 1.75}
    text = told(more, lambda name, _: losses[name])
    assert "Each against the one before: one -0.5000, two +0.2500." in text
    parted = more.replace('true, "model.tie', 'false, "model.tie')
    assert not any("one before" in sentence for sentence in told(parted, lambda name, _: losses[name]))


def test_variants_that_never_began_are_named(study_of):
    study = study_of('[grid]\n"optim.lr" = [1e-3, 2e-3]\n', lambda *_: 2.0)
    assert "Not begun: lr=0.004, lr=0.008." in list(
        findings(dataclasses.replace(study, not_begun=("lr=0.004", "lr=0.008")))
    )
    alone = dataclasses.replace(study, outcomes=study.outcomes[:1], not_begun=("lr=0.002",))
    assert list(findings(alone)) == ["Not begun: lr=0.002."]


def test_a_run_that_was_worse_than_a_uniform_guess_and_came_back_is_named(study_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = study_of('[grid]\n"optim.lr" = [1e-3, 2e-3]\n', lambda *_: 2.0)
    for outcome, worst in zip(study.outcomes, (5.0, 80.0), strict=True):
        outcome.planned.run_dir.mkdir(parents=True)
        lines = ({"kind": "valid", "step": step, "tokens": 1, "loss": loss} for step, loss in ((1, worst), (2, 2.0)))
        (outcome.planned.run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = [sentence for sentence in findings(study) if "uniform guess" in sentence]
    assert told == [
        "On its way lr=0.002 was worse than a uniform guess (80 nats/token); it came back, so that it does not count "
        "as diverged."
    ]
