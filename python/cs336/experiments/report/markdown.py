"""A report as Markdown, with its figures in files beside it."""

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
        yield markdown(table.header, rows)
    for picture in section.pictures:
        yield f"![{picture.caption}]({picture.name}.svg)\n"
    for headline, text in section.blocks:
        fence = "`" * max(3, 1 + _longest_fence(text))
        yield f"{headline}\n\n{fence}text\n{text}\n{fence}\n"


def _longest_fence(text: str) -> int:
    longest = length = 0
    for character in text:
        length = length + 1 if character == "`" else 0
        longest = max(longest, length)
    return longest
