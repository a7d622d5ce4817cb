"""Small corpora of awkward documents, what must come out of them, and ways to end a process that makes them."""

import contextlib
import faulthandler
import gzip
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cs336 import _bpe, corpus
from cs336.shards import read_journal, read_manifest
from cs336.tokenizer import Tokenizer, train_bpe

EOS = "<|endoftext|>"
WORDS = ["the", " cat", "日本", "\n", " 🙂", "'s", " 1234", "\t", "é", " <|", "|>", " naïve", "  ", "x" * 40, "\0"]


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be had: these tests wait for the disk some thousand times."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="cs336-") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    vocab, merges = train_bpe(iter(["the cat's naïve 日本 the cat 1234 🙂 " * 20]), 300, [EOS])
    return Tokenizer(vocab, merges, [EOS])


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The functions below, which tests cannot import from here."""
    functions = (write_jsonl, gzipped, read_back, tree, listed, wait_for, in_a_child)
    return SimpleNamespace(**{function.__name__: function for function in functions})


@pytest.fixture(scope="session")
def documents() -> list[str]:
    """Among them empty ones, white space alone, and text that looks special."""
    draw = random.Random(1)
    made = ["".join(draw.choices(WORDS, k=draw.randrange(60))) for _ in range(150)]
    return [*made, "", " ", f"a {EOS} in text", "\r\n"]


@pytest.fixture
def jsonl(tmp_path: Path, documents: list[str]) -> Path:
    return write_jsonl(tmp_path / "in" / "a.jsonl", documents)


@pytest.fixture
def make(tokenizer: Tokenizer, tmp_path: Path) -> Callable[..., Path]:
    """Makes a corpus of small shards and returns its directory."""

    def run(inputs: Any, out: str = "out", *, num_threads: int = 2, **options: Any) -> Path:
        options = {"tokens_per_shard": 1500} | options
        planned = corpus.plan(inputs, tokenizer=tokenizer, out=tmp_path / out, **options)
        assert corpus.run(planned, num_threads=num_threads).is_finished
        return tmp_path / out

    return run


@pytest.fixture
def plan(tokenizer: Tokenizer, tmp_path: Path) -> Callable[..., corpus.Plan]:
    """Plans a corpus of small shards."""

    def make(inputs: Any, out: str = "out", **options: Any) -> corpus.Plan:
        options = {"tokens_per_shard": 1500} | options
        return corpus.plan(inputs, tokenizer=tokenizer, out=tmp_path / out, **options)

    return make


@pytest.fixture
def command() -> Callable[..., "subprocess.Popen[str]"]:
    """Starts `cs336 corpus run` as a process of its own."""

    def start(*arguments: Any, **environment: Any) -> "subprocess.Popen[str]":
        environment = os.environ | {key: str(value) for key, value in environment.items()}
        words = [sys.executable, "-m", "cs336", "corpus", "run", *map(str, arguments)]
        return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


@pytest.fixture
def long_jsonl(documents: list[str], tmp_path: Path) -> Path:
    """Takes some tenths of a second, in many shards."""
    return write_jsonl(tmp_path / "in" / "long.jsonl", documents * 80)


def write_jsonl(path: Path, documents: list[str], compress: Callable[[bytes], bytes] = bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    lines = "".join(json.dumps({"text": text, "meta": {"n": n}}) + "\n" for n, text in enumerate(documents))
    path.write_bytes(compress(lines.encode()))
    return path


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def read_back(directory: Path, split: str = "train") -> Iterator[list[int]]:
    """Yield the ids of each document, without EOS, as a plain reader of the format finds them."""
    carried: list[int] = []
    for shard in read_manifest(directory).of_split(split):
        ids = np.load(directory / shard.file)
        begin = 0
        for end in np.load(directory / shard.ends_file).tolist():
            yield (carried + ids[begin:end].tolist())[:-1]
            carried, begin = [], end
        carried += ids[begin:].tolist()
    assert not carried


def tree(directory: Path) -> dict[str, str]:
    """Hash of every file but the locks, which tell who was there."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file() and "locks" not in path.parts)
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def listed(directory: Path) -> set[str]:
    """Check that each shard in a journal is whole, and return their names."""
    names = set()
    for path in (directory / "journal").glob("*.jsonl"):
        for shard in read_journal(path).shards:
            for name, size_bytes, blake3 in shard.files():
                assert _bpe.hash_file(directory / name) == (size_bytes, blake3)
                names.add(name)
    return names


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    """Wait until a process has made a file."""
    while not path.exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.002)


def in_a_child(function: Callable[[], object]) -> int:
    """Run a function in a child process that may die; return how it ended."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            faulthandler.disable()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            function()
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
