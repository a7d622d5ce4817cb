"""Findings in words, made from the numbers alone: a reader can check each against the table beside it."""

import itertools
import math
from collections.abc import Iterator, Sequence

from cs336.experiments.bracket import edge_of_stability
from cs336.experiments.report.studies import Study
from cs336.experiments.table import Row, best_row, difference, difference_text
from cs336.train.runlog import read_metrics

RATE, BATCH = "optim.lr", "batch_size"
_LOST = 0.5  # nats above the best: several times what an ablation is reported to cost
_ROUNDING = 0.02  # names of rates are rounded


def findings(study: Study) -> Iterator[str]:
    """Yield what a study's table says."""
    rows = study.rows
    if len(study.budgets) > 1:
        low, high = study.budgets[0], study.budgets[-1]
        meant = "meant so" if study.mixed_budgets else "so that losses cannot be compared directly"
        yield f"The runs see from {low:,} to {high:,} tokens ({meant})."
    if len(rows) > 1:
        yield from _comparisons(study)
    waiting = [row.name for row in rows if row.num_open]
    if waiting:
        yield f"Not done yet: {', '.join(waiting)}."
    if study.not_begun:
        yield f"Not begun: {', '.join(study.not_begun)}."
    if len(rows) > 1 and all(row.num_seeds == 1 for row in rows):
        yield "One seed a variant: differences of about a hundredth of a nat may be chance."


def _comparisons(study: Study) -> Iterator[str]:
    rows = study.rows
    best = best_row(rows)
    if best is not None and len(study.budgets) == 1:
        yield _best_sentence(best, rows)
    yield from _rate_sentences(study)
    yield from _batch_sentences(study)
    yield from _same_rate_sentences(study)
    yield from _ladder_sentences(study)
    yield from _excursion_sentences(study)
    broken = [row.name for row in rows if row.has_diverged]
    if broken:
        yield f"Diverged: {', '.join(broken)}."


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
    if set(varied) != {RATE}:
        return
    losses = {
        float(varied[RATE][row.name]): None if row.has_diverged else row.mean for row in study.rows if not row.num_open
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
    ratio = edge[1] / best
    times = f"{ratio:.3g}" if ratio < 100 else f"{ratio:,.0f}"
    yield (
        f"The edge of stability lies between {edge[0]:g} and {edge[1]:g}; the best rate, {best:g}, is {times} times "
        "below the first that breaks."
    )


def _excursion_sentences(study: Study) -> Iterator[str]:
    """Name runs that were worse than a uniform guess on their way, and came back: no divergence, but no calm either."""
    worst: dict[str, float] = {}
    for outcome in study.outcomes:
        run_dir = outcome.planned.run_dir
        if outcome.state != "done" or not (run_dir / "metrics.jsonl").exists():
            continue
        highest = max(
            (float(record["loss"]) for record in read_metrics(run_dir) if record["kind"] == "valid"), default=0
        )
        if highest > math.log(outcome.planned.config.model.vocab_size) + _LOST:
            worst[outcome.planned.variant.name] = highest
    for name, highest in worst.items():
        yield (
            f"On its way {name} was worse than a uniform guess ({highest:.4g} nats/token); it came back, so that "
            "it does not count as diverged."
        )


def _batch_sentences(study: Study) -> Iterator[str]:
    """Say what each batch size comes to at best, and whether the square root's rate was that."""
    varied = study.varied()
    if BATCH not in varied or not set(varied) <= {BATCH, RATE}:
        return
    first = study.outcomes[0].planned.config
    rates = {outcome.planned.variant.name: outcome.planned.config.optim.lr for outcome in study.outcomes}
    said = []
    for size in sorted(set(varied[BATCH].values())):
        best = best_row(row for row in study.rows if varied[BATCH][row.name] == size and not row.num_open)
        if best is None:
            continue
        ratio = rates[best.name] / (first.optim.lr * math.sqrt(size / first.batch_size))
        times = (
            "that of the square root" if abs(ratio - 1) < _ROUNDING else f"{ratio:.2g} times that of the square root"
        )
        said.append(f"{best.mean:.4f} of {size:,} at a rate of {rates[best.name]:.3g}, {times}")
    if said:
        yield f"The lowest loss of each batch size: {'; '.join(said)}."


def _same_rate_sentences(study: Study) -> Iterator[str]:
    """Compare variants with the baseline at their own rate: what a rate costs by itself is no effect of theirs."""
    varied = study.varied()
    if len(varied) < 2 or RATE not in varied or BATCH in varied:
        return
    first = study.rows[0].name
    baselines = {
        varied[RATE][row.name]: row
        for row in study.rows
        if all(values[row.name] == values[first] for key, values in varied.items() if key != RATE)
    }
    if len(baselines) < 2:
        return
    pairs = [(row, baselines.get(varied[RATE][row.name])) for row in study.rows if row not in baselines.values()]
    said = [
        f"{row.name} {difference_text(row, baseline)}"
        for row, baseline in pairs
        if baseline is not None and difference_text(row, baseline)
    ]
    if said:
        yield f"Against {first} at the same rate: {', '.join(said)}."


def _ladder_sentences(study: Study) -> Iterator[str]:
    """Say what each rung adds, if every variant keeps what the one before it changed."""
    rows = study.rows
    changes = _changes(study)
    if len(rows) < 3 or not all(low.items() < high.items() for low, high in itertools.pairwise(changes)):
        return
    said = [
        f"{above.name} {difference_text(above, below)}"
        for below, above in itertools.pairwise(rows)
        if difference_text(above, below)
    ]
    if said:
        yield f"Each against the one before: {', '.join(said)}."


def _changes(study: Study) -> Sequence[dict[str, str]]:
    """Return, variant by variant, the settings that are not the first one's."""
    varied = study.varied()
    first = study.rows[0].name
    return [
        {key: repr(values[row.name]) for key, values in varied.items() if values[row.name] != values[first]}
        for row in study.rows
    ]
