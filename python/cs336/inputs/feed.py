"""Files that the core cannot open itself, fed to it through a pipe: URLs, and parquet as JSON lines.

What ends early must not look like what ends: a pipe just closes. So everything in it is compressed, if only in form:
gzip without compression ends with a checksum and a length, and the core takes a stream without them for cut off.
"""

import contextlib
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from cs336._extras import require_extra
from cs336.inputs.expand import Compression, Format, InputFile, open_filesystem

_BLOCK_BYTES = 1 << 20
_GZIP = 16 + zlib.MAX_WBITS
# Rows of parquet that are turned into lines at a time.
_BATCH_ROWS = 1024


@dataclass(frozen=True)
class Fed:
    """What the core opens, in place of an input file.

    Attributes:
        path: the file itself, or `/dev/fd/N`.
        name: what messages call it.
        format: "text" or "jsonl".
        compression: of what is read there.
    """

    path: str
    name: str
    format: Format
    compression: Compression


@contextlib.contextmanager
def fed(file: InputFile, *, text_field: str = "text") -> Iterator[Fed]:
    """Let the core read a file, through a pipe and a thread if it cannot open it itself.

    Args:
        file: what to read.
        text_field: the column of a parquet file that holds the text.

    Raises:
        OSError: It cannot be read; raised when the context ends, in place of the core's error that it is cut off.
        ValueError: A parquet file is damaged, or lacks the column.
        ModuleNotFoundError: An extra is missing; at once.
    """
    if file.format == "parquet":
        require_extra("parquet", modules=("pyarrow",), needed_by=f"reading {file.name}")
        with _through_pipe(lambda out: _write_gzip(_lines_of_parquet(file, text_field), out)) as path:
            yield Fed(path, file.name, "jsonl", "gzip")
    elif file.is_remote:
        system, remote = open_filesystem(file.name)
        if file.compression == "none":
            write, compression = _write_gzip, "gzip"
        else:
            write, compression = _write_as_it_is, file.compression
        with _through_pipe(lambda out: write(_blocks_of(system, remote), out)) as path:
            yield Fed(path, file.name, file.format, compression)  # type: ignore[arg-type]
    else:
        yield Fed(file.name, file.name, file.format, file.compression)


@contextlib.contextmanager
def _through_pipe(write: Callable[[IO[bytes]], None]) -> Iterator[str]:
    read_end, write_end = os.pipe()
    failures: list[BaseException] = []

    def feed() -> None:
        try:
            with open(write_end, "wb", buffering=0) as out:  # noqa: PTH123  (a descriptor)
                write(out)
        except BrokenPipeError:
            pass  # whoever read has stopped, and knows why
        except BaseException as error:  # told to whoever waits
            failures.append(error)

    thread = threading.Thread(target=feed, name="feed", daemon=True)
    thread.start()
    try:
        yield f"/dev/fd/{read_end}"
    except Exception:
        os.close(read_end)
        thread.join()
        if failures:
            raise failures[0] from None  # the cause, of which the core saw only the end
        raise
    except BaseException:
        os.close(read_end)
        raise
    os.close(read_end)
    thread.join()
    if failures:
        raise failures[0]


def _write_gzip(blocks: Iterator[bytes], out: IO[bytes]) -> None:
    """Write blocks in the form of gzip, stored rather than compressed."""
    stored = zlib.compressobj(level=0, wbits=_GZIP)
    for block in blocks:
        _write_all(stored.compress(block), out)
    _write_all(stored.flush(), out)


def _write_as_it_is(blocks: Iterator[bytes], out: IO[bytes]) -> None:
    for block in blocks:
        _write_all(block, out)


def _write_all(content: bytes, out: IO[bytes]) -> None:
    view = memoryview(content)
    while view:
        view = view[out.write(view) :]


def _blocks_of(system: Any, path: str) -> Iterator[bytes]:
    with system.open(path, "rb", block_size=8 * _BLOCK_BYTES) as source:
        while block := source.read(_BLOCK_BYTES):
            yield block


def _lines_of_parquet(file: InputFile, text_field: str) -> Iterator[bytes]:
    """Each row as a line of JSON, so that what holds for lines holds for rows: a missing text is a bad record."""
    import pyarrow  # noqa: PLC0415  (an extra)
    from pyarrow import parquet  # noqa: PLC0415

    with contextlib.ExitStack() as stack:
        if file.is_remote:
            system, path = open_filesystem(file.name)
            source: Any = stack.enter_context(system.open(path, "rb"))
        else:
            source = stack.enter_context(open(file.name, "rb"))  # noqa: PTH123  (the name as it was given in errors)
        try:
            table = parquet.ParquetFile(source)
            if text_field not in table.schema_arrow.names:
                known = ", ".join(table.schema_arrow.names)
                raise ValueError(f"{file.name} has no column {text_field!r}, expected one of: {known}")
            for batch in table.iter_batches(_BATCH_ROWS, columns=[text_field]):
                yield b"".join(_lines_of_column(batch.column(0), text_field))
        except pyarrow.ArrowException as error:
            raise ValueError(f"{file.name}: not a readable parquet file ({error})") from error


def _lines_of_column(column: Any, text_field: str) -> Iterator[bytes]:
    head = b"{" + json.dumps(text_field).encode() + b":"
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        import pyarrow  # noqa: PLC0415

        values = column.cast(pyarrow.large_binary()).to_pylist()
    for value in values:
        yield head + _json(value) + b"}\n"


def _json(value: Any) -> bytes:
    if isinstance(value, bytes):
        # Bytes that are not UTF-8 are passed on as they are, for the reader to do with as with those of a line.
        return json.dumps(value.decode("utf-8", "surrogateescape"), ensure_ascii=False).encode(
            "utf-8", "surrogateescape"
        )
    # What JSON does not know (a time, say) is no text either way.
    return json.dumps(value, ensure_ascii=False, default=lambda _: None).encode("utf-8", "surrogatepass")
