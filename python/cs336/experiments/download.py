"""The course's corpora, each file fetched once, checked and noted.

A file gets its name when it is whole: its size is that of the course's file, and its SHA-256 the one that the server
announces (the course names none). What arrived is noted in `NAME.json`, so that a later call finds it done, or damaged.

Source: the course's assignment 1, section "Data"; sizes as measured by many who have the files.
"""

import gzip
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cs336.experiments.fetching import CHUNK_BYTES, Progress, discard, fetch, hash_file, read_record, settle


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file of a corpus.

    Attributes:
        url: Where it is.
        name: Its name here; of a `.gz` that of the text inside.
        size_bytes: Size of the text; None if nobody knows.
    """

    url: str
    name: str
    size_bytes: int | None = None

    @property
    def is_compressed(self) -> bool:
        """Whether the server has it as gzip."""
        return self.url.endswith(".gz")


_TINYSTORIES = "https://huggingface.co/datasets/roneneldan/TinyStories/resolve/main/"
_OWT = "https://huggingface.co/datasets/stanford-cs336/owt-sample/resolve/main/"
CORPORA: dict[str, tuple[RemoteFile, ...]] = {
    "tinystories": tuple(
        RemoteFile(url=_TINYSTORIES + name, name=name, size_bytes=size)
        for name, size in (
            ("TinyStoriesV2-GPT4-train.txt", 2_227_753_162),
            ("TinyStoriesV2-GPT4-valid.txt", 22_502_601),
        )
    ),
    "owt": tuple(
        RemoteFile(url=f"{_OWT}{name}.gz", name=name, size_bytes=size)
        for name, size in (("owt_train.txt", 11_920_511_059), ("owt_valid.txt", 289_998_753))
    ),
}


@dataclass(frozen=True, kw_only=True)
class Downloaded:
    """A file that is whole.

    Attributes:
        path: Where it is.
        size_bytes: Its size.
        sha256: Of its bytes.
        checked: What it was compared with: the course's size, the server's checksum.
        was_here: It was whole before this call.
    """

    path: Path
    size_bytes: int
    sha256: str
    checked: tuple[str, ...]
    was_here: bool = False


def download(file: RemoteFile, folder: str | Path, *, progress: Progress | None = None) -> Downloaded:
    """Bring a file into `folder`, going on where an earlier call stopped.

    Raises:
        ValueError: What arrived is not the file: its size or checksum is another; it is removed.
        OSError: The server cannot be reached or refuses, or the disk is full; what has arrived stays for the next call.
    """
    tell = progress or _silent
    target = Path(folder) / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    known = _already_here(file, target, tell)
    if known is not None:
        return known
    arrived = target.with_name(Path(file.url).name) if file.is_compressed else target
    if arrived.exists():  # a compressed file that came whole, and was not yet unpacked
        sha256, is_announced = hash_file(arrived, tell), False
    else:
        size_bytes = None if file.is_compressed else file.size_bytes
        sha256, is_announced = fetch(file.url, arrived, tell, size_bytes=size_bytes)
    checked: tuple[str, ...] = ("the server's checksum",) if is_announced else ()
    if file.is_compressed:
        sha256 = _decompress(arrived, target, file, tell)
    if file.size_bytes is not None:
        checked += ("the course's size",)
    result = Downloaded(path=target, size_bytes=target.stat().st_size, sha256=sha256, checked=checked)
    _write_note(result, file)
    if file.is_compressed:
        arrived.unlink()
    return result


def _silent(_stage: str, _done: int, _total: int, /) -> None:
    pass


def _note_path(target: Path) -> Path:
    return target.with_name(target.name + ".json")


def _write_note(result: Downloaded, file: RemoteFile) -> None:
    note = {"url": file.url, "size_bytes": result.size_bytes, "sha256": result.sha256, "checked": list(result.checked)}
    partial = _note_path(result.path).with_suffix(".json.part")
    partial.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    partial.replace(_note_path(result.path))


def _already_here(file: RemoteFile, target: Path, progress: Progress) -> Downloaded | None:
    """Return the file if it is here and whole; one without a note, put here by hand, is measured and noted.

    Raises:
        ValueError: It has another size or checksum than it had, or than the course's file has.
    """
    if not target.exists():
        return None
    size_bytes = target.stat().st_size
    if file.size_bytes is not None and size_bytes != file.size_bytes:
        raise ValueError(
            f"{target} has {size_bytes:,} bytes, the course's file has {file.size_bytes:,}; move it away and call again"
        )
    sha256 = hash_file(target, progress)
    note_path = _note_path(target)
    checked: tuple[str, ...] = () if file.size_bytes is None else ("the course's size",)
    if note_path.exists():
        note = read_record(note_path)
        if note.get("sha256") != sha256:
            raise ValueError(
                f"{target} has changed since it was fetched: its SHA-256 is {sha256}, was {note.get('sha256')}; "
                f"remove it and {note_path.name}, and call again"
            )
        checked = tuple(note.get("checked", ()))
    result = Downloaded(path=target, size_bytes=size_bytes, sha256=sha256, checked=checked, was_here=True)
    if not note_path.exists():
        _write_note(result, file)
    return result


def _decompress(compressed: Path, target: Path, file: RemoteFile, progress: Progress) -> str:
    """Unpack all members of a gzip file beside its target, check the size, give it its name; return its SHA-256."""
    partial = target.with_name(target.name + ".part")
    digest, done = hashlib.sha256(), 0
    try:
        with gzip.open(compressed) as source, partial.open("wb") as sink:
            while chunk := source.read(CHUNK_BYTES):
                sink.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                progress(f"unpacking {target.name}", done, file.size_bytes or 0)
    except (EOFError, gzip.BadGzipFile) as error:
        discard(partial, compressed)
        raise ValueError(f"{file.url} arrived damaged ({error}); call again") from error
    if file.size_bytes is not None and done != file.size_bytes:
        discard(partial, compressed)
        raise ValueError(f"{file.url} holds {done:,} bytes, the course's file {file.size_bytes:,}: it is another file")
    settle(partial, target)
    return digest.hexdigest()


def as_json(result: Downloaded) -> dict[str, Any]:
    """Return a result as the values of a JSON object."""
    return asdict(result) | {"path": str(result.path), "checked": list(result.checked)}
