"""The two corpora of an answer sheet: given files, or what every machine with this package has.

Without files the first corpus is the source of Python's standard library, and the second the C++ headers that PyTorch
brings: another language, with other habits of naming and of repetition.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cs336.experiments.gathering import standard_library, write_corpus


@dataclass(frozen=True, kw_only=True)
class Texts:
    """A corpus as two files.

    Attributes:
        name: As it is called in tables.
        train: To train on.
        valid: Held out.
    """

    name: str
    train: Path
    valid: Path


def texts_of(
    name: str,
    files: Sequence[Path],
    folder: Path,
    *,
    valid: Path | None = None,
    limit_bytes: int | None = None,
    valid_share: float = 0.03,
) -> Texts:
    """Return a corpus: the given pair of files as they are, or a training and a held-out text made of many files, once.

    Args:
        name: As it is called.
        files: UTF-8 text files.
        folder: Where to write what is made.
        valid: The held-out text, if there is one; `files` must then be a single file.
        limit_bytes: Take files, in an order of their own, until they hold so many bytes.
        valid_share: Share of the documents held out if there is no held-out text.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: There is too little text, or a held-out text beside several files.
    """
    if valid is not None:
        if len(files) != 1:
            raise ValueError(
                f"a held-out text goes with one training text, got {len(files)}; join them, or leave it out"
            )
        for path in (files[0], valid):
            path.stat()
        return Texts(name=name, train=files[0], valid=valid)
    texts = Texts(name=name, train=folder / "train.txt", valid=folder / "valid.txt")
    if not (texts.train.exists() and texts.valid.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        chosen = list(files) if limit_bytes is None else list(_within(files, limit_bytes))
        write_corpus(chosen, folder, valid_share=valid_share)
    return texts


def default_files(which: int) -> tuple[str, list[Path]]:
    """Return the name and the files of the first or second corpus that needs no download."""
    if which == 0:
        return "standard library", standard_library()
    return "PyTorch headers", sorted((Path(torch.__file__).parent / "include").rglob("*.h"))


def _within(files: Sequence[Path], limit_bytes: int) -> Iterator[Path]:
    """Yield files up to a size, none a large part of it; by the hash of their names, so that no folder comes first."""
    total = 0
    for path in sorted(files, key=lambda path: hashlib.blake2b(path.name.encode(), digest_size=8).digest()):
        size = path.stat().st_size
        if size > limit_bytes // 8:
            continue
        total += size
        if total > limit_bytes:
            return
        yield path
