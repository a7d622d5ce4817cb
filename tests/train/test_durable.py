import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(NotADirectoryError, match="cannot write 1 bytes"):
        write_file(tmp_path / "a" / "b", b"x")


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


@pytest.mark.parametrize("error", [OSError(errno.EIO, os.strerror(errno.EIO)), KeyboardInterrupt()])
def test_old_directory_returns_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch, error):
    write_directory(tmp_path / "d", {"a": b"one"})
    rename = Path.rename

    def failing_rename(source, target):
        if source.name == "d.tmp":
            raise error
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", failing_rename)
    with pytest.raises(type(error)):
        write_directory(tmp_path / "d", {"a": b"two"})
    assert (tmp_path / "d" / "a").read_bytes() == b"one"
    assert names(tmp_path) == ["d"]


def run_until_event(write, fatal_event):
    """Write in a process that dies without any cleaning up, as by kill -9, before its n-th change to the file system.

    Return whether it came to its end instead.
    """
    child = os.fork()
    if child == 0:
        num_events = 0

        def hook(event, _):
            nonlocal num_events
            if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
                num_events += 1
                if num_events == fatal_event:
                    os._exit(9)

        sys.addaudithook(hook)
        write()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_file_is_whole_wherever_the_process_dies(tmp_path):
    is_done, event = False, 0
    while not is_done:
        write_file(tmp_path / "a", b"old")
        event += 1
        is_done = run_until_event(lambda: write_file(tmp_path / "a", b"new"), event)
        assert (tmp_path / "a").read_bytes() in (b"old", b"new")
    assert names(tmp_path) == ["a"]
    assert event > 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_one_directory_is_whole_wherever_the_process_dies_and_the_next_write_clears_the_rest(tmp_path):
    old, new = {"a": b"old", "b": b"x"}, {"a": b"new", "b": b"y"}
    is_done, event = False, 0
    while not is_done:
        write_directory(tmp_path / "d", old)
        assert names(tmp_path) == ["d"]
        event += 1
        is_done = run_until_event(lambda: write_directory(tmp_path / "d", new), event)
        place = tmp_path / "d" if (tmp_path / "d").exists() else tmp_path / "d.replaced"
        assert {name: (place / name).read_bytes() for name in names(place)} in (old, new)
    assert place == tmp_path / "d"
    assert names(tmp_path) == ["d"]
    assert event > 10


def test_a_directory_of_other_things_is_not_replaced(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.tex").write_bytes(b"x")
    with pytest.raises(FileExistsError, match=r"thesis\.tex, which would be lost; choose another directory"):
        write_directory(tmp_path / "d", {"a": b"one"})
    assert names(tmp_path) == ["d"]
    assert names(tmp_path / "d") == ["thesis.tex"]


def test_a_file_is_not_replaced_by_a_directory(tmp_path):
    (tmp_path / "d").write_bytes(b"x")
    with pytest.raises(NotADirectoryError, match="cannot write 3 bytes"):
        write_directory(tmp_path / "d", {"a": b"one"})
    assert names(tmp_path) == ["d"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs locks on directories")
def test_writers_of_one_name_take_turns(tmp_path):
    contents = [{"a": bytes([value]) * 100_000, "b": bytes([value])} for value in range(8)]

    def write(content):
        for _ in range(5):
            write_directory(tmp_path / "d", content)
            write_file(tmp_path / "f", content["a"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, contents))
    assert names(tmp_path) == ["d", "f"]
    assert {name: (tmp_path / "d" / name).read_bytes() for name in ("a", "b")} in contents
    assert (tmp_path / "f").read_bytes() in [content["a"] for content in contents]


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
