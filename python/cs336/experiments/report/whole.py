"""A report on whatever there is in some directories: tokenizer studies, sweeps, single runs, generation.

An answer sheet leaves `sheet.json` in its directory: what a report on it begins with, and what its corpora are called.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cs336.experiments.generation_study import GENERATION_FILE, read_generation
from cs336.experiments.report.corpora import corpora_section
from cs336.experiments.report.document import Document, Section
from cs336.experiments.report.sections import generation_section, toy_section
from cs336.experiments.report.studies import Study, gather
from cs336.experiments.report.sweeps import log_section, study_section
from cs336.experiments.report.tokenizers import tokenizer_section
from cs336.experiments.report.writing import write_document
from cs336.experiments.tokenizer_facts import STUDY_FILE, read_study
from cs336.train.durable import write_file

SHEET_FILE = "sheet.json"


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What an answer sheet says of itself.

    Attributes:
        title: Headline of a report.
        lead: Its first sentences.
        corpora: What people call the corpus in a directory of token files.
    """

    title: str
    lead: tuple[str, ...] = ()
    corpora: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `sheet.json`.

        Raises:
            OSError: It cannot be written.
        """
        write_file(folder / SHEET_FILE, (json.dumps(asdict(self), indent=1) + "\n").encode())


def write_report(
    places: Sequence[Path], out: Path, *, title: str | None = None, lead: Sequence[str] = ()
) -> dict[str, Path]:
    """Write `report.md` with its SVG files, and `report.html`, which needs no other file; return the paths.

    Args:
        places: Run directories, sweeps, or directories above them.
        out: Directory to write into.
        title: Headline, instead of the answer sheet's, if there is one.
        lead: Sentences that come first.

    Raises:
        OSError: A place does not exist, or a file cannot be written.
        ValueError: There is no run, or a file is damaged.
    """
    sheets = [_read_sheet(folder) for folder in _holding(places, SHEET_FILE)]
    studies = gather(places)
    document = Document(
        title=title or (sheets[0].title if sheets else "Report"),
        lead=(*lead, *(sentence for sheet in sheets for sentence in sheet.lead)),
        sections=tuple(_sections(places, studies, sheets)),
    )
    return write_document(document, out, name="report")


def _sections(places: Sequence[Path], studies: Sequence[Study], sheets: Sequence[Sheet]) -> Iterator[Section]:
    for index, folder in enumerate(_holding(places, STUDY_FILE)):
        yield tokenizer_section(read_study(folder), picture=f"tokenizers-{index + 1}" if index else "tokenizers")
    if sheets:
        yield toy_section()
    for study, stem in zip(studies, _stems(studies), strict=True):
        yield study_section(study, stem=stem)
    yield from corpora_section(studies, names={key: name for sheet in sheets for key, name in sheet.corpora.items()})
    yield from _generations(studies)
    yield log_section(studies)


def _generations(studies: Sequence[Study]) -> Iterator[Section]:
    """Yield what runs have written, under their studies' titles if there are several."""
    found = [
        (study, outcome.planned.run_dir)
        for study in studies
        for outcome in study.outcomes
        if (outcome.planned.run_dir / GENERATION_FILE).exists()
    ]
    for study, run_dir in found:
        section = generation_section(run_dir, read_generation(run_dir))
        title = section.title if len(found) == 1 else f"{section.title} ({study.title})"
        yield dataclasses.replace(section, title=title)


def _stems(studies: Sequence[Study]) -> Iterator[str]:
    """Yield the names of the studies' directories, with a number where one comes again."""
    met: Counter[str] = Counter()
    for study in studies:
        met[study.folder.name] += 1
        again = met[study.folder.name]
        yield study.folder.name if again == 1 else f"{study.folder.name}-{again}"


def _holding(places: Sequence[Path], name: str) -> list[Path]:
    """Return the directories in and below some places that hold a file of this name."""
    return sorted({path.parent for place in places for path in place.rglob(name)})


def _read_sheet(folder: Path) -> Sheet:
    path = folder / SHEET_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Sheet(title=values["title"], lead=tuple(values["lead"]), corpora=dict(values["corpora"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); remove it, or let `cs336 experiments all` write it") from error
