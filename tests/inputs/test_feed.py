import contextlib
import functools
import gzip
import http.server
import json
import threading
import zlib
from pathlib import Path

import pytest

from cs336.inputs import expand, fed


def read(source):
    """What the core would read: all of it, and not from before the end of a stream that has one."""
    content = Path(source.path).read_bytes()
    return gzip.decompress(content) if source.compression == "gzip" else content


@contextlib.contextmanager
def served(directory, handler=http.server.SimpleHTTPRequestHandler):
    """An address on the loopback device that serves the files of a directory."""
    quiet = type("Quiet", (handler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_files_are_opened_by_the_core_itself(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("text")
    (file,) = expand(path)
    with fed(file) as source:
        assert (source.path, source.format, source.compression) == (str(path), "text", "none")


@pytest.mark.parametrize("content", [b"", b"text\n" * 500_000])
def test_urls_come_through_a_pipe_with_an_end_of_their_own(content):
    memory = pytest.importorskip("fsspec").filesystem("memory")
    memory.pipe("/fed.txt", content)
    (file,) = expand("memory://fed.txt")
    with fed(file) as source:
        assert (source.name, source.format, source.compression) == ("memory://fed.txt", "text", "gzip")
        assert read(source) == content
    memory.pipe("/fed.txt.gz", gzip.compress(content))
    (file,) = expand("memory://fed.txt.gz")
    with fed(file) as source:
        assert read(source) == content


def test_http_is_read(tmp_path):
    pytest.importorskip("aiohttp")
    pytest.importorskip("fsspec")
    (tmp_path / "a.jsonl").write_bytes(b'{"text":"x"}\n' * 100_000)
    handled = []

    class Watched(http.server.SimpleHTTPRequestHandler):
        def send_head(self):
            handled.append(self.command)
            return super().send_head()

    with served(tmp_path, Watched) as address:
        (file,) = expand(f"{address}/a.jsonl")
        assert (file.format, file.size_bytes) == ("jsonl", 1_300_000)
        assert file.stamp
        assert handled == ["HEAD"], "the file was fetched to find out what it is"
        with fed(file) as source:
            assert read(source) == b'{"text":"x"}\n' * 100_000


def read_as_the_core_does(file):
    """Find the stream cut off, and complain of that."""
    with fed(file) as source:
        stream = zlib.decompressobj(wbits=31)
        assert stream.decompress(Path(source.path).read_bytes())
        assert not stream.eof, "the stream ends as if it was whole"
        raise ValueError("is cut off")


def test_a_failure_in_the_middle_is_no_end():
    """The stream that the core reads is cut off, and the cause is raised in place of that."""
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/fed.txt", b"x" * (4 << 20))
    (file,) = expand("memory://fed.txt")

    def fails(self, length=-1):
        if self.tell() > 2 << 20:
            raise OSError(5, "the line is dead", "memory://fed.txt")
        return read_before(self, length)

    kind = type(memory.open("/fed.txt"))
    read_before = kind.read
    try:
        kind.read = fails
        with pytest.raises(OSError, match="the line is dead"):
            read_as_the_core_does(file)
    finally:
        kind.read = read_before


def test_whoever_stops_reading_leaves_no_thread_and_no_descriptor():
    memory = pytest.importorskip("fsspec").filesystem("memory")
    memory.pipe("/fed.txt", b"x" * (4 << 20))
    (file,) = expand("memory://fed.txt")
    before = (threading.active_count(), len(list(Path("/dev/fd").iterdir())))
    for _ in range(3):
        with pytest.raises(ValueError, match="enough"), fed(file):
            raise ValueError("enough")
        with fed(file):
            pass
    assert (threading.active_count(), len(list(Path("/dev/fd").iterdir()))) == before


def test_rows_of_parquet_are_lines(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = ['a "quoted"\nline', "größer ✓ \x00", None, "", *map(str, range(3_000))]
    parquet.write_table(pyarrow.table({"id": range(len(texts)), "text": texts}), tmp_path / "a.parquet")
    (file,) = expand(tmp_path)
    with fed(file) as source:
        assert (source.format, source.compression) == ("jsonl", "gzip")
        assert [json.loads(line) for line in read(source).splitlines()] == [{"text": text} for text in texts]
    with (
        pytest.raises(ValueError, match="has no column 'body', expected one of: id, text"),
        fed(file, text_field="body") as source,
    ):
        read(source)


def test_what_is_not_text_in_parquet_is_not_made_text(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"text": pyarrow.array([1, 2]), "at": pyarrow.array([0, 1], pyarrow.timestamp("s"))})
    parquet.write_table(table, tmp_path / "a.parquet")
    (file,) = expand(tmp_path)
    with fed(file) as source:
        assert read(source) == b'{"text":1}\n{"text":2}\n'
    with fed(file, text_field="at") as source:
        assert read(source) == b'{"at":null}\n{"at":null}\n'


def test_invalid_utf8_in_parquet_reaches_the_reader(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"text": [b"good", b"bad \xff"]}), tmp_path / "a.parquet")
    (file,) = expand(tmp_path)
    with fed(file) as source:
        assert read(source) == b'{"text":"good"}\n{"text":"bad \xff"}\n'


def test_a_damaged_parquet_file_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing of the kind PAR1")
    (file,) = expand(tmp_path)
    with pytest.raises(ValueError, match="not a readable parquet file"), fed(file) as source:
        read(source)


def test_the_extra_for_parquet_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").touch()
    (file,) = expand(tmp_path)
    monkeypatch.setattr("cs336._extras.find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"needs pyarrow: pip install 'cs336\[parquet\]'"), fed(file):
        pass
