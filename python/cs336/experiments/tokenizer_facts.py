"""What a tokenizer study finds, as values: to be written down, and read again for a report."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs336.tokenizer.inspection import ScriptFacts
from cs336.train.durable import write_file

STUDY_FILE = "study.json"


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus of the study.

    Attributes:
        name: As it is called in tables.
        train: Text to train on, documents ended by `<|endoftext|>`.
        valid: Held-out text.
        vocab_size: Ids of its tokenizer.
    """

    name: str
    train: Path
    valid: Path
    vocab_size: int


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a tokenizer came to be.

    Attributes:
        corpus: Its name.
        vocab_size: Ids that it has.
        num_bytes: Text trained on.
        elapsed_s: Wall clock, reading included.
        stages_s: Wall clock of counting pretokens and of merging pairs.
        peak_bytes: Most memory that the process held, Python included.
        longest: The longest tokens, spelled out.
    """

    corpus: str
    vocab_size: int
    num_bytes: int
    elapsed_s: float
    stages_s: dict[str, float]
    peak_bytes: int
    longest: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What two vocabularies have in common, special tokens aside.

    Attributes:
        num_shared: Tokens that are in both, whatever their ids.
        num_only: Tokens in the first only, in the second only.
        only: Of these, the ones that training found first, spelled out.
    """

    num_shared: int
    num_only: tuple[int, int]
    only: tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Compression:
    """Bytes a token of one tokenizer on one text.

    Attributes:
        tokenizer: The corpus that the tokenizer is of.
        text: The corpus that the text is of.
        num_documents: Documents measured.
        bytes_per_token: All their bytes over all their tokens.
        low: Lower end of the 95 % interval over documents.
        high: Upper end.
        tokens_per_document: Mean.
    """

    tokenizer: str
    text: str
    num_documents: int
    bytes_per_token: float
    low: float
    high: float
    tokens_per_document: float


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Encoding speed, file to file.

    Attributes:
        tokenizer: The corpus that the tokenizer is of.
        num_threads: Threads.
        num_bytes: Text that is encoded in a round.
        bytes_per_s: Median over rounds.
        pile_s: Time for the Pile's 825 GB at that rate.
    """

    tokenizer: str
    num_threads: int
    num_bytes: int
    bytes_per_s: float
    pile_s: float


@dataclass(frozen=True, kw_only=True)
class Storage:
    """What ids take on disk, and why 16 bits are enough.

    Attributes:
        tokenizer: The corpus that the tokenizer is of.
        greatest_id: The greatest id of its vocabulary.
        dtype: The narrowest type that holds it.
        bytes_per_text_byte: Size of the ids over the size of the text.
    """

    tokenizer: str
    greatest_id: int
    dtype: str
    bytes_per_text_byte: float


@dataclass(frozen=True, kw_only=True)
class Study:
    """All that was found; the first tokenizer or text of each pair is that of the first corpus."""

    corpora: tuple[Corpus, Corpus]
    trainings: tuple[Training, ...]
    overlap: Shared
    sampled: tuple[Compression, ...]
    whole: tuple[Compression, ...]
    scripts: dict[str, tuple[ScriptFacts, ...]]
    throughput: tuple[Throughput, ...]
    storage: tuple[Storage, ...]


def save_study(study: Study, folder: Path) -> Path:
    """Write `study.json`; return its path.

    Raises:
        OSError: It cannot be written.
    """
    path = folder / STUDY_FILE
    write_file(path, (json.dumps(dataclasses.asdict(study), indent=1, default=str) + "\n").encode())
    return path


def read_study(folder: Path) -> Study:
    """Return the study that `save_study` wrote.

    Raises:
        OSError: There is none.
        ValueError: It is damaged, or of another version.
    """
    path = folder / STUDY_FILE
    try:
        return _study(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged or of another version ({error}); remove it and study anew") from error


def _study(values: dict[str, Any]) -> Study:
    first, second = (
        Corpus(**each | {"train": Path(each["train"]), "valid": Path(each["valid"])}) for each in values["corpora"]
    )
    overlap = values["overlap"]
    return Study(
        corpora=(first, second),
        trainings=tuple(Training(**each | {"longest": tuple(each["longest"])}) for each in values["trainings"]),
        overlap=Shared(
            num_shared=overlap["num_shared"],
            num_only=(overlap["num_only"][0], overlap["num_only"][1]),
            only=(tuple(overlap["only"][0]), tuple(overlap["only"][1])),
        ),
        sampled=tuple(Compression(**each) for each in values["sampled"]),
        whole=tuple(Compression(**each) for each in values["whole"]),
        scripts={pair: tuple(ScriptFacts(**fact) for fact in facts) for pair, facts in values["scripts"].items()},
        throughput=tuple(Throughput(**each) for each in values["throughput"]),
        storage=tuple(Storage(**each) for each in values["storage"]),
    )
