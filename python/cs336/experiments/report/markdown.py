"""A report as Markdown, with its figures in files beside it."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cs336.experiments.table import markdown

if TYPE_CHECKING:
    from cs336.experiments.report.document import Document, Section


def as_markdown(document: "Document") -> str:
    """Return the text."""
    parts = [f"# {document.title}\n"]
    parts += [f"{sentence}\n" for sentence in document.lead]
    for section in document.sections:
        parts += _section(section)
    return "\n".join(parts)


def _section(section: "Section") -> Iterator[str]:
    yield f"## {section.title}\n"
    if section.question:
        yield f"*{section.question}*\n"
    if section.words:
        yield "".join(f"- {sentence}\n" for sentence in section.words)
    for table in section.tables:
        rows = [
            (f"**{cells[0]}**", *cells[1:]) if index == table.marked else cells
            for index, cells in enumerate(table.rows)
        ]
        if table.caption:
            yield f"{table.caption}:\n"
        yield markdown(table.header, rows)
    for picture in section.pictures:
        yield f"![{picture.caption}]({picture.name}.svg)\n"
    for headline, text in section.blocks:
        fence = "`" * max(3, 1 + longest_run(text, "`"))
        yield f"{headline}\n\n{fence}text\n{text}\n{fence}\n"


def longest_run(text: str, character: str) -> int:
    """Return how often a character stands in a row at most."""
    return max((len(run) for run in re.findall(f"{re.escape(character)}+", text)), default=0)
