"""The fault table of docs/training.md and the tests that hold it name one another."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
TESTS = Path(__file__).with_name("test_faults.py")
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs the source tree")


def test_every_row_names_its_tests_and_every_test_its_row() -> None:
    rows = re.findall(r"^\| (\d+) \|.*\|(.*)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    named = {(number, test) for number, cell in rows for test in re.findall(r"`(test_\w+)`", cell)}
    found = re.findall(r"^def (test_row_(\d+)_\w+)\(", TESTS.read_text(encoding="utf-8"), re.MULTILINE)
    assert named == {(number, test) for test, number in found}
    assert {int(number) for number, _ in named} == set(range(23, 29))
