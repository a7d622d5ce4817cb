"""The examples of the documentation do what it says."""

import re
import shlex
from pathlib import Path

import pytest

from cs336.cli import main, parse

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [DOCS.parent / name for name in ("README.md", "CONTRIBUTING.md")] + sorted(DOCS.rglob("*.md"))
PLACEHOLDERS = {"PRESET": "smoke", "I": "0", "N": "2", "LAYOUT": "nanogpt"}
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


def commands(text):
    """Yield what stands after `cs336` in code, as words."""
    text = text.replace("\\\n", " ")
    code = re.findall(r"(?<!`)`([^`]+)`(?!`)", text)  # may go on in the next line
    code += [line for block in re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()]
    code += re.findall(r"^ {4}(.+)$", text, re.M)
    for snippet in code:
        for rest in re.findall(r"(?:^|\s)(?:\$ |-m )?cs336 ([a-z].*)", " ".join(snippet.split())):
            said = re.split(r" #| && | [|>] |\.\.\.$", rest)[0]
            if "─" not in said:
                yield [PLACEHOLDERS.get(word, word) for word in shlex.split(said)]


def test_every_command_that_a_page_shows_exists_with_its_options():
    shown = {tuple(words) for page in PAGES for words in commands(page.read_text(encoding="utf-8"))}
    assert len(shown) > 60
    verbs_alone = 0
    for words in sorted(shown):
        try:
            parse(words)
        except SystemExit:  # a verb that is named without what it needs
            verbs_alone += 1
            assert not any(word.startswith("-") for word in words), words
            with pytest.raises(SystemExit) as help_:
                parse([*words, "--help"])
            assert help_.value.code == 0, words
    assert verbs_alone < len(shown) / 2


def test_every_link_to_a_file_leads_to_one():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
        for file, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
            goal = page.parent / file if file else page
            headlines = re.findall(r"^#+ (.+)$", goal.read_text(encoding="utf-8"), re.M)
            anchors = {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in headlines}
            assert anchor in anchors, f"{page.name}: {file}#{anchor}"
