"""Learning curves as pictures."""

# ruff: noqa: E402  (the missing extra must be named before matplotlib is imported)
from cs336._extras import require_extra

require_extra("train", modules=("matplotlib",), needed_by=__name__)

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from cs336.train.runlog import read_metrics

_LINE_COLORS = ("#0f766e", "#c2410c", "#1d4ed8", "#7e22ce", "#a16207", "#be123c", "#4d7c0f", "#334155")
_FEW = 40  # points that are worth a mark of their own
_TRAIN_COLOR, _VALID_COLOR, _INK = "#9db8d2", "#c2410c", "#334155"


def plot_curves(run_dir: str | Path, out: str | Path, *, title: str | None = None) -> None:
    """Draw a run's training and validation loss against its steps, with the tokens along the upper edge.

    Args:
        run_dir: A run directory.
        out: The picture; its suffix says the format (.png, .svg, .pdf).
        title: Headline; the directory's name by default.

    Raises:
        OSError: The measurements cannot be read, or the picture cannot be written.
        ValueError: The run has recorded no finite loss yet, or matplotlib does not know the format.
    """
    records = read_metrics(run_dir)
    train, valid = _losses(records, "train"), _losses(records, "valid")
    if not train and not valid:
        raise ValueError(f"{run_dir} has recorded no loss yet; train at least log_every steps")
    figure = Figure(figsize=(8, 4.6), dpi=150, layout="constrained")  # no pyplot: nothing global, no display needed
    axes = figure.add_subplot()
    _draw(axes, train, valid)
    _frame(axes, valid or train)
    last = records[-1]
    _add_token_axis(axes, tokens_per_step=last["tokens"] / max(1, last["step"]))
    axes.set_title(title or Path(run_dir).name, loc="left", color=_INK, fontweight="bold", pad=12)
    _save(figure, Path(out))


def compare_curves(run_dirs: Sequence[str | Path], out: str | Path, *, title: str | None = None) -> None:
    """Draw the validation losses of several runs over their tokens, or the training losses if one has no others.

    Args:
        run_dirs: Run directories.
        out: The picture; its suffix says the format (.png, .svg, .pdf).
        title: Headline.

    Raises:
        OSError: The measurements cannot be read, or the picture cannot be written.
        ValueError: A run has recorded no finite loss yet, or matplotlib does not know the format.
    """
    records = {Path(run_dir): read_metrics(run_dir) for run_dir in run_dirs}
    names = _distinct_names(list(records))
    kind = "valid" if all(_losses(one, "valid") for one in records.values()) else "train"
    figure = Figure(figsize=(8, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    lows: list[tuple[int, float]] = []
    for index, (run_dir, one) in enumerate(records.items()):
        points = _losses(one, kind)
        if not points:
            raise ValueError(f"{run_dir} has recorded no loss yet; train at least log_every steps")
        last = one[-1]
        per_step = last["tokens"] / max(1, last["step"])
        tokens, losses = [step * per_step for step, _ in points], [loss for _, loss in points]
        color, marker = _LINE_COLORS[index % len(_LINE_COLORS)], "o" if len(points) < _FEW else None
        label = f"{names[run_dir]}  {losses[-1]:.4f}"
        axes.plot(tokens, losses, color=color, linewidth=1.6, marker=marker, markersize=3.5, label=label)
        lows += points
    _frame(axes, lows)
    axes.set_xlabel("tokens", color=_INK)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.spines[["top"]].set_visible(False)
    axes.legend(frameon=False, loc="best", labelcolor=_INK)
    kind_in_words = {"valid": "validation loss", "train": "training loss"}[kind]
    axes.set_title(title or f"{kind_in_words} (the last value beside the name)", loc="left", color=_INK, pad=12)
    _save(figure, Path(out))


def _distinct_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return what tells paths apart: without the parts that all begin or end with, but never without a name."""
    parts = [path.parts for path in paths]
    shortest = min(map(len, parts))
    is_shared = [len({each[index] for each in parts}) == 1 for index in range(shortest)]
    is_shared_at_end = [len({each[-1 - index] for each in parts}) == 1 for index in range(shortest)]
    first = next((index for index, shared in enumerate(is_shared) if not shared), shortest - 1)
    cut = next((index for index, shared in enumerate(is_shared_at_end) if not shared), 0)
    return {path: "/".join(each[first : len(each) - cut]) or path.name for path, each in zip(paths, parts, strict=True)}


def _save(figure: Figure, out: Path) -> None:
    """Write beside the final name and rename."""
    aside = out.with_name(f"{out.stem}.tmp{out.suffix}")
    try:
        figure.savefig(aside)
        aside.replace(out)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(out)) from error


def _losses(records: Sequence[Mapping[str, Any]], kind: str) -> list[tuple[int, float]]:
    points = [(record["step"], float(record["loss"])) for record in records if record["kind"] == kind]
    return [(step, loss) for step, loss in points if math.isfinite(loss)]


def _draw(axes: Axes, train: list[tuple[int, float]], valid: list[tuple[int, float]]) -> None:
    if train:
        axes.plot(
            *zip(*train, strict=True), color=_TRAIN_COLOR, linewidth=1.4, label="training (mean since last point)"
        )
    if valid:
        axes.plot(
            *zip(*valid, strict=True), color=_VALID_COLOR, linewidth=1.8, marker="o", markersize=4.5, label="validation"
        )
        step, loss = valid[-1]
        axes.annotate(
            f"{loss:.3f}",
            (step, loss),
            textcoords="offset points",
            xytext=(0, 9),
            ha="right",
            color=_VALID_COLOR,
            fontweight="bold",
        )


def _frame(axes: Axes, points: list[tuple[int, float]]) -> None:
    axes.set_xlabel("step", color=_INK)
    axes.set_ylabel("loss (nats per token)", color=_INK)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=max(0.0, min(loss for _, loss in points) - 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="#e2e8f0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["right"]].set_visible(False)
    axes.tick_params(colors=_INK)
    axes.legend(frameon=False, loc="upper right", labelcolor=_INK)


def _add_token_axis(axes: Axes, *, tokens_per_step: float) -> None:
    to_tokens, to_steps = (lambda steps: steps * tokens_per_step), (lambda tokens: tokens / tokens_per_step)
    upper = axes.secondary_xaxis("top", functions=(to_tokens, to_steps))
    upper.set_xlabel("tokens", color=_INK)
    upper.xaxis.set_major_formatter(EngFormatter(sep=""))
    upper.tick_params(colors=_INK)
