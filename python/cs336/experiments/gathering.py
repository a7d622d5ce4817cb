"""Files of any kind -> a training and a held-out text, documents ended by the special token.

The text that every machine has is the source of the running Python's standard library. Left out are what is no library
code: its tests (many distributions do not ship them), installed packages, and the directories that hold generated
tables and documentation as string literals.
"""

import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cs336.experiments.documents import END_OF_TEXT, is_held_out
from cs336.train.durable import write_file

SKIPPED_DIRECTORIES = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "pydoc_data", "__pycache__"}
)


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What went into the two texts.

    Attributes:
        num_documents: Documents of both.
        num_skipped: Files left out because they are empty or not UTF-8.
        num_bytes: Size of both.
    """

    num_documents: int
    num_skipped: int
    num_bytes: int


def standard_library() -> list[Path]:
    """Return the source files of the running Python's standard library, without `SKIPPED_DIRECTORIES`."""
    root = Path(sysconfig.get_path("stdlib"))
    files = (path for path in root.rglob("*.py") if not SKIPPED_DIRECTORIES & set(path.relative_to(root).parts[:-1]))
    return sorted(files)


def write_corpus(files: Sequence[Path], run_dir: Path, *, valid_share: float) -> Gathered:
    """Write `train.txt` and `valid.txt`, each document followed by the special token.

    A file may hold several documents, with the special token between them. On which side a document falls depends on
    its text alone. Files that are not UTF-8 and empty documents are skipped and counted.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: There are fewer than two documents of text.
    """
    parts: tuple[list[str], list[str]] = ([], [])
    num_skipped = 0
    for file in files:
        try:
            documents = file.read_bytes().decode().split(END_OF_TEXT)
        except UnicodeDecodeError:
            documents = []
        documents = [document for document in documents if document.strip()]
        num_skipped += not documents
        for document in documents:
            parts[is_held_out(document.encode(), valid_share)].append(document)
    _balance(parts, files)
    sizes = []
    for name, documents in zip(("train", "valid"), parts, strict=True):
        content = "".join(document + END_OF_TEXT for document in documents).encode()
        write_file(run_dir / f"{name}.txt", content)
        sizes.append(len(content))
    return Gathered(num_documents=sum(map(len, parts)), num_skipped=num_skipped, num_bytes=sum(sizes))


def _balance(parts: tuple[list[str], list[str]], files: Sequence[Path]) -> None:
    """See to it that neither side is empty: a single document is cut in two, of several one changes sides."""
    train, valid = parts
    if not train and not valid:
        raise ValueError(f"no text found in {len(files)} files; give UTF-8 text files with --text")
    if train and valid:
        return
    full, empty = (train, valid) if train else (valid, train)
    if len(full) > 1:
        empty.append(full.pop())
        return
    document = full.pop()
    cut = document.find("\n", len(document) * 9 // 10) + 1 or len(document) * 9 // 10
    train[:], valid[:] = [document[:cut]], [document[cut:]]
    if not (document[:cut] and document[cut:].strip()):
        raise ValueError(f"{files[0]} is too short to learn from: {len(document)} characters")
