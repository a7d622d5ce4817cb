"""A document on disk: Markdown with its pictures beside it, and a page that needs no other file."""

from pathlib import Path

from cs336.experiments.report.document import Document
from cs336.experiments.report.markdown import as_markdown
from cs336.experiments.report.page import as_page
from cs336.train.durable import write_file


def write_document(document: Document, out: Path, *, name: str) -> dict[str, Path]:
    """Write `NAME.md` with its SVG files, and `NAME.html`; return the paths.

    Raises:
        OSError: A file cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    for section in document.sections:
        for picture in section.pictures:
            write_file(out / f"{picture.name}.svg", (picture.svg + "\n").encode())
    paths = {"page": out / f"{name}.html", "markdown": out / f"{name}.md"}
    write_file(paths["page"], as_page(document).encode())
    write_file(paths["markdown"], as_markdown(document).encode())
    return paths
