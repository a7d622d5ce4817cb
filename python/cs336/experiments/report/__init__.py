"""Runs -> tables, curves and words to read: Markdown, SVG, and one self-contained page.

`studies` reads what there is, `figures` draws it, `document` says what stands in which order, `page` and `markdown`
write that down.
"""

from cs336.experiments.report.document import write_report

__all__ = ["write_report"]
