"""The course's corpora, fetched so that a broken line costs nothing and a damaged file is noticed.

A file arrives under its name with `.part` appended. When the connection breaks, or the process is stopped, the next
call asks for the rest; `If-Range` sees to it that a file which changed on the server meanwhile is fetched anew instead
of glued together. It gets its name when it is whole: its size is that of the course's file, and its SHA-256 the one
that the server announces, where it announces one. What arrived is noted in `NAME.json`, so that a later call finds it
done, or damaged.

Source: the course's assignment 1, section "Data"; sizes as measured by many who have the files.
"""

import gzip
import hashlib
import http.client
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import cs336

TIMEOUT_S = 60.0
_CHUNK_BYTES = 1 << 20
_SHA256 = re.compile(r'^(?:W/)?"?([0-9a-f]{64})"?$')


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


class Progress(Protocol):
    """Told how far a file is."""

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """So many bytes of a stage are done; a total of 0 is unknown."""


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
    sha256, checked = _fetch(file, arrived, tell)
    if file.is_compressed:
        sha256 = _decompress(arrived, target, file, tell)
    if file.size_bytes is not None:
        checked = (*checked, "the course's size")
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
    sha256 = _hash(target, progress)
    note_path = _note_path(target)
    checked: tuple[str, ...] = () if file.size_bytes is None else ("the course's size",)
    if note_path.exists():
        note = _read_note(note_path)
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


def _read_note(path: Path) -> dict[str, Any]:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); remove it and call again") from error
    if not isinstance(note, dict):
        raise ValueError(f"{path} is damaged (not a JSON object); remove it and call again")
    return note


