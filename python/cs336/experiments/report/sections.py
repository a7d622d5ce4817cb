"""Sections of a report that are not about sweeps: the tokenizer study, the toy of SGD, generation."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cs336.experiments import generation_study, toy_sgd
from cs336.experiments.report.document import Picture, Section, Table
from cs336.experiments.table import duration_text

_SHOWN_CHARACTERS = 700


def tokenizer_section(folder: Path) -> Section:
    """Return the tokenizer study in short; `study.md` in its folder has all of it.

    Raises:
        OSError: There is no study.
    """
    study: dict[str, Any] = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    trainings = tuple(
        (
            each["corpus"],
            f"{each['num_bytes']:,}",
            f"{each['vocab_size']:,}",
            f"{each['elapsed_s']:.2f} s",
            f"{each['peak_bytes'] / 1e6:,.0f} MB",
            each["longest"][0] if each["longest"] else "",
        )
        for each in study["trainings"]
    )
    compressions = tuple(
        (
            f"{each['tokenizer']} on {each['text']}",
            f"{each['bytes_per_token']:.3f}",
            f"{each['low']:.3f} to {each['high']:.3f}",
            f"{each['num_documents']:,}",
        )
        for each in study["whole"]
    )
    speeds = tuple(
        (
            each["tokenizer"],
            str(each["num_threads"]),
            f"{each['bytes_per_s'] / 1e6:,.0f} MB/s",
            duration_text(each["pile_s"]),
        )
        for each in study["throughput"]
    )
    svg = (folder / "compression.svg").read_text(encoding="utf-8")
    return Section(
        title="Tokenizers",
        question="How well does a vocabulary fit its own corpus, and the other?",
        tables=(
            Table(header=("trained on", "bytes", "vocabulary", "time", "peak memory", "longest token"), rows=trainings),
            Table(
                header=("tokenizer and held-out text", "bytes/token", "95 % interval", "documents"), rows=compressions
            ),
            Table(header=("tokenizer", "threads", "file to file", "the Pile, 825 GB (h:mm:ss)"), rows=speeds),
        ),
        pictures=(
            Picture(
                name="tokenizers", svg=svg[svg.index("<svg") :], caption="Tokenizers: bytes a token of held-out text"
            ),
        ),
    )


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
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS].rstrip() + " …"
