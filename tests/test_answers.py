"""The numbers of the answer sheet are those that the commands print."""

import re
from pathlib import Path

import pytest

from cs336.cli import main
from cs336.experiments.golden import GOLDEN_FILES, TRAINED_ON

PAGE = Path(__file__).parents[1] / "docs" / "answers.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs the source tree")


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text(encoding="utf-8")


def rows_after(page, mark):
    table = page.partition(mark)[2].partition("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ][2:]


@pytest.mark.parametrize("year", ["2025", "2026"])
def test_the_table_of_a_year_is_what_account_prints(page, year, capsys):
    assert main(["account", "--handout"]) == 0
    printed = capsys.readouterr().out.partition(f"handout of {year}")[2]
    for name, parameters, gigabytes, flops, long_flops in rows_after(page, f"<!-- account: {year} -->"):
        line = re.search(rf"^{name} +(\S+) +(\S+) +(\S+) +(\S+) ", printed, re.MULTILINE)
        assert line.groups() == (parameters, flops, long_flops, gigabytes)


def test_the_golden_counts_are_those_that_are_checked(page):
    rows = rows_after(page, "refuses others:\n")
    assert len(rows) == len(GOLDEN_FILES)
    for (title, documents, tokens, ratio), file in zip(rows, GOLDEN_FILES, strict=True):
        vocab_size = 10_000 if "TinyStories" in file.name else 32_000
        assert title == f"{file.name} ({vocab_size:,})"
        assert documents == f"{file.num_documents:,}"
        assert tokens == f"{file.num_tokens[vocab_size]:,}"
        assert ratio == f"{file.num_bytes / file.num_tokens[vocab_size]:.4f}"
        assert vocab_size in TRAINED_ON
