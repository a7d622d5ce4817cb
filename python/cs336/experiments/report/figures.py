"""Figures as SVG: small, the same bytes for the same runs, and readable at the width of a phone."""

# ruff: noqa: E402  (the missing extra must be named before matplotlib is imported)
from cs336._extras import require_extra

require_extra("train", modules=("matplotlib",), needed_by=__name__)

import io
import math
import re
import statistics
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, MultipleLocator, NullLocator

from cs336.experiments.report.studies import Study
from cs336.experiments.sweep import Outcome
from cs336.experiments.table import Row
from cs336.train.runlog import read_metrics

Axis = Literal["step", "tokens", "elapsed_s"]

COLORS = ("#0f766e", "#c2410c", "#1d4ed8", "#7e22ce", "#a16207", "#be123c", "#4d7c0f", "#64748b")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))  # told apart in print and by who sees colours alike
INK, _GRID, _BROKEN = "#334155", "#e2e8f0", "#b91c1c"
_MOST_POINTS = 120
_SEEN_AS_A_LINE = 3  # points
_LONG_DECIMAL = re.compile(r"(\d+\.\d\d)\d+")  # hundredths of a point are below what can be seen
_TAG = re.compile(r"<[^>]*>")  # what stands between tags is read by people
_INDENT = re.compile(r"^ +", re.MULTILINE)
_TIME_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400)
_MOST_TICKS = 6
_HELD_UP = 3  # times the median of all runs
_LEAST_ROOM = 0.15  # nats
_NEAR = 1.5  # times the room that the better half takes
_LABELS = {"step": "step", "tokens": "tokens", "elapsed_s": "wall clock"}


