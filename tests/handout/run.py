"""Run the course's public test suite against this package: `python tests/handout/run.py SUITE [pytest arguments]`.

SUITE is a checkout of the course's assignment 1 repository. It is copied aside, our adapters take the place of its own,
and pytest runs there; the checkout stays as it is. The exit code is pytest's.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ADAPTERS = Path(__file__).with_name("adapters.py")
PACKAGE_ROOT = Path(__file__).resolve().parents[2] / "python"
USAGE_ERROR = 2

# What tiktoken downloads for its GPT-2 vocabulary, and the suite's fixtures that hold the same bytes (the merges
# without their first line). tiktoken verifies a checksum before it takes a file from its cache.
TIKTOKEN_URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"
TIKTOKEN_FILES = {"vocab.bpe": ("gpt2_merges.txt", b"#version: 0.2\n"), "encoder.json": ("gpt2_vocab.json", b"")}


def main(arguments: list[str]) -> int:
    """Copy, replace the adapters, run; return the exit code."""
    if not arguments:
        return _fail("which suite? give the path of a checkout: make handout SUITE=path/to/assignment1-basics")
    suite, pytest_arguments = Path(arguments[0]), arguments[1:]
    if not (suite / "tests" / "adapters.py").is_file():
        return _fail(f"{suite} is no checkout of the course's suite: it has no tests/adapters.py")
    with tempfile.TemporaryDirectory(prefix="cs336-handout-") as folder:
        copy = Path(folder) / "suite"
        shutil.copytree(suite / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        shutil.copy(ADAPTERS, copy / "tests" / "adapters.py")
        # Its own configuration file stops pytest from looking further up; ours or the suite's would not fit.
        (copy / "pytest.ini").write_text("[pytest]\n")
        path = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]))
        cache = _fill_tiktoken_cache(copy / "tests" / "fixtures", Path(folder) / "tiktoken")
        environment = {"TIKTOKEN_CACHE_DIR": str(cache)} | os.environ | {"PYTHONPATH": path}
        command = [sys.executable, "-m", "pytest", "-ra", *pytest_arguments]
        return subprocess.run(command, cwd=copy, env=environment, check=False).returncode


def _fill_tiktoken_cache(fixtures: Path, cache: Path) -> Path:
    """Spare tiktoken, which the suite compares with, its download."""
    cache.mkdir()
    for name, (fixture, first_line) in TIKTOKEN_FILES.items():
        if (fixtures / fixture).is_file():
            key = hashlib.sha1((TIKTOKEN_URL + name).encode()).hexdigest()
            (cache / key).write_bytes(first_line + (fixtures / fixture).read_bytes())
    return cache


def _fail(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return USAGE_ERROR


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
