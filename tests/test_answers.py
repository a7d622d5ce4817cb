"""The numbers of the answer sheet are those that the commands print."""

import re
from pathlib import Path

import pytest

from cs336.cli import main
from cs336.experiments.golden import GOLDEN_FILES, TRAINED_ON

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "answers.md"
REPORT, STUDY = DOCS / "report-cpu" / "report.md", DOCS / "report-tokenizers" / "study.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs the source tree")


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text(encoding="utf-8")


def cells_of(line):
    return [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []


def rows_after(page, mark):
    table = page.partition(mark)[2].partition("\n\n")[0]
    return [cells for line in table.splitlines() if (cells := cells_of(line))][2:]


@pytest.mark.parametrize("year", ["2025", "2026"])
def test_the_table_of_a_year_is_what_account_prints(page, year, capsys):
    assert main(["account", "--handout"]) == 0
    printed = capsys.readouterr().out.partition(f"handout of {year}")[2]
    for name, parameters, gigabytes, flops, long_flops in rows_after(page, f"<!-- account: {year} -->"):
        line = re.search(rf"^{name} +(\S+) +(\S+) +(\S+) +(\S+) ", printed, re.MULTILINE)
        assert line.groups() == (parameters, flops, long_flops, gigabytes)


@pytest.mark.parametrize("year", ["2025", "2026"])
def test_the_shares_of_a_year_are_what_account_prints(page, year, capsys):
    assert main(["account", "--handout"]) == 0
    printed = capsys.readouterr().out.partition(f"handout of {year}")[2].partition("handout of")[0]
    rows = rows_after(page, f"<!-- shares: {year} -->")
    assert len(rows) == 5
    for name, *shares in rows:
        line = re.search(rf"^{re.escape(name)} +(\S+%) +(\S+%) +(\S+%) +(\S+%)$", printed, re.MULTILINE)
        assert list(line.groups()) == shares


def test_what_is_quoted_stands_in_a_report(page):
    sources = REPORT.read_text(encoding="utf-8") + STUDY.read_text(encoding="utf-8")
    quotes = re.findall(r"^> (.+)$", page, re.MULTILINE)
    assert len(quotes) > 10
    for quote in quotes:
        assert quote in sources, quote


@pytest.mark.parametrize(("mark", "source", "least"), [("study", STUDY, 4), ("generation", REPORT, 1)])
def test_tables_taken_from_a_report_are_the_reports(page, mark, source, least):
    lines = set(source.read_text(encoding="utf-8").splitlines())
    tables = [part.partition("\n\n")[0].strip().splitlines() for part in page.split(f"<!-- {mark} -->")[1:]]
    assert len(tables) >= least
    assert all(line in lines for table in tables for line in table)


def test_the_numbers_of_a_run_are_those_of_its_line_in_the_log(page):
    log = REPORT.read_text(encoding="utf-8").partition("## Experiment log")[2]
    logged = {
        cells[0]: cells for line in log.splitlines() if (cells := cells_of(line)) and cells[0].startswith("runs/")
    }
    assert len(logged) > 10
    num_checked = 0
    for mark in re.findall(r"<!-- runs: [a-z-]+ -->", page):
        for variant, loss, *_, run in rows_after(page, mark):
            assert run.split("/")[-2] == variant.strip("*")
            assert loss in (logged[run][2], "diverged")
            assert loss != "diverged" or "diverged" in logged[run]
            num_checked += 1
    assert num_checked > 4


def test_the_golden_counts_are_those_that_are_checked(page):
    rows = rows_after(page, "checks to the token:\n\n")
    assert len(rows) == len(GOLDEN_FILES)
    for (title, documents, tokens, ratio), file in zip(rows, GOLDEN_FILES, strict=True):
        vocab_size = 10_000 if "TinyStories" in file.name else 32_000
        assert title == f"{file.name} ({vocab_size:,})"
        assert documents == f"{file.num_documents:,}"
        assert tokens == f"{file.num_tokens[vocab_size]:,}"
        assert ratio == f"{file.num_bytes / file.num_tokens[vocab_size]:.4f}"
        assert vocab_size in TRAINED_ON