def draw_curves(study: Study, axis: Axis) -> str:
    """Return the validation losses of a study's variants over steps, tokens or wall clock, a line a run."""
    figure, axes = blank_figure()
    names = list(dict.fromkeys(outcome.planned.variant.name for outcome in study.outcomes))
    whole: list[tuple[float, float]] = []  # of runs that came to their end: the loss there, and the highest before
    lasts: list[float] = []
    lowest: dict[str, float] = {}
    for index, name in enumerate(names):
        style: dict[str, Any] = {
            "color": COLORS[index % len(COLORS)],
            "linestyle": _DASHES[index // len(COLORS) % len(_DASHES)],
            "linewidth": 1.5,
        }
        label: str | None = name
        for outcome in study.outcomes:
            points = _points(outcome, axis) if outcome.planned.variant.name == name else []
            if not points:
                continue
            xs, ys = zip(*points, strict=True)
            marker = "o" if len(points) < _SEEN_AS_A_LINE else None
            axes.plot(xs, ys, label=label, marker=marker, markersize=4, **style)
            label = None  # once a variant
            lowest[name] = min(*ys, lowest.get(name, math.inf))
            if outcome.state == "diverged":
                axes.plot(xs[-1:], ys[-1:], marker="x", markersize=7, color=style["color"], linestyle="none")
            else:
                whole.append((ys[-1], max(ys)))
            lasts.append(xs[-1])
    if whole:
        bottom, top = losses_shown(whole)
        axes.set_ylim(bottom, top)
        for line in axes.get_lines():
            name = str(line.get_label())
            if lowest.get(name, bottom) > top:
                line.set_label(f"{name} (above)")
    axes.set_xlim(left=0)
    axes.set_xlabel(_LABELS[axis])
    axes.set_ylabel("validation loss, nats/token")
    if axis == "elapsed_s":
        _lay_out_time(axes, lasts)
    else:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    columns = 2 if len(names) > 1 else 1
    figure.legend(
        loc="outside lower center", ncols=columns, frameon=False, fontsize=9, labelcolor=INK, handlelength=2.2
    )
    return as_svg(figure)


def losses_shown(whole: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the range that shows the better half of the runs from their start, and of the others what is near.

    One that ends far above, or was there on its way, would press the others together.
    """
    better = sorted(whole)[: -(-len(whole) // 2)]
    low = better[0][0]
    room = max(statistics.median(highest for _, highest in better) - low, _LEAST_ROOM)
    top = max([low + room, *(end for end, _ in whole if end < low + _NEAR * room)])
    return low - 0.05 * room, top + 0.05 * room


def has_curves(study: Study) -> bool:
    """Tell whether any run was validated more than once: ends alone are no curves, and the table has them."""
    return any(len(_points(outcome, "step")) > 1 for outcome in study.outcomes)


def draw_response(study: Study, key: str) -> str:
    """Return the final loss over a setting that every variant has another value of, on a logarithmic axis.

    What diverged stands as a cross at the upper edge.
    """
    figure, axes = blank_figure()
    values = study.varied()[key]
    rows = sorted(study.rows, key=lambda row: values[row.name])
    _draw_response(axes, [(float(values[row.name]), row) for row in rows])
    axes.set_xscale("log", base=2)
    ticks = sorted({float(value) for value in values.values()})
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.tick_params(axis="x", labelrotation=45 if len(ticks) > 6 else 0)
    axes.set_xlabel({"optim.lr": "learning rate", "batch_size": "batch size, sequences"}.get(key, key))
    axes.set_ylabel("final validation loss, nats/token")
    return as_svg(figure)


def response_key(study: Study) -> str | None:
    """Return the one number in which the variants differ, if there is one and it is positive."""
    varied = study.varied()
    candidates = [
        key
        for key, values in varied.items()
        if all(
            isinstance(value, int | float) and not isinstance(value, bool) and value > 0 for value in values.values()
        )
    ]
    own = [key for key in candidates if len({str(value) for value in varied[key].values()}) == len(study.rows)]
    if len(varied) == 1 and own:
        return own[0]
    return "batch_size" if "batch_size" in candidates and set(varied) <= {"batch_size", "optim.lr"} else None


def _draw_response(axes: Axes, points: Sequence[tuple[float, Row]]) -> None:
    stable = [(x, row.mean, row) for x, row in points if row.mean is not None and not row.has_diverged]
    lowest: dict[float, float] = {}
    for x, mean, row in stable:
        axes.errorbar(x, mean, yerr=row.spread, marker="o", markersize=5, color=COLORS[0], capsize=3, linestyle="none")
        lowest[x] = min(mean, lowest.get(x, math.inf))
    axes.plot(list(lowest), list(lowest.values()), color=COLORS[0], linewidth=1.4)
    broken = [x for x, row in points if row.has_diverged]
    if broken:
        bottom, top = axes.get_ylim()
        top += 0.15 * (top - bottom)  # room for the word
        axes.plot(broken, [top] * len(broken), marker="x", markersize=8, color=_BROKEN, linestyle="none", clip_on=False)
        axes.set_ylim(top=top)
        axes.annotate(
            "diverged",
            (min(broken), top),
            xytext=(-7, -3),
            textcoords="offset points",
            ha="right",
            va="top",
            color=_BROKEN,
        )
    if lowest:
        x = min(lowest, key=lambda each: lowest[each])
        axes.annotate(
            f"{lowest[x]:.3f}",
            (x, lowest[x]),
            xytext=(0, -14),
            textcoords="offset points",
            ha="left" if x == min(lowest) else "center",  # not across the axis
            color=COLORS[0],
        )
        bottom, top = axes.get_ylim()
        axes.set_ylim(bottom - 0.1 * (top - bottom), top)


def _points(outcome: Outcome, axis: Axis) -> list[tuple[float, float]]:
    if outcome.summary is None or not (outcome.planned.run_dir / "metrics.jsonl").exists():
        return []
    records = [record for record in read_metrics(outcome.planned.run_dir) if record["kind"] == "valid"]
    points = [(float(record[axis]), float(record["loss"])) for record in records]
    points = [point for point in points if math.isfinite(point[1])]
    stride = -(-len(points) // _MOST_POINTS)
    return points if stride <= 1 else [*points[:-1:stride], points[-1]]


def blank_figure() -> tuple[Figure, Axes]:
    """Return axes for a picture that is 4.7 inches wide: its 10-point letters stay legible at a phone's 360 pixels."""
    with mpl.rc_context({"font.size": 11}):
        figure = Figure(figsize=(4.7, 3.7), layout="constrained")
        axes = figure.add_subplot()
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color("#94a3b8")
    axes.tick_params(colors=INK, labelsize=10)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    return figure, axes


def as_svg(figure: Figure) -> str:
    """Return the figure as SVG text: letters stay letters, and nothing in it depends on the time or on chance."""
    buffer = io.StringIO()
    fonts: dict[Any, Any] = {"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"]}
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cs336", **fonts}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    shorter = _TAG.sub(lambda tag: _LONG_DECIMAL.sub(r"\1", tag[0]), text[text.index("<svg") :])
    return _INDENT.sub("", shorter)


def _lay_out_time(axes: Axes, lasts: Sequence[float]) -> None:
    """Put ticks at full minutes or hours; let a run that was held up for long leave the picture at its right edge."""
    right = min(max(lasts, default=1.0), _HELD_UP * statistics.median(lasts or [1.0])) * 1.03
    axes.set_xlim(right=right)
    step = next((step for step in _TIME_STEPS if right / step <= _MOST_TICKS), _TIME_STEPS[-1])
    axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(FuncFormatter(clock_text))


def clock_text(seconds: float, _: int = 0) -> str:
    """Return what stands at a tick of the wall clock; the second argument is matplotlib's."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _short(value: float) -> str:
    text = f"{value:.3g}"
    return (
        text
        if value >= 0.01 or "e" in text
        else f"{value:.2e}".replace(".00e", "e").replace("0e-", "e-").replace("e-0", "e-")
    )
