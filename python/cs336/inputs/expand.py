"""Names, patterns, directories and URLs -> the files they stand for, in an order that does not change."""

import errno
import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Literal

from cs336._extras import require_extra

Inputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
Format = Literal["text", "jsonl", "parquet"]
Compression = Literal["none", "gzip", "zstd"]

_FORMATS: dict[str, Format] = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_WILDCARDS = frozenset("*?[")

# What file systems tell of a file that changes with it, the surest first.
_STAMPS = ("ETag", "etag", "md5Hash", "blob_id", "Content-MD5", "LastModified", "Last-Modified", "mtime", "created")


@dataclass(frozen=True)
class InputFile:
    """A file of documents.

    Attributes:
        name: a path as it was given, or a URL.
        format: how documents stand in it.
        compression: of the whole file.
        size_bytes: as it is on disk or on the server; None if that does not tell.
        stamp: changes when the file does: a time in nanoseconds, or what the server gives; empty if it gives nothing.
    """

    name: str
    format: Format
    compression: Compression
    size_bytes: int | None
    stamp: str

    @property
    def is_remote(self) -> bool:
        """Whether it is a URL."""
        return is_url(self.name)


def expand(
    inputs: Inputs,
    *,
    format: Format | None = None,  # noqa: A002  (the field's word)
    otherwise: Format | None = None,
) -> list[InputFile]:
    """Find the files that names stand for.

    A directory stands for the files below it whose names tell a format, a pattern for what it matches (`**` for any
    number of directories), both in the order of their names; a list for its items in their order.

    Args:
        inputs: a path, pattern, directory or URL, or a list of them. URLs are read through fsspec (extra `remote`):
            `s3://`, `gs://`, `hf://`, `https://` and what else it knows.
        format: of all files; None: as their names tell (.txt, .jsonl, .parquet, each but the last also .gz or .zst).
        otherwise: of files that are named and whose names do not tell; None: they are refused.

    Raises:
        FileNotFoundError: A name or a pattern stands for no file.
        ValueError: A name does not tell a format, a directory holds nothing to read, a file comes twice.
        ModuleNotFoundError: An extra is not installed; the message names the command to run.
    """
    items = [inputs] if isinstance(inputs, (str, os.PathLike)) else list(inputs)
    if not items:
        raise ValueError("there are no inputs, expected at least one file, directory, pattern or URL")
    files = [file for item in items for file in _expand_one(os.fspath(item), format, otherwise)]
    _check_distinct(files)
    return files


def is_url(name: str) -> bool:
    """Whether it has the form of a URL, which fsspec reads."""
    return "://" in name


def has_wildcards(name: str) -> bool:
    """Whether it may be a pattern rather than a name."""
    return not _WILDCARDS.isdisjoint(name)


def _expand_one(name: str, format: Format | None, otherwise: Format | None) -> Iterator[InputFile]:  # noqa: A002
    if is_url(name):
        yield from _expand_url(name, format, otherwise)
    elif os.path.isdir(name):  # noqa: PTH112  (Path raises on names that are too long)
        names = [str(path) for path in sorted(Path(name).rglob("*")) if path.is_file()]
        yield from (_local(found, format) for found in _readable(name, names, format))
    elif os.path.exists(name) or not has_wildcards(name):  # noqa: PTH110
        yield _local(name, format, otherwise)
    else:
        names = sorted(found for found in glob.glob(name, recursive=True) if os.path.isfile(found))  # noqa: PTH113, PTH207
        if not names:
            raise FileNotFoundError(errno.ENOENT, "no file matches this pattern", name)
        yield from (_local(found, format, otherwise) for found in names)


def _readable(directory: str, names: Sequence[str], format: Format | None) -> list[str]:  # noqa: A002
    """Those files of a directory that are meant: hidden ones and those of other kinds are not."""
    num_above = len(PurePath(directory).parts)  # of "." none: what is below it has no such beginning
    kept = [
        name
        for name in names
        if (format is not None or _kind(name)[0] is not None)
        and not any(part.startswith(".") for part in PurePath(name).parts[num_above:])
    ]
    if not kept:
        raise ValueError(f"{directory} holds no file to read, expected names that end in {_known()}")
    return kept


