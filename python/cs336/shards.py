"""The format of a corpus directory: shards, the lines that list them, and the manifest that seals them.

Every line and the manifest end in a CRC-32 of what stands before it. A line that does not check, and all after it,
count for nothing: the work they stand for is done again.
"""

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cs336.settings import from_dict

Split = Literal["train", "valid"]
SPLITS: tuple[Split, ...] = ("train", "valid")
MANIFEST = "manifest.json"
VERSION = 1

Position = tuple[int, int, int]
_LINE_CHECK = b',"crc32":"'
_FILE_CHECK = b',\n "crc32": "'


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A file of ids that is whole and on disk.

    Attributes:
        task: the task that made it.
        split: the part of the documents it belongs to.
        shard: its number among those of its task and split.
        file: its name in the corpus directory.
        dtype: of the ids.
        tokens: ids in it.
        documents: documents that end in it.
        text_bytes: bytes of text of those documents.
        greatest_id: None if there are no ids.
        first: where its first id comes from: the input's index, the offset of the record in the decompressed input, and
            how many ids of the document come before.
        next: likewise of the first id that follows.
        size_bytes: of the file.
        blake3: hash of the whole file.
        ends_size_bytes: of the file that tells where the documents end.
        ends_blake3: its hash.
        sources_size_bytes: of the file that tells where the documents come from; 0 without.
        sources_blake3: its hash.
    """

    task: int
    split: Split
    shard: int
    file: str
    dtype: Literal["uint16", "uint32"]
    tokens: int
    documents: int
    text_bytes: int
    greatest_id: int | None
    first: tuple[int, int, int]
    next: tuple[int, int, int]
    size_bytes: int
    blake3: str
    ends_size_bytes: int
    ends_blake3: str
    sources_size_bytes: int
    sources_blake3: str | None

    def __post_init__(self) -> None:
        expected = f"{self.split}-{self.task:05}-{self.shard:05}.npy"
        if self.file != expected:
            raise ValueError(f"the file of this shard must be {expected!r}, got {self.file!r}")
        counts = (self.task, self.shard, self.tokens, self.documents, self.size_bytes, *self.first, *self.next)
        if min(counts) < 0:
            raise ValueError(f"the numbers of {self.file} must not be negative, got {min(counts)}")

    @property
    def ends_file(self) -> str:
        """The file with the end of each document that ends in the shard, in ids from its start; EOS included."""
        return self.file.removesuffix(".npy") + ".ends.npy"

    @property
    def sources_file(self) -> str | None:
        """The file with the input's index and the offset of each of those documents; None without provenance."""
        return None if self.sources_blake3 is None else self.file.removesuffix(".npy") + ".sources.npy"

    def files(self) -> Iterator[tuple[str, int, str]]:
        """Yield name, size and hash of the files that belong to the shard."""
        yield self.file, self.size_bytes, self.blake3
        yield self.ends_file, self.ends_size_bytes, self.ends_blake3
        if self.sources_file is not None and self.sources_blake3 is not None:
            yield self.sources_file, self.sources_size_bytes, self.sources_blake3


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What a task has done.

    Attributes:
        shards: what is committed, in order.
        report: what became of its inputs; None until all of it is done.
        size_bytes: length of the part that checks.
    """

    shards: tuple[Shard, ...]
    report: Mapping[str, Any] | None
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a finished corpus directory holds.

    Attributes:
        plan_sha256: hash of the plan it was made by.
        tokenizer_sha256: hash of the content of the tokenizer that made the ids.
        vocab_size: every id is less.
        eos: the special token after each document.
        eos_id: its id.
        dtype: of the ids.
        greatest_id: None if there are no ids.
        shuffle_seed: of the order of the documents; None for that of the inputs.
        totals: sums over everything, which reconcile.
        shards: in order.
        inputs: what became of each input.
    """

    plan_sha256: str
    tokenizer_sha256: str
    vocab_size: int
    eos: str
    eos_id: int
    dtype: str
    greatest_id: int | None
    shuffle_seed: int | None
    totals: Mapping[str, int]
    shards: tuple[Shard, ...]
    inputs: tuple[Mapping[str, Any], ...]

    def of_split(self, split: str) -> tuple[Shard, ...]:
        """Return the shards of a split, in order."""
        return tuple(shard for shard in self.shards if shard.split == split)


