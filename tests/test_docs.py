"""The examples of the documentation do what it says."""

import re
import shlex
from pathlib import Path

import pytest

from cs336.cli import main

DOCS = Path(__file__).parents[1] / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="needs the source tree")


@pytest.mark.parametrize("name", ["answers.md", "model.md", "tokenizer.md"])
def test_the_examples_of_a_page_run_one_after_the_other(name, tmp_path, monkeypatch, capsys):
    for module in ("tiktoken", "tokenizers"):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    page = (DOCS / name).read_text(encoding="utf-8")
    names = {}
    blocks = re.findall(r"^```(python|console)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert blocks
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, f"{name}: {block.splitlines()[0]}", "exec"), names)
        else:
            for line in block.splitlines():
                assert line.startswith("$ cs336 ")
                assert main(shlex.split(line.removeprefix("$ cs336 "))) == 0, line
