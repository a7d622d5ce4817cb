"""From text files to what a recipe trains on: a tokenizer and two token files, in one directory.

::

    tokenizer.json   trained on the training text, special token inside
    train.npy        its ids
    valid.npy        those of the held-out text
    prepare.json     what they were made of, and the counts that were checked

A stage that is done is passed over by the next call, so that a long preparation can be stopped and called again.
For compressed files, JSON lines, parquet or more than one machine there is `cs336 corpus run`.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cs336.experiments.documents import END_OF_TEXT, documents, is_held_out
from cs336.experiments.golden import check_golden
from cs336.tokenizer import Tokenizer, train_bpe
from cs336.train.durable import write_file

Progress = Callable[[str, int, int], object]
_COPY_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What to prepare.

    Attributes:
        train: UTF-8 text files, documents followed or separated by `<|endoftext|>`.
        valid: Held-out text files; without any, documents of `train` are held out by their hash.
        out: The directory.
        vocab_size: Ids of the tokenizer.
        tokenizer: A tokenizer to use instead of training one.
        valid_share: Share of the documents held out if there is no held-out text.
        num_threads: None for all cores.
    """

    train: tuple[Path, ...]
    out: Path
    valid: tuple[Path, ...] = ()
    vocab_size: int = 10_000
    tokenizer: Path | None = None
    valid_share: float = 0.01
    num_threads: int | None = None

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("name at least one training text")
        if not 0 < self.valid_share < 1:
            raise ValueError(f"valid_share must be between 0 and 1, got {self.valid_share}")


