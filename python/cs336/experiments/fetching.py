"""A file over HTTP, so that a broken line costs nothing and a damaged file is noticed.

What arrives is kept under the file's name with `.part` appended. When the connection breaks, or the process is stopped,
the next call asks for the rest; `If-Range` sees to it that a file which changed on the server meanwhile is fetched anew
instead of glued together. The file gets its name once it is whole and its SHA-256 is the one that the server announces,
where it announces one.
"""

import hashlib
import http.client
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import cs336

TIMEOUT_S = 60.0
CHUNK_BYTES = 1 << 20
_SHA256 = re.compile(r'^(?:W/)?"?([0-9a-f]{64})"?$')


class Progress(Protocol):
    """Told how far a file is."""

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """So many bytes of a stage are done; a total of 0 is unknown."""


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What the server says of a file before it sends it."""

    version: str | None  # the entity tag, which changes with the content
    sha256: str | None
    size_bytes: int | None  # of the whole file
    offset: int  # where what it sends begins


def fetch(url: str, target: Path, progress: Progress, *, size_bytes: int | None = None) -> tuple[str, bool]:
    """Bring a file to `target`, going on where an earlier call stopped.

    Args:
        url: Where it is.
        target: What it is to be called.
        progress: Told how far it is.
        size_bytes: What it must have; None if nobody knows.

    Returns:
        Its SHA-256, and whether the server announced the same.

    Raises:
        ValueError: What arrived is not the file: its size or checksum is another; it is removed.
        OSError: The server cannot be reached or refuses, or the disk is full; what has arrived stays for the next call.
    """
    partial = target.with_name(target.name + ".part")
    state = target.with_name(target.name + ".part.json")
    with _open(url, partial, state) as (answer, body):
        state.write_text(json.dumps({"version": answer.version}), encoding="utf-8")
        _check_room(partial, answer)
        _receive(body, partial, answer, f"fetching {target.name}", progress)
    sha256 = hash_file(partial, progress)
    if answer.sha256 is not None and sha256 != answer.sha256:
        discard(partial, state)
        raise ValueError(
            f"{url} arrived damaged: its SHA-256 is {sha256}, the server announced {answer.sha256}; call again"
        )
    if size_bytes is not None and partial.stat().st_size != size_bytes:
        found = partial.stat().st_size
        discard(partial, state)
        raise ValueError(f"{url} has {found:,} bytes, the course's file has {size_bytes:,}: it is another file")
    settle(partial, target)
    state.unlink(missing_ok=True)
    return sha256, answer.sha256 is not None


def hash_file(path: Path, progress: Progress) -> str:
    """Return a file's SHA-256.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    size, done = path.stat().st_size, 0
    with path.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            progress(f"checking {path.name}", done, size)
    return digest.hexdigest()


def discard(*paths: Path) -> None:
    """Remove what is there of some files."""
    for path in paths:
        path.unlink(missing_ok=True)


def settle(partial: Path, target: Path) -> None:
    """Give a file that is whole its name, once it is on the disk.

    Raises:
        OSError: The disk is full or gone.
    """
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)


def read_record(path: Path) -> dict[str, Any]:
    """Return what is noted beside a file.

    Raises:
        ValueError: It is damaged.
    """
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); remove it and call again") from error
    if not isinstance(note, dict):
        raise ValueError(f"{path} is damaged (not a JSON object); remove it and call again")
    return note


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
    version = read_record(state).get("version") if offset and state.exists() else None
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
            discard(partial, state)
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
    answer = _read_answer(body, redirects.linked)
    if answer.offset not in (0, offset):
        body.close()
        raise OSError(None, f"the server sent it from byte {answer.offset:,} on, {offset:,} was asked; call again", url)
    return _Open(answer, body)


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
            while chunk := body.read(CHUNK_BYTES):
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
