"""Tables of results: a line a variant, with the mean and the spread over its seeds."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cs336.experiments.sweep import Outcome, require_equal_budgets
from cs336.train.history import RunSummary
from cs336.train.runlog import read_metrics


@dataclass(frozen=True, kw_only=True)
class Row:
    """A variant's results.

    Attributes:
        name: The variant.
        num_seeds: Runs that there are to be.
        losses: Validation losses of those that ended well, in nats per token.
        num_diverged: Runs that diverged.
        num_open: Runs that are missing, cut off or under way.
        bits_per_byte: Mean over those that ended well; None without a tokenizer.
        num_tokens: Tokens that each run sees.
        tokens_per_s: Mean training speed.
        elapsed_s: Mean wall clock.
        memory_bytes: Most memory that a run held: on a GPU its own, else the whole process's; None if unknown.
        run_dirs: The runs.
    """

    name: str
    num_seeds: int
    losses: tuple[float, ...]
    num_diverged: int
    num_open: int
    bits_per_byte: float | None
    num_tokens: int
    tokens_per_s: float | None
    elapsed_s: float | None
    memory_bytes: int | None
    run_dirs: tuple[str, ...]

    @property
    def mean(self) -> float | None:
        """Mean of the losses; None if no run ended well."""
        return statistics.fmean(self.losses) if self.losses else None

    @property
    def spread(self) -> float | None:
        """Sample standard deviation of the losses over the seeds; None below two."""
        return statistics.stdev(self.losses) if len(self.losses) > 1 else None

    @property
    def has_diverged(self) -> bool:
        """Whether any run did: a variant that breaks on one seed is not stable."""
        return self.num_diverged > 0


def tabulate(outcomes: Iterable[Outcome], *, allow_mixed_budgets: bool = False) -> list[Row]:
    """Gather outcomes by variant, in the order in which they come.

    Raises:
        ValueError: The runs see different numbers of tokens.
    """
    outcomes = list(outcomes)
    if not allow_mixed_budgets:
        require_equal_budgets(outcome.planned for outcome in outcomes)
    by_variant: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_variant.setdefault(outcome.planned.variant.name, []).append(outcome)
    return [_row(name, group) for name, group in by_variant.items()]


def _row(name: str, outcomes: Sequence[Outcome]) -> Row:
    done = [outcome.summary for outcome in outcomes if outcome.state == "done" and outcome.summary is not None]
    bits = [summary.bits_per_byte for summary in done if summary.bits_per_byte is not None]
    speeds = [summary.tokens_per_s for summary in done if summary.tokens_per_s]
    return Row(
        name=name,
        num_seeds=len(outcomes),
        losses=tuple(outcome.loss for outcome in outcomes if outcome.loss is not None),
        num_diverged=sum(outcome.state == "diverged" for outcome in outcomes),
        num_open=sum(outcome.state in ("missing", "cut off", "running") for outcome in outcomes),
        bits_per_byte=statistics.fmean(bits) if bits else None,
        num_tokens=outcomes[0].planned.num_tokens,
        tokens_per_s=statistics.fmean(speeds) if speeds else None,
        elapsed_s=statistics.fmean(summary.elapsed_s for summary in done) if done else None,
        memory_bytes=max(filter(None, map(_peak_memory, done)), default=None),
        run_dirs=tuple(str(outcome.planned.run_dir) for outcome in outcomes),
    )


def _peak_memory(run: RunSummary) -> int | None:
    """Return a run's peak of memory, if what it recorded is its own and not that of runs before it in its process."""
    is_own = run.facts.get("memory_of") == "run" or str(run.facts.get("device", "")).startswith("cuda")
    if not is_own:
        return None
    return max((record.get("memory_bytes") or 0 for record in read_metrics(run.path)), default=None)


def best_row(rows: Iterable[Row]) -> Row | None:
    """Return the row with the lowest mean among those of which every run ended well."""
    whole = [row for row in rows if row.mean is not None and not row.has_diverged and not row.num_open]
    return min(whole, key=lambda row: row.mean or math.inf, default=None)


def difference(row: Row, baseline: Row) -> tuple[float, float] | None:
    """Return how much higher a row's loss is than the baseline's, and the standard error of that, 0 if unknown."""
    if row.mean is None or baseline.mean is None:
        return None
    variance = sum((each.spread or 0.0) ** 2 / len(each.losses) for each in (row, baseline))
    return row.mean - baseline.mean, math.sqrt(variance)


HEADER = (
    "variant",
    "loss, nats/token",
    "against the first",
    "bits/byte",
    "tokens",
    "tokens/s",
    "memory",
    "time",
    "seeds",
)


def cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return the rows as text under `HEADER`."""
    return [
        (
            row.name,
            loss_text(row),
            "" if index == 0 else difference_text(row, rows[0]),
            "" if row.bits_per_byte is None else f"{row.bits_per_byte:.3f}",
            f"{row.num_tokens:,}",
            "" if row.tokens_per_s is None else f"{row.tokens_per_s:,.0f}",
            "" if row.memory_bytes is None else f"{row.memory_bytes / 1e9:.2f} GB",
            "" if row.elapsed_s is None else duration_text(row.elapsed_s),
            f"{len(row.losses)} of {row.num_seeds}",
        )
        for index, row in enumerate(rows)
    ]


def loss_text(row: Row) -> str:
    """Return mean and spread of the losses, and how many runs diverged or are missing."""
    parts = []
    if row.mean is not None:
        parts.append(f"{row.mean:.4f}" + ("" if row.spread is None else f" ± {row.spread:.4f}"))
    if row.num_diverged:
        parts.append("diverged" if row.num_diverged == row.num_seeds else f"{row.num_diverged} diverged")
    if row.num_open:
        parts.append(f"{row.num_open} not done")
    return ", ".join(parts)


def difference_text(row: Row, baseline: Row) -> str:
    """Return the difference to the baseline with its sign and standard error."""
    found = difference(row, baseline)
    if found is None:
        return ""
    value, error = found
    return f"{value:+.4f}" + (f" ± {error:.4f}" if error else "")


def duration_text(seconds: float) -> str:
    """Return a time as people write it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is aligned to the left, the others to the right."""
    lines = [
        "| " + " | ".join(header) + " |",
        "|" + "|".join(["---", *("---:" for _ in header[1:])]) + "|",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"
