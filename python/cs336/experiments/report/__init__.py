"""Runs -> tables, curves and words to read: Markdown, SVG, and one self-contained page.

`studies` gathers the runs, `figures` draws them, `words` says what their numbers say; `sweeps`, `corpora`, `tokenizers`
and `sections` make sections of that, `whole` puts these in order; `writing` writes the `document` down, by `markdown`
and `page`.
"""

from cs336.experiments.report.whole import write_report

__all__ = ["write_report"]
