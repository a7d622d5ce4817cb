"""The wheel, as a user gets it: into an empty environment, without a compiler."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cargo") is None, reason="needs a Rust toolchain to build the wheel"),
    pytest.mark.skipif(not (ROOT / "rust").is_dir(), reason="needs the source tree to build the wheel"),
]


def run(*command, **options):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "maturin", "build", "--release", "--locked", "--quiet", "--out", out, cwd=ROOT)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """An empty virtual environment with the wheel, and a PATH on which there is no cargo."""
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", folder)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, env=clean)
    clean["PATH"] = str(python.parent)  # /usr/bin may hold a cargo
    return python, clean


def test_one_wheel_serves_every_python_from_3_11_on(wheel):
    assert re.fullmatch(r"cs336-[\w.]+-cp311-abi3-\w+\.whl", wheel.name)


def test_the_wheel_holds_types_licence_and_nothing_foreign(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for needed in ["cs336/py.typed", "cs336/_bpe.pyi", "cs336/tokenizer/__init__.py"]:
        assert needed in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert all(name.startswith(("cs336/", "cs336-")) for name in names), names
    assert not [name for name in names if "__pycache__" in name or "tests" in name]


def test_the_tokenizer_works_without_toolchain_and_torch(environment, tmp_path):
    python, env = environment
    program = textwrap.dedent("""
        import importlib.util, json, sys
        from cs336.tokenizer import Tokenizer, train_bpe
        assert importlib.util.find_spec("torch") is None
        vocab, merges = train_bpe("corpus.txt", 300, ["<|endoftext|>"])
        tok = Tokenizer(vocab, merges, ["<|endoftext|>"])
        tok.save("tokenizer.json")
        text = "low lower lowest<|endoftext|>"
        ids = Tokenizer.load("tokenizer.json").encode(text)
        assert tok.decode(ids) == text
        print(json.dumps([len(vocab), ids[-1], len(ids)]))
    """)
    (tmp_path / "corpus.txt").write_text("low lower lowest newest widest " * 50, encoding="utf-8")
    assert json.loads(run(python, "-c", program, env=env, cwd=tmp_path)) == [275, 274, 4]


def test_the_command_works_and_names_the_missing_extra(environment, tmp_path):
    python, env = environment
    assert "tokenizer" in run(python.parent / "cs336", "--help", env=env, cwd=tmp_path)
    result = subprocess.run(
        [python.parent / "cs336", "demo", "--run-dir", "demo"],
        capture_output=True,
        text=True,
        check=False,
        env=env,
        cwd=tmp_path,
    )
    assert result.returncode != 0
    assert "pip install 'cs336[train]'" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
