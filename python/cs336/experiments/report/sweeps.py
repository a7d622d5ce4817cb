"""What a report says of sweeps and runs: for each study its question, findings, a table and figures; then the log."""

import shlex
from collections.abc import Sequence

from cs336.experiments.report.document import Picture, Section, Table
from cs336.experiments.report.figures import Axis, draw_curves, draw_response, has_curves, response_key
from cs336.experiments.report.studies import Study
from cs336.experiments.report.words import findings
from cs336.experiments.table import HEADER, best_row, cells, duration_text
from cs336.train.history import RunSummary

_AXES: tuple[Axis, ...] = ("step", "tokens", "elapsed_s")
_WORDS = {"step": "steps", "tokens": "tokens", "elapsed_s": "wall clock"}


def study_section(study: Study, *, stem: str) -> Section:
    """Return what there is to say about a study; `stem` begins the names of its pictures."""
    rows = study.rows
    best = best_row(rows) if len(rows) > 1 and len(study.budgets) == 1 else None
    table = _without_empty_columns(
        Table(header=HEADER, rows=tuple(cells(rows)), marked=None if best is None else rows.index(best))
    )
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
        if has_curves(study)
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
        caption=table.caption,
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