def _local(name: str, format: Format | None, otherwise: Format | None = None) -> InputFile:  # noqa: A002
    status = os.stat(name)  # noqa: PTH116  (with the name as it was given in the error)
    is_plain = os.path.isfile(name)  # noqa: PTH113
    stamp = str(status.st_mtime_ns) if is_plain else ""
    return _file(name, format, otherwise, status.st_size if is_plain else None, stamp)


def _expand_url(url: str, format: Format | None, otherwise: Format | None) -> Iterator[InputFile]:  # noqa: A002
    system, path = open_filesystem(url)
    system.invalidate_cache()  # what it has listed before may have changed since
    # There `?` begins a query, and to ask whether a file is a directory is to fetch it.
    is_web = url.startswith(("http://", "https://"))
    is_directory = url.endswith("/") if is_web else system.isdir(path) and not system.isfile(path)
    if has_wildcards(path) and not is_web:
        names = sorted(name for name in system.glob(path) if system.isfile(name))
        if not names:
            raise FileNotFoundError(errno.ENOENT, "no file matches this pattern", url)
    elif is_directory:
        names = _readable(path, sorted(system.find(path)), format)
    else:
        yield _remote(system, path, url, format, otherwise)
        return
    for name in names:
        yield _remote(system, name, system.unstrip_protocol(name), format, otherwise)


def _remote(system: Any, name: str, url: str, format: Format | None, otherwise: Format | None) -> InputFile:  # noqa: A002
    try:
        info = system.info(name)
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "no such file", url) from error
    stamp = next((str(info[key]) for key in _STAMPS if info.get(key) is not None), "")
    return _file(url, format, otherwise, info.get("size"), stamp)


def open_filesystem(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path within it.

    Raises:
        ModuleNotFoundError: fsspec, or what it needs for this kind of URL, is not installed.
        ValueError: fsspec does not know this kind of URL.
    """
    require_extra("remote", modules=("fsspec",), needed_by=f"reading {url}")
    from fsspec.core import url_to_fs  # noqa: PLC0415  (an extra)

    try:
        system, path = url_to_fs(url)
    except ImportError as error:
        scheme = url.split("://", 1)[0]
        reason = str(error).split("\n", maxsplit=1)[0]
        raise ModuleNotFoundError(f"reading {scheme}:// needs one package more ({reason}): pip install it") from error
    return system, str(path)


def _file(
    name: str,
    format: Format | None,  # noqa: A002
    otherwise: Format | None,
    size_bytes: int | None,
    stamp: str,
) -> InputFile:
    told, compression = _kind(name)
    told = format or told or otherwise
    if told is None:
        raise ValueError(f"{name} does not tell its format: end it in {_known()}, or give the format")
    if told == "parquet" and compression != "none":
        raise ValueError(f"{name}: parquet files are compressed within, expected a name that ends in .parquet")
    return InputFile(name, told, compression, size_bytes, stamp)


def _kind(name: str) -> tuple[Format | None, Compression]:
    path = PurePosixPath(name.split("?", 1)[0].lower() if is_url(name) else name.lower())
    compression = _COMPRESSIONS.get(path.suffix, "none")
    if compression != "none":
        path = path.with_suffix("")
    return _FORMATS.get(path.suffix), compression


def _known() -> str:
    return ".txt or .jsonl (also with .gz or .zst), or .parquet"


def _check_distinct(files: Sequence[InputFile]) -> None:
    seen: dict[str, str] = {}
    for file in files:
        identity = file.name if file.is_remote else os.path.realpath(file.name)
        if identity in seen:
            raise ValueError(f"{file.name} is given twice (as {seen[identity]}, too), and would be read twice")
        seen[identity] = file.name
