"""What a report is made of: sections with words, tables and pictures. `page` and `markdown` write it down."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; the row of the best is marked. A caption tells it from others beside it."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: int | None = None
    caption: str = ""


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
    sections: tuple[Section, ...] = ()
