import errno
import os
import subprocess
import sys

import pytest

from cs336.train import durable
from cs336.train.durable import write_directory, write_file


def fail_on_sync(monkeypatch, *, after=0):
    """Let fsync fail as on a full disk, after some that succeed."""
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(durable.os, "fsync", fsync)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_is_written_and_replaced(tmp_path):
    for content in (b"one", b"two"):
        write_file(tmp_path / "a", content)
        assert (tmp_path / "a").read_bytes() == content
    assert names(tmp_path) == ["a"]


def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_file(tmp_path / "a", b"one")
    fail_on_sync(monkeypatch)
    with pytest.raises(OSError, match=r"cannot write 3 bytes \(No space left on device\): '.*a'") as caught:
        write_file(tmp_path / "a", b"two")
    assert caught.value.errno == errno.ENOSPC
    assert (tmp_path / "a").read_bytes() == b"one"
    assert names(tmp_path) == ["a"]


def test_missing_folder_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="cannot write 1 bytes"):
        write_file(tmp_path / "none" / "a", b"x")


def test_directory_is_written_and_replaced(tmp_path):
    for content in (b"one", b"two"):
        write_directory(tmp_path / "runs" / "d", {"a": content, "b": b""})
        assert (tmp_path / "runs" / "d" / "a").read_bytes() == content
    assert names(tmp_path / "runs") == ["d"]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_full_disk_leaves_the_old_directory_and_nothing_else(tmp_path, monkeypatch, after):
    write_directory(tmp_path / "d", {"a": b"one", "b": b"two"})
    fail_on_sync(monkeypatch, after=after)
    with pytest.raises(OSError, match=r"cannot write 6 bytes \(No space left on device\)"):
        write_directory(tmp_path / "d", {"a": b"ONE", "b": b"TWO"})
    assert (tmp_path / "d" / "a").read_bytes() == b"one"
    assert names(tmp_path) == ["d"]


def test_what_a_crash_left_aside_is_cleared(tmp_path):
    (tmp_path / "d.tmp").mkdir()
    (tmp_path / "d.tmp" / "torn").write_bytes(b"x")
    write_directory(tmp_path / "d", {"a": b"one"})
    assert names(tmp_path) == ["d"]
    assert names(tmp_path / "d") == ["a"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_real_write_that_runs_out_of_room_leaves_nothing(tmp_path):
    # The kernel refuses the write itself, in the middle of the file.
    program = f"""
import resource, signal
from pathlib import Path
from cs336.train.durable import write_directory
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    write_directory(Path({str(tmp_path / "d")!r}), {{"a": bytes(10_000), "b": bytes(100_000)}})
except OSError as error:
    print("refused:", error)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert "cannot write 110,000 bytes" in done.stdout
    assert names(tmp_path) == []
