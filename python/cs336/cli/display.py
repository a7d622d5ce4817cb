"""What people see: results on stdout, progress on stderr; bars on a terminal, plain lines in a log."""

import json
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

_LINE_EVERY_S = 5.0
_STAGES = {
    "count": "counting pretokens",
    "sum": "adding up counts",
    "merge": "merging pairs",
    "encode": "encoding",
    "corpus": "making shards",
    "shuffle": "shuffling",
    "verify": "verifying",
    "convert": "converting",
    "files": "counting files",
}


def print_result(values: Mapping[str, Any], *, as_json: bool) -> None:
    """Write a result to stdout: one JSON object, or a line for each value that is not None."""
    if as_json:
        sys.stdout.write(json.dumps(values, default=str) + "\n")
        return
    width = max(map(len, values), default=0)
    for name, value in values.items():
        if value is not None:
            sys.stdout.write(f"{name.replace('_', ' '):<{width}}  {_format(value)}\n")


def _format(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(_format, value))
    return f"{value:,.4g}" if isinstance(value, float) and abs(value) < 1000 else _format_large(value)


def _format_large(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, float) else str(value)


class Watcher(Protocol):
    """Shows how far a job is; enter it as a context so that a bar is cleared away when the job fails."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def __call__(self, stage: str, done: int, total: int, /, *, note: str = "") -> None:
        """Show that `done` of `total` units of a stage are done; a total of 0 is unknown."""

    def say(self, text: str | Text, /) -> None:
        """Show a line that stays."""

    def rest(self) -> None:
        """Leave the terminal to another display; what has been shown stays."""


def watch() -> Watcher:
    """Return bars if stderr is a terminal, else plain lines."""
    console = Console(stderr=True, highlight=False)
    return Bars(console) if console.is_terminal else Lines(console)


class Bars:
    """One bar a stage."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description:<18}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, stage: str, done: int, total: int, /, *, note: str = "") -> None:
        """Move the stage's bar."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(_STAGES.get(stage, stage), note="")
        self._progress.update(self._tasks[stage], completed=done, total=total or None, note=note)

    def rest(self) -> None:
        """Stop drawing the bars."""
        self._progress.stop()

    def say(self, text: str | Text, /) -> None:
        """Print above the bars."""
        self._progress.console.print(text, markup=False)


class Lines:
    """A line when a stage ends, and every few seconds before that."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_s = time.monotonic()
        self._ended: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __call__(self, stage: str, done: int, total: int, /, *, note: str = "") -> None:
        """Print a line if it is time for one."""
        has_ended = total > 0 and done >= total and stage not in self._ended
        if not has_ended and time.monotonic() - self._last_s < _LINE_EVERY_S:
            return
        if has_ended:
            self._ended.add(stage)
        self._last_s = time.monotonic()
        share = f" {100 * done / total:.0f}%" if total else ""
        self.say(f"{_STAGES.get(stage, stage)}:{share} {done:,}{f' of {total:,}' if total else ''} {note}".rstrip())

    def rest(self) -> None:
        """Do nothing: lines are in nobody's way."""

    def say(self, text: str | Text, /) -> None:
        """Print a line, however long."""
        self._console.print(text, soft_wrap=True, markup=False)


def sample_text(record: Mapping[str, Any]) -> Text:
    """Return a sample record as a block that tells the prompt from its continuation."""
    text = Text(f"step {record['step']:,}: sample\n", style="dim")
    body = Text(record["prompt"], style="bold")
    body.append(record["text"], style="not bold")
    lines = body.split("\n")
    for line in lines:
        text.append("  │ ").append_text(line).append("\n")
    text.rstrip()
    return text
