"""Findings in words, made from the numbers alone: a reader can check each against the table beside it."""

from collections.abc import Iterator

from cs336.experiments.bracket import edge_of_stability
from cs336.experiments.report.studies import Study
from cs336.experiments.table import Row, best_row, difference

_LOST = 0.5  # nats above the best: several times what an ablation is reported to cost


def findings(study: Study) -> Iterator[str]:
    """Yield what a study's table says."""
    rows = study.rows
    if len(study.budgets) > 1:
        low, high = study.budgets[0], study.budgets[-1]
        meant = "meant so" if study.mixed_budgets else "so that losses cannot be compared directly"
        yield f"The runs see from {low:,} to {high:,} tokens ({meant})."
    if len(rows) < 2:
        return
    best = best_row(rows)
    if best is not None and len(study.budgets) == 1:
        yield _best_sentence(best, rows)
    yield from _rate_sentences(study)
    broken = [row.name for row in rows if row.has_diverged]
    if broken:
        yield f"Diverged: {', '.join(broken)}."
    waiting = [row.name for row in rows if row.num_open]
    if waiting:
        yield f"Not done yet: {', '.join(waiting)}."
    if all(row.num_seeds == 1 for row in rows):
        yield "One seed a variant: differences of about a hundredth of a nat may be chance."


def _best_sentence(best: Row, rows: list[Row]) -> str:
    others = [row for row in rows if row is not best and row.mean is not None and not row.has_diverged]
    text = f"The lowest loss is {best.mean:.4f} nats/token, of {best.name}"
    if not others:
        return text + "."
    second = min(others, key=lambda row: row.mean or 0)
    found = difference(second, best)
    assert found is not None, "both have a mean"
    value, error = found
    text += f", {value:.4f} below the next, {second.name}"
    if error and value < 2 * error:
        text += f" (within twice its standard error of {error:.4f}: not told apart)"
    return text + "."


def _rate_sentences(study: Study) -> Iterator[str]:
    """Say where training breaks, if rates are all that differs."""
    varied = study.varied()
    if set(varied) != {"optim.lr"}:
        return
    losses = {
        float(varied["optim.lr"][row.name]): None if row.has_diverged else row.mean
        for row in study.rows
        if not row.num_open
    }
    stable = {rate: loss for rate, loss in losses.items() if loss is not None}
    if stable:
        lowest = min(stable.values())
        lost = [rate for rate, loss in stable.items() if loss > lowest + _LOST and loss > stable[min(stable)]]
        if lost:
            yield (
                f"From {min(lost):g} on runs end more than {_LOST:g} nats above the best: "
                "they do not diverge, but they no longer learn what the others do."
            )
    edge = edge_of_stability(losses)
    if edge is None:
        yield "No rate diverged: the edge of stability lies above the highest one tried."
        return
    best = min(stable, key=lambda rate: stable[rate])
    yield (
        f"The edge of stability lies between {edge[0]:g} and {edge[1]:g}; the best rate, {best:g}, is "
        f"{edge[1] / best:.3g} times below the first that breaks."
    )
