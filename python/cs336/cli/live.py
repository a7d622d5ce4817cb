"""How a training run stands, at one glance: a panel on a terminal, plain lines in a log."""

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cs336.cli.display import sample_text

Record = Mapping[str, Any]
_LINE_EVERY_S = 5.0
_BARS = "▁▂▃▄▅▆▇█"


@contextlib.contextmanager
def show_training(title: str, *, num_steps: int, is_quiet: bool = False) -> Iterator[Callable[[Record], None]]:
    """Show the records of a run on stderr as they come.

    Args:
        title: What stands on top: the run directory.
        num_steps: Steps of the whole run.
        is_quiet: Show nothing; for all processes of a run but the first.
    """
    console = Console(stderr=True, highlight=False)
    if is_quiet:
        yield lambda _record: None
    elif not console.is_terminal:
        yield TrainingLines(console, num_steps=num_steps)
    else:
        panel = TrainingPanel(console, title, num_steps=num_steps)
        with Live(get_renderable=panel.render, console=console, refresh_per_second=4) as live:
            yield panel
            live.refresh()


class Standing:
    """What the records so far say: the latest values, the losses, and when the end is due."""

    def __init__(self, *, num_steps: int) -> None:
        self.num_steps = num_steps
        self.step = 0
        self.latest: dict[str, Any] = {}
        self.losses: list[float] = []
        self.valid: Record | None = None
        self.best: Record | None = None
        self._began = (time.monotonic(), 0)

    def take(self, record: Record) -> None:
        """Take in one record."""
        if not self.latest:
            self._began = (time.monotonic(), record["step"])  # a resumed run is timed from where it goes on
        self.step = record["step"]
        if record["kind"] == "train":
            self.latest = dict(record)
            self.losses.append(float(record["loss"]))
        elif record["kind"] == "valid":
            self.valid = record
            if self.best is None or record["loss"] <= self.best["loss"]:
                self.best = record

    def eta_s(self) -> float | None:
        """Return the seconds that the remaining steps will take, at the speed of this process so far."""
        began_s, began_step = self._began
        if self.step <= began_step:
            return None
        return (time.monotonic() - began_s) / (self.step - began_step) * (self.num_steps - self.step)


class TrainingLines:
    """A line every few seconds, and one for each validation and sample."""

    def __init__(self, console: Console, *, num_steps: int) -> None:
        self._console = console
        self._standing = Standing(num_steps=num_steps)
        self._last_s = -math.inf

    def __call__(self, record: Record, /) -> None:
        """Show one record of `metrics.jsonl`."""
        self._standing.take(record)
        kind, step = record["kind"], record["step"]
        if kind == "train":
            is_last = step == self._standing.num_steps
            if is_last or time.monotonic() - self._last_s >= _LINE_EVERY_S:
                self._last_s = time.monotonic()
                self._say(f"step {step:,} of {self._standing.num_steps:,}: {'  '.join(_facts(self._standing))}")
        elif kind == "valid":
            self._say(f"step {step:,}: validation loss {_in_units(record)}")
        elif kind == "sample":
            self._say(sample_text(record))
        elif kind == "diverged":
            self._say(_divergence(record))

    def _say(self, text: str | Text) -> None:
        self._console.print(text, soft_wrap=True, markup=False)


class TrainingPanel:
    """A panel that is drawn anew several times a second; samples scroll away above it."""

    def __init__(self, console: Console, title: str, *, num_steps: int) -> None:
        self._console = console
        self._title = title
        self._standing = Standing(num_steps=num_steps)
        self._began_s = time.monotonic()

    def __call__(self, record: Record, /) -> None:
        """Show one record of `metrics.jsonl`."""
        self._standing.take(record)
        if record["kind"] == "sample":
            self._console.print(sample_text(record))
        elif record["kind"] == "diverged":
            self._console.print(Text(_divergence(record), style="bold red"))

    def render(self) -> RenderableType:
        """Return the panel as it is now."""
        standing, latest = self._standing, self._standing.latest
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="dim")
        rows.add_column()
        loss = Text(f"{latest['loss']:.4f}" if latest else "–", style="bold")
        loss.append(f"   {spark_line(standing.losses, width=32)}", style="cyan")
        rows.add_row("loss", loss)
        if standing.valid is not None and standing.best is not None:
            valid = Text(_in_units(standing.valid), style="bold green")
            if standing.best is not standing.valid:
                valid.append(f"   best {standing.best['loss']:.4f} at step {standing.best['step']:,}", style="dim")
            rows.add_row("validation", valid)
        if latest:
            rows.add_row("learning rate", f"{latest['lr']:.2e}   gradient norm {latest['grad_norm']:.3f}")
            rows.add_row("speed", "   ".join(_speed(latest)))
        elapsed_s = time.monotonic() - self._began_s
        return Panel(
            Group(self._progress(), Text(), rows),
            title=Text(self._title, style="bold"),
            title_align="left",
            subtitle=f"elapsed {_clock(elapsed_s)}",
            subtitle_align="right",
            box=box.ROUNDED,
            border_style="dim",
            width=min(self._console.width, 88),
        )

    def _progress(self) -> RenderableType:
        standing = self._standing
        eta_s = standing.eta_s()
        line = Table.grid(expand=True, padding=(0, 1))
        line.add_column(ratio=1)
        line.add_column(justify="right")
        line.add_row(
            ProgressBar(total=standing.num_steps, completed=standing.step),
            f"{standing.step:,} / {standing.num_steps:,} steps" + (f", {_clock(eta_s)} left" if eta_s else ""),
        )
        return line


def spark_line(values: list[float], *, width: int) -> str:
    """Return a row of bars, each the mean of an equal part of the values; what is not finite is left out."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    width = min(width, len(finite))
    edges = [index * len(finite) // width for index in range(width + 1)]
    means = [math.fsum(finite[i:j]) / (j - i) for i, j in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((mean - low) * scale)] for mean in means)


def _facts(standing: Standing) -> list[str]:
    latest = standing.latest
    facts = [f"loss {latest['loss']:.4f}"]
    if standing.valid is not None:
        facts.append(f"validation {standing.valid['loss']:.4f}")
    facts += [f"lr {latest['lr']:.2e}", f"gradient norm {latest['grad_norm']:.3f}", *_speed(latest)]
    eta_s = standing.eta_s()
    return facts + ([f"{_clock(eta_s)} left"] if eta_s else [])


def _speed(record: Record) -> list[str]:
    facts = [f"{record['tokens_per_s']:,.0f} tokens/s"]
    if record.get("mfu") is not None:
        facts.append(f"MFU {100 * record['mfu']:.1f} %")
    if record.get("memory_bytes") is not None:
        facts.append(f"memory {record['memory_bytes'] / 2**30:.2f} GiB")
    return facts


def _in_units(valid: Record) -> str:
    bits = f", {valid['bits_per_byte']:.3f} bits/byte" if "bits_per_byte" in valid else ""
    return f"{valid['loss']:.4f}{bits}"


def _divergence(record: Record) -> str:
    return f"step {record['step']:,}: loss {record['loss']}, gradient norm {record['grad_norm']}: the run has diverged"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
