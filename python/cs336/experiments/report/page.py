"""A report as one HTML page that needs no other file: to read on a phone, on a desk and on paper."""

import base64
import importlib.resources
import re
from collections.abc import Iterator
from html import escape
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cs336.experiments.report.document import Document, Picture, Section, Table

_BREAKS = re.compile(r"[/=]|,(?=\D)")  # not inside 1,000
_CODE = re.compile(r"(`+) ?(.+?) ?\1(?!`)")  # as in Markdown


def as_page(document: "Document") -> str:
    """Return the text of the page."""
    template = Template(
        (importlib.resources.files("cs336.experiments.report") / "page.html").read_text(encoding="utf-8")
    )
    links = "".join(
        f'<a href="#s{index}">{escape(section.title)}</a>' for index, section in enumerate(document.sections)
    )
    return template.substitute(
        title=escape(document.title),
        lead="".join(f"<p>{_prose(sentence)}</p>" for sentence in document.lead),
        links=links,
        sections="\n".join(_section(index, section) for index, section in enumerate(document.sections)),
    )


def _section(index: int, section: "Section") -> str:
    body = "\n".join(_body(section))
    if section.folded:
        body = f"<details><summary>Show all</summary>{body}</details>"
    return f'<section id="s{index}"><h2>{escape(section.title)}</h2>\n{body}\n</section>'


def _body(section: "Section") -> Iterator[str]:
    if section.question:
        yield f'<p class="question">{escape(section.question)}</p>'
    if section.words:
        yield "<ul>" + "".join(f"<li>{_prose(sentence)}</li>" for sentence in section.words) + "</ul>"
    yield from (_table(table) for table in section.tables)
    if section.pictures:
        yield '<div class="figures">' + "".join(map(_picture, section.pictures)) + "</div>"
    for headline, text in section.blocks:
        yield f'<figure class="sample"><figcaption>{escape(headline)}</figcaption><pre>{escape(text)}</pre></figure>'


def _prose(sentence: str) -> str:
    """Return a sentence with what stands between backticks as code."""
    return _CODE.sub(r"<code>\2</code>", escape(sentence))


def _table(table: "Table") -> str:
    """Return a table that scrolls sideways in a box of its own, so that the page itself never does."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = []
    for index, cells in enumerate(table.rows):
        first, *others = (_breakable(cell) for cell in cells)
        mark = ' class="best"' if index == table.marked else ""
        rows.append(
            f'<tr{mark}><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in others) + "</tr>"
        )
    caption = f'<p class="caption">{escape(table.caption)}</p>' if table.caption else ""
    return (
        f'{caption}<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _breakable(cell: str) -> str:
    """Let long names break after the characters at which a reader would break them."""
    return _BREAKS.sub(r"\g<0><wbr>", escape(cell))


def _picture(picture: "Picture") -> str:
    """Return a figure as a picture of its own: the ids and styles of two SVGs cannot meet."""
    data = base64.b64encode(picture.svg.encode()).decode()
    caption = escape(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
