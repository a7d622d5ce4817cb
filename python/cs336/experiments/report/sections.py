"""Sections of a report that are not about sweeps: the toy of SGD, generation."""

from collections.abc import Sequence
from pathlib import Path

from cs336.experiments import generation_study, toy_sgd
from cs336.experiments.report.document import Section, Table

_SHOWN_CHARACTERS = 700
_SHOWN_LINES = 24


def toy_section() -> Section:
    """Return the handout's toy example at four rates."""
    header = ("steps made", *(f"lr {rate:g}" for rate in toy_sgd.RATES))
    return Section(
        title="SGD on a toy",
        question="What do rates of 1, 10, 100 and 1000 do to the mean square of 100 weights?",
        words=(
            "Each step multiplies the loss by (1 - 2 lr / (100 sqrt(t + 1)))²: higher rates learn faster as long as "
            "that is below 1. At 100 the first factor is (1 - 2)² = 1, after which it falls fastest of all; at 1000 it "
            "is 361, and the loss explodes.",
        ),
        tables=(Table(header=header, rows=tuple(toy_sgd.toy_table())),),
    )


def generation_section(run_dir: Path, writings: Sequence[generation_study.Writing]) -> Section:
    """Return what temperature and top-p do to the texts of a run."""
    rows = tuple(generation_study.cells(writings))
    blocks = tuple((f"{each.name}:", _shortened(each.sample)) for each in writings[1:])
    return Section(
        title="Generation",
        question="What decides whether generated text is fluent?",
        words=(f"Written by {run_dir}.", *generation_study.words(writings)),
        tables=(Table(header=generation_study.HEADER, rows=rows),),
        blocks=blocks,
    )


def _shortened(text: str) -> str:
    """Return the beginning of a text: a page of it says what all of it says."""
    begin = "\n".join(text[:_SHOWN_CHARACTERS].splitlines()[:_SHOWN_LINES])
    return text if len(begin) >= len(text.rstrip()) else begin.rstrip() + " …"
