"""Input that once got through or got lost: pipes, aliases, huge numbers, files that change, failed iterators."""

import os
import subprocess
import sys
import textwrap
import threading

import pytest

from cs336.tokenizer import Tokenizer, train_bpe

BYTES = {i: bytes([i]) for i in range(256)}


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer(BYTES, [])


@pytest.fixture
def fifo(tmp_path):
    """A pipe that another thread writes `abab` into, once for each reader."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(b"abab " * 1000), daemon=True)
    writer.start()
    yield path
    writer.join(5)


needs_unix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


@needs_unix
def test_a_pipe_is_read_to_its_end(tokenizer, fifo, tmp_path):
    stats = tokenizer.encode_file(fifo, tmp_path / "ids.npy")
    assert (stats.num_bytes, stats.num_tokens) == (5000, 5000)


@needs_unix
def test_a_pipe_is_trained_on(fifo):
    assert train_bpe(fifo, 257)[1] == [(b"a", b"b")]


def test_the_text_is_never_replaced_by_its_ids(tokenizer, tmp_path):
    text = tmp_path / "text"
    text.write_text("abc")
    (tmp_path / "link").symlink_to(text)
    for alias in (text, tmp_path / "link", tmp_path / ".." / tmp_path.name / "text"):
        with pytest.raises(ValueError, match="both what to encode and where to write"):
            tokenizer.encode_file(text, alias)
    assert text.read_text() == "abc"


def test_a_link_is_followed_and_a_device_refused(tokenizer, tmp_path):
    (tmp_path / "text").write_text("abc")
    (tmp_path / "old.npy").write_bytes(b"old")
    (tmp_path / "link.npy").symlink_to(tmp_path / "old.npy")
    tokenizer.encode_file(tmp_path / "text", tmp_path / "link.npy")
    assert (tmp_path / "link.npy").is_symlink()
    assert (tmp_path / "old.npy").read_bytes().startswith(b"\x93NUMPY")
    if os.name == "posix":
        with pytest.raises(ValueError, match="device or a pipe"):
            tokenizer.encode_file(tmp_path / "text", os.devnull)


def test_any_number_of_threads_may_be_asked_for(tokenizer, tmp_path):
    (tmp_path / "text").write_text("abc " * 1000)
    assert tokenizer.encode_file(tmp_path / "text", tmp_path / "ids.npy", num_threads=2**62).num_tokens == 4000
    assert len(tokenizer.encode("abc " * 1_000_000, num_threads=2**62)) == 4_000_000


def test_a_file_that_changes_while_it_is_read_is_an_error(tokenizer, tmp_path):
    text = tmp_path / "text"
    text.write_bytes(b"abc " * 5_000_000)
    changed = []

    def change(stage, done, total):
        if not changed:
            changed.append(done)
            with text.open("r+b") as file:
                file.write(b"\xff\xff")
            os.utime(text, (1, 1))

    with pytest.raises(ValueError, match=r"changed while it was read|invalid UTF-8"):
        tokenizer.encode_file(text, tmp_path / "ids.npy", progress=change)
    assert changed
    assert not (tmp_path / "ids.npy").exists()


def test_an_iterator_that_failed_has_ended():
    tokenizer = Tokenizer(BYTES, [], pattern=r"x |(?:(?=a)a+)+b")
    ids = tokenizer.encode_iterable(["x " * 100 + "a" * 5000])
    with pytest.raises(ValueError, match="less backtracking"):
        list(ids)
    assert list(ids) == []


def test_a_dictionary_may_change_while_it_is_read():
    vocab: dict[object, bytes] = {}

    class Id:
        def __index__(self):
            vocab[len(vocab) + 1000] = b"more"
            return 0

    vocab[Id()] = b"\0"
    vocab.update({i: bytes([i]) for i in range(1, 256)})
    assert Tokenizer(vocab, []).decode([0, 97]) == "\0a"  # type: ignore[arg-type]


@pytest.mark.parametrize("pattern", ["cl100k", "llama3", "qwen2", "o200k"])
def test_named_patterns_are_those_of_their_regular_expressions(pattern, corpus):
    from cs336.tokenizer import reference

    text = corpus + " I'LL we'd 12345\r\n\r\n  x /\n/ ÀÉ日本 ǅ\u0301'S <|e|> \u3000 end \n "
    specials = ["<|e|>", " <", "'", "\n"]
    tokenizer = Tokenizer(BYTES, [], specials, pattern=pattern)
    expected = reference.encode(text, tokenizer.vocab, [], specials, pattern=tokenizer.pattern_regex)
    assert tokenizer.encode(text) == expected
    assert list(tokenizer.encode_iterable(text[i : i + 7] for i in range(0, len(text), 7))) == expected
    vocab, merges = train_bpe(iter([text]), 300, specials, pattern=pattern)
    assert (vocab, merges) == reference.train_bpe([text], 300, specials, pattern=tokenizer.pattern_regex)
    trained = Tokenizer(vocab, merges, specials, pattern=pattern)
    expected = reference.encode(text, vocab, merges, specials, pattern=tokenizer.pattern_regex)
    assert trained.encode(text) == expected
    assert list(trained.encode_iterable(text)) == expected


def test_idle_caches_do_not_pile_up(tokenizer):
    """Eight threads at a time use eight caches of 4 MiB each, however often they contend for them."""
    psutil = pytest.importorskip("psutil")
    texts = ["a b c " * 40_000] * 8
    for _ in range(20):
        tokenizer.encode_batch(texts, num_threads=8)
    before = psutil.Process().memory_info().rss
    for _ in range(100):
        tokenizer.encode_batch(texts, num_threads=8)
    assert psutil.Process().memory_info().rss - before < 30e6


IDLE_PIPE = """
    import os, signal, sys, threading
    from cs336.tokenizer import Tokenizer, train_bpe

    signal.signal(signal.SIGINT, signal.default_int_handler)
    path = sys.argv[1]
    tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [])
    for read in (tokenizer.encode_file_to_array, lambda path: train_bpe(path, 300)):
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            read(path)
        except KeyboardInterrupt:
            print("interrupted")
"""


@needs_unix
@pytest.mark.parametrize("has_writer", [False, True])
def test_a_pipe_that_nobody_writes_to_can_be_left(tmp_path, has_writer):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    command = [sys.executable, "-c", textwrap.dedent(IDLE_PIPE), str(path)]
    writer = os.open(path, os.O_RDWR) if has_writer else None
    try:
        found = subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE, text=True)
    finally:
        if writer is not None:
            os.close(writer)
    assert found.stdout.split() == ["interrupted", "interrupted"]