def checked_file(content: Mapping[str, Any]) -> bytes:
    """Return a JSON object as a file with a checksum."""
    body = json.dumps(content, indent=1, ensure_ascii=False).encode()[:-2]
    return body + _FILE_CHECK + f'{zlib.crc32(body):08x}"\n}}\n'.encode()


def read_checked_file(path: Path) -> dict[str, Any]:
    """Read a file that `checked_file` made.

    Raises:
        OSError: it cannot be read.
        ValueError: it was changed or is not whole.
    """
    content = path.read_bytes()
    body, mark, rest = content.rpartition(_FILE_CHECK)
    if not mark or rest != f'{zlib.crc32(body):08x}"\n}}\n'.encode():
        raise ValueError(f"{path} is damaged: its checksum does not fit; restore it, or make the corpus anew")
    return _json_object(content, path)


def read_journal(path: Path) -> Journal:
    """Read what a task has done; nothing if there is no file.

    Raises:
        OSError: it cannot be read.
        ValueError: a line checks, but does not say what it should.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    shards: list[Shard] = []
    report = None
    size_bytes = 0
    while report is None and (end := content.find(b"\n", size_bytes)) >= 0:
        line = content[size_bytes:end]
        body, mark, rest = line.rpartition(_LINE_CHECK)
        if not mark or rest != f'{zlib.crc32(body):08x}"}}'.encode():
            break
        tree = _json_object(line, path)
        del tree["crc32"]
        if tree.get("kind") == "task":
            report = tree
        else:
            shards.append(_shard(tree, source=str(path)))
        size_bytes = end + 1
    return Journal(shards=tuple(shards), report=report, size_bytes=size_bytes)


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest of a corpus directory.

    Raises:
        OSError: it cannot be read.
        ValueError: the corpus is not finished, or the manifest is damaged.
    """
    path = directory / MANIFEST
    if not path.exists() and (directory / "plan.json").exists():
        raise ValueError(f"{directory} is not finished: go on with `cs336 corpus run --plan {directory}`")
    tree = read_checked_file(path)
    tree.pop("crc32", None)
    if tree.pop("version", None) != VERSION:
        raise ValueError(f"{path} is not of version {VERSION}, which this program reads; use the one that made it")
    try:
        shards = tuple(_shard(shard, source=str(path)) for shard in tree.pop("shards"))
        inputs = tuple(tree.pop("inputs"))
        totals = {str(name): int(value) for name, value in tree.pop("totals").items()}
        return Manifest(**tree, totals=totals, shards=shards, inputs=inputs)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a manifest of a corpus: {error}") from error


def _shard(tree: Any, *, source: str) -> Shard:
    if not isinstance(tree, dict) or tree.pop("kind", None) != "shard":
        raise ValueError(f"{source}: expected the line of a shard, got {str(tree)[:80]}")
    return from_dict(Shard, tree, source=source)


def shard_line(shard: Shard) -> dict[str, Any]:
    """Return a shard as the manifest lists it."""
    return {"kind": "shard", **{name: getattr(shard, name) for name in Shard.__dataclass_fields__}}


def checked_line(content: Mapping[str, Any]) -> bytes:
    """Return a JSON object as a line with a checksum."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()[:-1]
    return body + _LINE_CHECK + f'{zlib.crc32(body):08x}"}}\n'.encode()


def is_shard_name(name: str) -> bool:
    """Whether a file of this name belongs to a shard."""
    return re.fullmatch(r"(train|valid)-\d{5,}-\d{5,}(\.ends|\.sources)?\.npy", name) is not None


def _json_object(content: bytes, path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(tree).__name__}")
    return tree
