"""What a report says, and in which order: for each study its question, findings, a table and figures; then the log."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cs336.experiments.report.figures import Axis, draw_curves, draw_response, response_key
from cs336.experiments.report.markdown import as_markdown
from cs336.experiments.report.page import as_page
from cs336.experiments.report.studies import Study, gather
from cs336.experiments.report.words import findings
from cs336.experiments.table import HEADER, best_row, cells, duration_text
from cs336.train.durable import write_file
from cs336.train.history import RunSummary

_AXES: tuple[Axis, ...] = ("step", "tokens", "elapsed_s")
_WORDS = {"step": "steps", "tokens": "tokens", "elapsed_s": "wall clock"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; the row of the best is marked."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: int | None = None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An SVG under a file's name, and what it shows, for who cannot see it."""

    name: str
    svg: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a report.

    Attributes:
        title: Its headline.
        question: What it is to answer.
        words: Findings, a sentence or two each.
        tables: Numbers.
        pictures: Figures.
        blocks: Text to be shown as it is, such as samples, each with its headline.
        folded: Shown on demand on a page: long, and for reference.
    """

    title: str
    question: str = ""
    words: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    blocks: tuple[tuple[str, str], ...] = ()
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Document:
    """A report.

    Attributes:
        title: Its headline.
        lead: What a reader should know first.
        sections: Its parts.
    """

    title: str
    lead: tuple[str, ...] = ()
    sections: tuple[Section, ...] = field(default=())


def write_report(
    places: Sequence[Path],
    out: Path,
    *,
    title: str = "Report",
    lead: Sequence[str] = (),
    before: Sequence[Section] = (),
    after: Sequence[Section] = (),
) -> dict[str, Path]:
    """Write `report.md` with its SVG files, and `report.html`, which needs no other file; return the paths.

    Args:
        places: Run directories, sweeps, or directories above them.
        out: Directory to write into.
        title: Headline.
        lead: First sentences.
        before: Sections that stand before those of the runs.
        after: Sections that stand after them, before the log.

    Raises:
        OSError: A place does not exist, or a file cannot be written.
        ValueError: There is no run, or one's files are damaged.
    """
    studies = gather(places)
    sections = [*before, *(study_section(study) for study in studies), *after, log_section(studies)]
    document = Document(title=title, lead=tuple(lead), sections=tuple(sections))
    out.mkdir(parents=True, exist_ok=True)
    for section in sections:
        for picture in section.pictures:
            write_file(out / f"{picture.name}.svg", (picture.svg + "\n").encode())
    paths = {"page": out / "report.html", "markdown": out / "report.md"}
    write_file(paths["page"], as_page(document).encode())
    write_file(paths["markdown"], as_markdown(document).encode())
    return paths


def study_section(study: Study) -> Section:
    """Return what there is to say about a study."""
    rows = study.rows
    best = best_row(rows) if len(rows) > 1 and len(study.budgets) == 1 else None
    table = _without_empty_columns(
        Table(header=HEADER, rows=tuple(cells(rows)), marked=None if best is None else rows.index(best))
    )
    stem = study.folder.name
    pictures = []
    if (key := response_key(study)) is not None and len(rows) > 1:
        pictures.append(
            Picture(
                name=f"{stem}-response", svg=draw_response(study, key), caption=f"{study.title}: final loss over {key}"
            )
        )
    pictures += [
        Picture(
            name=f"{stem}-{axis.removesuffix('_s')}",
            svg=draw_curves(study, axis),
            caption=f"{study.title}: validation loss over {_WORDS[axis]}",
        )
        for axis in _AXES
    ]
    return Section(
        title=study.title,
        question=study.question,
        words=tuple(findings(study)),
        tables=(table,),
        pictures=tuple(pictures),
    )


def _without_empty_columns(table: Table) -> Table:
    kept = [index for index in range(len(table.header)) if any(row[index] for row in table.rows)]
    return Table(
        header=tuple(table.header[index] for index in kept),
        rows=tuple(tuple(row[index] for index in kept) for row in table.rows),
        marked=table.marked,
    )


def log_section(studies: Sequence[Study]) -> Section:
    """Return the experiment log: every run, how it differs, what came of it, on which code and machine."""
    header = ("run", "differs in", "loss", "tokens", "time", "state", "started", "code", "machine", "notes")
    lines = []
    for study in studies:
        varied = study.varied()
        for outcome in study.outcomes:
            run = outcome.summary
            if run is None:
                continue
            name = outcome.planned.variant.name
            first = study.outcomes[0].planned.variant.name
            settings = ", ".join(
                f"{key}={_plain(values[name])}"
                for key, values in varied.items()
                if len(varied) == 1 or values[name] != values[first]
            )
            lines.append(_log_line(run, settings=settings, state=outcome.state))
    table = _without_empty_columns(Table(header=header, rows=tuple(lines)))
    return Section(title="Experiment log", tables=(table,), folded=True)


def _log_line(run: RunSummary, *, settings: str, state: str) -> tuple[str, ...]:
    return (
        str(run.path),
        settings,
        "" if run.valid_loss is None else f"{run.valid_loss:.4f}",
        f"{run.num_tokens:,}",
        duration_text(run.elapsed_s),
        state,
        (run.started or "")[:16].replace("T", " "),
        run.commit or "",
        run.machine,
        "; ".join(run.notes),
    )


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else shlex.quote(str(value))
