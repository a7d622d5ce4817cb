"""`cs336 runs`."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from cs336.cli.display import print_result
from cs336.cli.exit import ExitCode, UsageError

if TYPE_CHECKING:
    from cs336.train.history import RunSummary

_WIDE = 120  # columns of a terminal that has room for everything
_FOR_WIDE = ("started", "tokens", "tokens/s", "code")
_MARKS = {"finished": "green", "running": "cyan", "interrupted": "yellow", "out of time": "yellow"}


@dataclass(frozen=True, kw_only=True)
class ListRuns:
    """List the runs in and below directories, the latest last.

    Attributes:
        places: Directories to look in.
        json: Print one JSON object with all there is to know.
    """

    places: Positional[tuple[Path, ...]] = (Path("runs"),)
    json: bool = False

    def run(self) -> int:
        """Read the run directories and print a table."""
        from cs336.train.history import find_runs

        runs = find_runs(*self.places)
        if self.json:
            print_result({"runs": [_as_dict(run) for run in runs]}, as_json=True)
        elif not runs:
            sys.stdout.write(f"no runs in {', '.join(map(str, self.places))}\n")
        else:
            console = _console()
            console.print(_listing(runs, width=console.width))
        return ExitCode.OK


@dataclass(frozen=True, kw_only=True)
class CompareRuns:
    """Show runs side by side: in what their configs differ, what came of them, where they ran.

    Attributes:
        run_dirs: Run directories.
        json: Print one JSON object instead.
    """

    run_dirs: Positional[tuple[Path, ...]]
    json: bool = False

    def run(self) -> int:
        """Read the runs and print a table with a column for each."""
        from cs336.train.history import config_differences, read_run

        if not self.run_dirs:
            raise UsageError("name the run directories to compare")
        runs = [read_run(path) for path in self.run_dirs]
        differences = config_differences(runs)
        if self.json:
            print_result({"runs": [_as_dict(run) for run in runs], "differences": differences}, as_json=True)
        else:
            _console().print(_comparison(runs, differences))
        return ExitCode.OK


@dataclass(frozen=True, kw_only=True)
class PlotRuns:
    """Draw the learning curves of runs into one picture.

    Attributes:
        run_dirs: Run directories.
        out: The picture; its suffix says the format (.png, .svg, .pdf).
    """

    run_dirs: Positional[tuple[Path, ...]]
    out: Path

    def run(self) -> int:
        """Draw."""
        from cs336.train.curves import compare_curves, plot_curves

        if not self.run_dirs:
            raise UsageError("name the run directories to draw")
        if len(self.run_dirs) == 1:
            plot_curves(self.run_dirs[0], self.out)
        else:
            compare_curves(self.run_dirs, self.out)
        print_result({"picture": self.out}, as_json=False)
        return ExitCode.OK


@dataclass(frozen=True, kw_only=True)
class NoteRun:
    """Write what you have to say about a run into its notes.log; `list` and `compare` show it.

    Attributes:
        run_dir: The run directory.
        text: The note.
    """

    run_dir: Positional[Path]
    text: Positional[str]

    def run(self) -> int:
        """Append the note."""
        from cs336.train.history import add_note
        from cs336.train.provenance import now

        add_note(self.run_dir, self.text, time=now())
        return ExitCode.OK


@dataclass(frozen=True, kw_only=True)
class RunsGroup:
    """List runs, compare them, draw their curves, take notes."""

    verb: (
        Annotated[ListRuns, tyro.conf.subcommand("list")]
        | Annotated[CompareRuns, tyro.conf.subcommand("compare")]
        | Annotated[PlotRuns, tyro.conf.subcommand("plot")]
        | Annotated[NoteRun, tyro.conf.subcommand("note")]
    )

    def run(self) -> int:
        """Run the verb."""
        return self.verb.run()


def _console() -> Console:
    """Return a console that does not cut what goes into a pipe."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=200)


def _listing(runs: Sequence["RunSummary"], *, width: int) -> Table:
    """Return a table of runs; a narrow terminal gets the columns that say most."""
    cells: dict[str, Callable[[RunSummary], str | Text]] = {
        "run": lambda run: str(run.path),
        "status": _status,
        "started": lambda run: (run.started or "")[:16].replace("T", " "),
        "step": lambda run: f"{run.step:,}/{run.num_steps or 0:,}",
        "tokens": lambda run: _short(run.num_tokens),
        "valid loss": lambda run: _decimal(run.valid_loss, 4),
        "bits/byte": lambda run: _decimal(run.bits_per_byte, 3),
        "tokens/s": lambda run: _decimal(run.tokens_per_s, 0),
        "time": lambda run: _clock(run.elapsed_s),
        "code": lambda run: run.commit or "",
        "note": lambda run: run.notes[-1] if run.notes else "",
    }
    shown = [name for name in cells if width >= _WIDE or name not in _FOR_WIDE]
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    for name in shown:
        if name in ("run", "note"):
            table.add_column(name, overflow="fold", min_width=12 if name == "run" else None)
        else:
            table.add_column(name, no_wrap=True, justify="left" if name in ("status", "started", "code") else "right")
    for run in runs:
        table.add_row(*(cells[name](run) for name in shown))
    return table


def _comparison(runs: Sequence["RunSummary"], differences: dict[str, tuple[Any, ...]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("", style="dim", no_wrap=True)
    for run in runs:
        table.add_column(str(run.path), overflow="fold", justify="left")
    for key, values in differences.items():
        table.add_row(key, *("–" if value is None else _plain(value) for value in values))
    if not differences:
        table.add_row("config", *("the same" for _ in runs))
    table.add_section()
    best = min((run.best_valid_loss for run in runs if run.best_valid_loss is not None), default=None)
    table.add_row("status", *map(_status, runs))
    table.add_row("step", *(f"{run.step:,} of {run.num_steps or 0:,}" for run in runs))
    table.add_row("tokens", *(f"{run.num_tokens:,}" for run in runs))
    table.add_row("training loss", *(_decimal(run.train_loss, 4) for run in runs))
    table.add_row("validation loss", *(_decimal(run.valid_loss, 4) for run in runs))
    table.add_row(
        "best validation",
        *(
            Text(_decimal(run.best_valid_loss, 4), style="bold green" if run.best_valid_loss == best else "")
            for run in runs
        ),
    )
    table.add_row("bits/byte", *(_decimal(run.bits_per_byte, 3) for run in runs))
    table.add_row("tokens/s", *(_decimal(run.tokens_per_s, 0) for run in runs))
    table.add_row("time", *(_clock(run.elapsed_s) for run in runs))
    table.add_section()
    table.add_row("started", *((run.started or "")[:19].replace("T", " ") for run in runs))
    table.add_row("code", *(run.commit or "" for run in runs))
    table.add_row("uncommitted", *map(_uncommitted, runs))
    table.add_row("machine", *(run.machine for run in runs))
    table.add_row("notes", *("\n".join(run.notes) for run in runs))
    return table


def _uncommitted(run: "RunSummary") -> str:
    files = run.facts.get("code", {}).get("uncommitted") or []
    more = f" and {len(files) - 2} more" if len(files) > 3 else ""
    return ", ".join(files[:2] if more else files) + more


def _as_dict(run: "RunSummary") -> dict[str, Any]:
    return dataclasses.asdict(run) | {"path": str(run.path)}


def _status(run: "RunSummary") -> Text:
    return Text(run.status, style=_MARKS.get(run.status, "red"))


def _decimal(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _short(count: int) -> str:
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