def _hash(path: Path, progress: Progress) -> str:
    digest = hashlib.sha256()
    size, done = path.stat().st_size, 0
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            progress(f"checking {path.name}", done, size)
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What the server says of a file before it sends it."""

    version: str | None  # the entity tag, which changes with the content
    sha256: str | None
    size_bytes: int | None  # of the whole file
    offset: int  # where what it sends begins


def _fetch(file: RemoteFile, arrived: Path, progress: Progress) -> tuple[str, tuple[str, ...]]:
    """Fetch what is missing of a file, check it, give it its name; return its SHA-256 and what it was checked with."""
    if arrived.exists():  # a compressed file that came whole, and was not yet unpacked
        return _hash(arrived, progress), ()
    partial = arrived.with_name(arrived.name + ".part")
    state = arrived.with_name(arrived.name + ".part.json")
    with _open(file.url, partial, state) as (answer, body):
        state.write_text(json.dumps({"version": answer.version}), encoding="utf-8")
        _check_room(partial, answer)
        _receive(body, partial, answer, f"fetching {arrived.name}", progress)
    sha256 = _hash(partial, progress)
    if answer.sha256 is not None and sha256 != answer.sha256:
        _discard(partial, state)
        raise ValueError(
            f"{file.url} arrived damaged: its SHA-256 is {sha256}, the server announced {answer.sha256}; call again"
        )
    _check_size(partial, None if file.is_compressed else file.size_bytes, file.url, state)
    _sync(partial)
    partial.replace(arrived)
    state.unlink(missing_ok=True)
    return sha256, () if answer.sha256 is None else ("the server's checksum",)


def _discard(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _check_size(partial: Path, expected: int | None, url: str, *also_discarded: Path) -> None:
    size_bytes = partial.stat().st_size
    if expected is not None and size_bytes != expected:
        _discard(partial, *also_discarded)
        raise ValueError(f"{url} has {size_bytes:,} bytes, the course's file has {expected:,}: it is another file")


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _check_room(partial: Path, answer: _Answer) -> None:
    if answer.size_bytes is None:
        return
    missing, free = answer.size_bytes - answer.offset, shutil.disk_usage(partial.parent).free
    if missing > free:
        raise OSError(
            None,
            f"{missing:,} bytes are to come and {free:,} are free; make room or choose another folder",
            str(partial.parent),
        )


class _Open:
    """An open answer of the server: the rest of a file if it can be had, else all of it."""

    def __init__(self, answer: _Answer, body: IO[bytes]) -> None:
        self._answer = answer
        self._body = body

    def __enter__(self) -> tuple[_Answer, IO[bytes]]:
        return self._answer, self._body

    def __exit__(self, *_: object) -> None:
        self._body.close()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and keeps what the first server says of the file: the second only knows its storage."""

    def __init__(self) -> None:
        self.linked: dict[str, str] = {}

    def redirect_request(  # noqa: PLR0917  (the signature is Python's)
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Note the headers that describe the file."""
        self.linked |= {name.lower(): value for name, value in headers.items() if name.lower().startswith("x-linked-")}
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, partial: Path, state: Path) -> _Open:
    offset = partial.stat().st_size if partial.exists() else 0
    version = _read_note(state).get("version") if offset and state.exists() else None
    headers = {"User-Agent": f"cs336/{cs336.__version__}", "Accept-Encoding": "identity"}
    if offset and version:
        headers |= {"Range": f"bytes={offset}-", "If-Range": version}
    redirects = _Redirects()
    opener = urllib.request.build_opener(redirects)
    try:
        body = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if (
            error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        ):  # what is here is as long as the file, or longer
            _discard(partial, state)
            return _open(url, partial, state)
        raise OSError(None, f"the server refuses it with status {error.code} ({error.reason})", url) from error
    except (urllib.error.URLError, TimeoutError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise OSError(
            None,
            f"cannot be reached ({reason}); where there is no network, fetch it elsewhere and put it into "
            f"{partial.parent}, as {partial.name.removesuffix('.part').removesuffix('.gz')}",
            url,
        ) from error
    return _Open(_read_answer(body, redirects.linked), body)


def _read_answer(body: Any, linked: dict[str, str]) -> _Answer:
    version = body.headers.get("ETag")
    announced = _SHA256.match(linked.get("x-linked-etag", version or ""))
    length = body.headers.get("Content-Length")
    offset = 0
    if body.status == http.HTTPStatus.PARTIAL_CONTENT:
        offset = int(re.match(r"bytes (\d+)-", body.headers["Content-Range"])[1])  # type: ignore[index]
    return _Answer(
        version=version,
        sha256=announced[1] if announced else None,
        size_bytes=None if length is None else offset + int(length),
        offset=offset,
    )


def _receive(body: IO[bytes], partial: Path, answer: _Answer, stage: str, progress: Progress) -> None:
    """Append what arrives to `partial`, from `answer.offset` on.

    Raises:
        OSError: The connection broke; what has arrived is kept.
    """
    done = answer.offset
    with partial.open("r+b" if done else "wb") as sink:
        sink.seek(done)
        sink.truncate()
        try:
            while chunk := body.read(_CHUNK_BYTES):
                sink.write(chunk)
                done += len(chunk)
                progress(stage, done, answer.size_bytes or 0)
        except http.client.IncompleteRead as error:
            sink.write(error.partial)
            done += len(error.partial)
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            raise _broken_off(partial, done, answer.size_bytes, error) from error
    if answer.size_bytes is not None and done != answer.size_bytes:
        raise _broken_off(partial, done, answer.size_bytes, "the server closed it")


def _broken_off(partial: Path, done: int, total: int | None, reason: object) -> OSError:
    of = "" if total is None else f" of {total:,}"
    return OSError(
        None, f"the connection broke after {done:,}{of} bytes ({reason}); call again to go on from there", str(partial)
    )


def _decompress(compressed: Path, target: Path, file: RemoteFile, progress: Progress) -> str:
    """Unpack all members of a gzip file beside its target, check the size, give it its name; return its SHA-256."""
    partial = target.with_name(target.name + ".part")
    digest, done = hashlib.sha256(), 0
    try:
        with gzip.open(compressed) as source, partial.open("wb") as sink:
            while chunk := source.read(_CHUNK_BYTES):
                sink.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                progress(f"unpacking {target.name}", done, file.size_bytes or 0)
    except (EOFError, gzip.BadGzipFile) as error:
        _discard(partial, compressed)
        raise ValueError(f"{file.url} arrived damaged ({error}); call again") from error
    _check_size(partial, file.size_bytes, file.url, compressed)
    _sync(partial)
    partial.replace(target)
    return digest.hexdigest()


def as_json(result: Downloaded) -> dict[str, Any]:
    """Return a result as the values of a JSON object."""
    return asdict(result) | {"path": str(result.path), "checked": list(result.checked)}
