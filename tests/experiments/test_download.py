import gzip
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cs336.experiments.download import CORPORA, RemoteFile, download

CONTENT = bytes(range(256)) * 9000  # more than two chunks


class Server(ThreadingHTTPServer):
    """A loopback server that can break off, change its file, forget ranges or announce a checksum."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.break_after = None
        self.knows_ranges = True
        self.announced = None
        self.misplaced_by = 0
        self.seen_ranges = []

    def url(self, name="file.txt"):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        if server.announced is not None and not self.path.startswith("/storage"):
            self.send_response(302)
            self.send_header("X-Linked-Etag", f'"{server.announced}"')
            self.send_header("Location", "/storage" + self.path)
            self.end_headers()
            return
        version = f'"{hashlib.md5(server.content).hexdigest()}"'
        wanted = self.headers.get("Range")
        server.seen_ranges.append(wanted)
        offset = 0
        if wanted and server.knows_ranges and self.headers.get("If-Range") == version:
            offset = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if offset and offset >= len(server.content):
            self.send_error(416)
            return
        self.send_response(206 if offset else 200)
        self.send_header("ETag", version)
        if offset:
            offset += server.misplaced_by
            self.send_header("Content-Range", f"bytes {offset}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(server.content) - offset))
        self.end_headers()
        end = len(server.content) if server.break_after is None else offset + server.break_after
        self.wfile.write(server.content[offset:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file_arrives_whole_and_is_noted(server, tmp_path):
    result = download(RemoteFile(url=server.url(), name="file.txt", size_bytes=len(CONTENT)), tmp_path)
    assert result.path.read_bytes() == CONTENT
    assert result.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert result.checked == ("the course's size",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.txt", "file.txt.json"]


def test_a_broken_connection_is_told_and_the_next_call_asks_for_the_rest(server, tmp_path):
    file = RemoteFile(url=server.url(), name="file.txt")
    server.break_after = 1_500_000
    with pytest.raises(OSError, match=r"broke after 1,500,000 of 2,304,000 bytes .* call again"):
        download(file, tmp_path)
    assert not (tmp_path / "file.txt").exists()
    server.break_after = None
    assert download(file, tmp_path).path.read_bytes() == CONTENT
    assert server.seen_ranges == [None, "bytes=1500000-"]


@pytest.mark.parametrize("change", ["content", "no ranges"])
def test_a_rest_that_does_not_fit_is_never_glued_on(server, tmp_path, change):
    file = RemoteFile(url=server.url(), name="file.txt")
    server.break_after = 1_500_000
    with pytest.raises(OSError, match="call again"):
        download(file, tmp_path)
    server.break_after = None
    if change == "content":
        server.content = CONTENT[::-1]
    else:
        server.knows_ranges = False
    assert download(file, tmp_path).path.read_bytes() == server.content


def test_a_part_that_was_not_asked_for_is_refused(server, tmp_path):
    server.break_after = 1_000_000
    with pytest.raises(OSError, match="the connection broke"):
        download(RemoteFile(url=server.url(), name="file.txt"), tmp_path)
    server.break_after, server.misplaced_by = None, 5
    with pytest.raises(OSError, match=r"the server sent it from byte 1,000,005 on, 1,000,000 was asked; call again"):
        download(RemoteFile(url=server.url(), name="file.txt"), tmp_path)
    server.misplaced_by = 0
    assert download(RemoteFile(url=server.url(), name="file.txt"), tmp_path).path.read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_fetched_anew(server, tmp_path):
    version = f'"{hashlib.md5(CONTENT).hexdigest()}"'
    (tmp_path / "file.txt.part").write_bytes(CONTENT + b"x")
    (tmp_path / "file.txt.part.json").write_text(json.dumps({"version": version}))
    assert download(RemoteFile(url=server.url(), name="file.txt"), tmp_path).path.read_bytes() == CONTENT


def test_the_checksum_that_the_server_announces_is_compared(server, tmp_path):
    file = RemoteFile(url=server.url(), name="file.txt")
    server.announced = "0" * 64
    with pytest.raises(ValueError, match=r"arrived damaged: its SHA-256 is .* the server announced 0000"):
        download(file, tmp_path)
    assert list(tmp_path.iterdir()) == []
    server.announced = hashlib.sha256(CONTENT).hexdigest()
    assert download(file, tmp_path).checked == ("the server's checksum",)


def test_another_file_under_the_courses_name_is_refused(server, tmp_path):
    with pytest.raises(ValueError, match=r"has 2,304,000 bytes, the course's file has 5: it is another file"):
        download(RemoteFile(url=server.url(), name="file.txt", size_bytes=5), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_all_members_of_a_compressed_file_are_unpacked(server, tmp_path):
    server.content = gzip.compress(CONTENT[:1000]) + gzip.compress(CONTENT[1000:])
    file = RemoteFile(url=server.url("file.txt.gz"), name="file.txt", size_bytes=len(CONTENT))
    assert download(file, tmp_path).path.read_bytes() == CONTENT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.txt", "file.txt.json"]


def test_a_shortened_compressed_file_is_an_error_and_leaves_nothing(server, tmp_path):
    server.content = gzip.compress(CONTENT)[:-9]
    with pytest.raises(ValueError, match="arrived damaged"):
        download(RemoteFile(url=server.url("file.txt.gz"), name="file.txt"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_whole_file_is_not_fetched_again_and_a_changed_one_is_noticed(server, tmp_path):
    file = RemoteFile(url=server.url(), name="file.txt")
    path = download(file, tmp_path).path
    assert download(file, tmp_path).was_here
    assert len(server.seen_ranges) == 1
    path.write_bytes(b"y" + CONTENT[1:])
    with pytest.raises(ValueError, match="has changed since it was fetched"):
        download(file, tmp_path)


def test_a_file_put_there_by_hand_is_taken_if_its_size_is_right(server, tmp_path):
    (tmp_path / "file.txt").write_bytes(CONTENT)
    assert download(RemoteFile(url=server.url(), name="file.txt", size_bytes=len(CONTENT)), tmp_path).was_here
    with pytest.raises(ValueError, match=r"has 2,304,000 bytes, the course's file has 7; move it away"):
        download(RemoteFile(url=server.url(), name="file.txt", size_bytes=7), tmp_path)


def test_refusals_and_missing_networks_are_told_with_a_way_out(server, tmp_path):
    with pytest.raises(OSError, match="status 404"):
        download(RemoteFile(url=server.url("missing.txt"), name="missing.txt"), tmp_path)
    with pytest.raises(OSError, match=r"cannot be reached .* fetch it elsewhere and put it into .*, as file\.txt"):
        download(RemoteFile(url="http://127.0.0.1:9/file.txt.gz", name="file.txt"), tmp_path)


def test_the_courses_files_are_known_by_size():
    sizes = {file.name: file.size_bytes for files in CORPORA.values() for file in files}
    assert sizes == {
        "TinyStoriesV2-GPT4-train.txt": 2_227_753_162,
        "TinyStoriesV2-GPT4-valid.txt": 22_502_601,
        "owt_train.txt": 11_920_511_059,
        "owt_valid.txt": 289_998_753,
    }
