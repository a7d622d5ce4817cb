"""One model on several corpora: losses of different tokenizers side by side, and what of them can be compared."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cs336.experiments.report.document import Section, Table
from cs336.experiments.report.studies import Study
from cs336.experiments.table import Row, best_row


def corpora_section(studies: Sequence[Study], *, names: Mapping[str, str]) -> Iterator[Section]:
    """Yield the best run on each held-out text among the searches for a rate; nothing if there are fewer than two.

    Args:
        studies: All that there are.
        names: What a corpus is called, by the directory of its token files.
    """
    found: dict[str, tuple[Study, Row]] = {}
    for study in studies:
        valid = study.outcomes[0].planned.config.data.valid
        row = best_row(study.rows)
        is_search = set(study.varied()) <= {"optim.lr"} and len(study.budgets) == 1
        if valid is None or row is None or row.bits_per_byte is None or not is_search:
            continue
        if valid not in found or (row.mean or math.inf) < (found[valid][1].mean or math.inf):
            found[valid] = study, row
    if len(found) < 2 or len({study.budgets[0] for study, _ in found.values()}) > 1:
        return
    entries = [
        (names.get(Path(valid).parent.name, Path(valid).parent.name), study, row)
        for valid, (study, row) in found.items()
    ]
    yield Section(
        title="The corpora compared",
        question="The same model at the same budget on each corpus: which is harder, and how can one tell?",
        words=tuple(_words([(name, row) for name, _, row in entries])),
        tables=(
            Table(
                header=("corpus", "vocabulary", "loss, nats/token", "bytes/token", "bits/byte", "run"),
                rows=tuple(_line(name, study, row) for name, study, row in entries),
            ),
        ),
    )


def _line(name: str, study: Study, row: Row) -> tuple[str, ...]:
    vocab_size = study.outcomes[0].planned.config.model.vocab_size
    return (
        name,
        f"{vocab_size:,}",
        f"{row.mean:.4f}",
        f"{_bytes_per_token(row):.3f}",
        f"{row.bits_per_byte:.3f}",
        row.run_dirs[0],
    )


def _words(entries: Sequence[tuple[str, Row]]) -> Iterator[str]:
    yield (
        "Nats a token cannot be compared across tokenizers, since tokens differ in length; bits a byte, the loss over "
        "ln 2 and the bytes a token, can."
    )
    by_bytes = sorted(entries, key=lambda entry: entry[1].bits_per_byte or 0)
    (easy, low), (hard, high) = by_bytes[0], by_bytes[-1]
    agrees = (high.mean or 0) > (low.mean or 0)
    yield (
        f"Of a byte of {hard} the model is left with {high.bits_per_byte:.3f} bits of doubt, of one of {easy} with "
        f"{low.bits_per_byte:.3f}: {hard} is the harder text at this budget, "
        + ("as nats a token say, too." if agrees else "although its loss in nats a token is the lower one.")
    )


def _bytes_per_token(row: Row) -> float:
    assert row.mean is not None, "the best row has a mean"
    assert row.bits_per_byte is not None, "checked by the caller"
    return row.mean / (math.log(2) * row.bits_per_byte)