@dataclass(frozen=True, kw_only=True)
class TokenFile:
    """A file of ids, and what went into it.

    Attributes:
        path: The file.
        num_bytes: Size of the text.
        num_documents: Ends of text in it.
        num_tokens: Ids, ends of text included.
        dtype: Their type.
        golden: Which known counts they were compared with; None if none are known.
    """

    path: Path
    num_bytes: int
    num_documents: int
    num_tokens: int
    dtype: str
    golden: str | None

    @property
    def bytes_per_token(self) -> float:
        """Compression: higher is better."""
        return self.num_bytes / self.num_tokens if self.num_tokens else 0.0


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What `prepare` made, or found done."""

    tokenizer: Path
    vocab_size: int
    train: TokenFile
    valid: TokenFile


def prepare(config: PrepareConfig, *, progress: Progress | None = None) -> Prepared:
    """Make the tokenizer and the token files, each once.

    Raises:
        ValueError: A text is not UTF-8 or has no document to hold out; the directory holds another preparation; a count
            of the course's files is wrong.
        OSError: A file cannot be read or written.
    """
    config.out.mkdir(parents=True, exist_ok=True)
    record = _Record.open(config)
    texts = _texts(config, progress)
    tokenizer = _tokenizer(config, record, texts[0], progress)
    train, valid = (
        _encode(tokenizer, text, name, config=config, record=record, trained_on=texts[0], progress=progress)
        for name, text in zip(("train", "valid"), texts, strict=True)
    )
    return Prepared(tokenizer=config.out / "tokenizer.json", vocab_size=tokenizer.vocab_size, train=train, valid=valid)


class _Record:
    """`prepare.json`: what a directory is made of, and which stages are done."""

    def __init__(self, path: Path, values: dict[str, Any]) -> None:
        self._path = path
        self.values = values

    @classmethod
    def open(cls, config: PrepareConfig) -> "_Record":
        """Read the record, or begin one.

        Raises:
            ValueError: The directory is made of something else; says in what it differs.
        """
        path = config.out / "prepare.json"
        inputs = _inputs(config)
        if not path.exists():
            record = cls(path, {"inputs": inputs, "done": {}})
            record._write()
            return record
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            known = values["inputs"]
            _ = values["done"].keys()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is damaged ({error}); remove it, and call again to prepare anew") from error
        changed = [
            f"{key} was {known.get(key)}, is {value}" for key, value in inputs.items() if known.get(key) != value
        ]
        if changed:
            raise ValueError(
                f"{config.out} is prepared from something else: {'; '.join(changed)}; choose another directory (--out)"
            )
        return cls(path, values)

    def done(self, stage: str) -> dict[str, Any] | None:
        """Return what is known of a stage that is done."""
        found = self.values["done"].get(stage)
        return found if isinstance(found, dict) else None

    def finish(self, stage: str, **facts: Any) -> None:
        """Note that a stage is done."""
        self.values["done"][stage] = facts
        self._write()

    def _write(self) -> None:
        write_file(self._path, (json.dumps(self.values, indent=2) + "\n").encode())


def _inputs(config: PrepareConfig) -> dict[str, Any]:
    """Describe the inputs so that a change shows."""
    known: dict[str, Any] = {"train": [_stamp(path) for path in config.train]}
    known["valid"] = [_stamp(path) for path in config.valid]
    if config.tokenizer is None:
        known["vocab_size"] = config.vocab_size
    else:
        known["tokenizer"] = hashlib.sha256(config.tokenizer.read_bytes()).hexdigest()
    return known | ({} if config.valid else {"valid_share": config.valid_share})


def _stamp(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {"path": str(path), "size_bytes": status.st_size, "changed_ns": status.st_mtime_ns}


def _texts(config: PrepareConfig, progress: Progress | None) -> tuple[Path, Path]:
    """Return one file of training text and one of held-out text; several are put together, one is used where it is."""
    if config.valid:
        return _one_file(config.train, config.out / "train.txt"), _one_file(config.valid, config.out / "valid.txt")
    train, valid = config.out / "train.txt", config.out / "valid.txt"
    if not (train.exists() and valid.exists()):
        _split(config, train, valid, progress)
    return train, valid


def _one_file(paths: Sequence[Path], joined: Path) -> Path:
    """Return the only file, or one that holds all of them, each ended by the special token."""
    if len(paths) == 1:
        return paths[0]
    if joined.exists():
        return joined
    aside = joined.with_name(joined.name + ".tmp")
    with aside.open("wb") as sink:
        for path in paths:
            with path.open("rb") as source:
                tail = b""
                while chunk := source.read(_COPY_BYTES):
                    sink.write(chunk)
                    tail = (tail + chunk)[-64:]
            if tail and not tail.rstrip().endswith(END_OF_TEXT.encode()):
                sink.write(END_OF_TEXT.encode())
    aside.replace(joined)
    return joined


def _split(config: PrepareConfig, train: Path, valid: Path, progress: Progress | None) -> None:
    """Write each document to one side; which one depends on its bytes alone.

    Raises:
        ValueError: All documents fell on one side.
    """
    asides = [path.with_name(path.name + ".tmp") for path in (train, valid)]
    counts, done = [0, 0], 0
    total = sum(path.stat().st_size for path in config.train)
    with asides[0].open("wb") as kept, asides[1].open("wb") as held_out:
        sinks: tuple[BinaryIO, BinaryIO] = (kept, held_out)
        for path in config.train:
            for document in documents(path):
                side = is_held_out(document, config.valid_share)
                sinks[side].write(document + END_OF_TEXT.encode())
                counts[side] += 1
                done += len(document) + len(END_OF_TEXT)
                if progress is not None:
                    progress("split", min(done, total), total)
    if not all(counts):
        raise ValueError(
            f"{counts[0] + counts[1]} documents are too few to hold out a share of {config.valid_share}; name a "
            f"held-out text (--valid), or see to it that {END_OF_TEXT} stands between documents"
        )
    for aside, path in zip(asides, (train, valid), strict=True):
        aside.replace(path)


def _tokenizer(config: PrepareConfig, record: _Record, text: Path, progress: Progress | None) -> Tokenizer:
    path = config.out / "tokenizer.json"
    if record.done("tokenizer") is not None and path.exists():
        return Tokenizer.load(path)
    if config.tokenizer is not None:
        tokenizer = Tokenizer.load(config.tokenizer)
        if END_OF_TEXT not in tokenizer.special_tokens:
            raise ValueError(
                f"{config.tokenizer} has no special token {END_OF_TEXT}, with which documents end; it has "
                f"{', '.join(tokenizer.special_tokens) or 'none'}"
            )
    else:
        vocab, merges = train_bpe(
            text, config.vocab_size, [END_OF_TEXT], num_threads=config.num_threads, progress=progress
        )
        tokenizer = Tokenizer(vocab, merges, [END_OF_TEXT])
    tokenizer.save(path)
    record.finish("tokenizer", vocab_size=tokenizer.vocab_size)
    return tokenizer


def _encode(
    tokenizer: Tokenizer,
    text: Path,
    name: str,
    *,
    config: PrepareConfig,
    record: _Record,
    trained_on: Path,
    progress: Progress | None,
) -> TokenFile:
    path = config.out / f"{name}.npy"
    known = record.done(name)
    if known is not None and path.exists():
        return TokenFile(**known | {"path": path})
    stats = tokenizer.encode_file(text, path, num_threads=config.num_threads, progress=progress)
    num_documents = count_id(path, tokenizer.special_tokens[END_OF_TEXT])
    golden = check_golden(
        num_bytes=stats.num_bytes,
        num_documents=num_documents,
        num_tokens=stats.num_tokens,
        vocab_size=tokenizer.vocab_size,
        trained_on_bytes=0 if config.tokenizer is not None else trained_on.stat().st_size,
    )
    made = TokenFile(
        path=path,
        num_bytes=stats.num_bytes,
        num_documents=num_documents,
        num_tokens=stats.num_tokens,
        dtype=str(stats.dtype),
        golden=golden,
    )
    record.finish(name, **asdict(made) | {"path": path.name})
    return made


def count_id(path: Path, id_: int) -> int:
    """Count an id in a token file, a part at a time."""
    ids = np.load(path, mmap_mode="r")
    return sum(int(np.count_nonzero(ids[i : i + _COPY_BYTES] == id_)) for i in range(0, len(ids), _COPY_BYTES))
