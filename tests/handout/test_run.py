import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.py")


def run(*arguments):
    return subprocess.run([sys.executable, RUN, *arguments], capture_output=True, text=True, check=False)


def write_suite(folder, test):
    (folder / "tests").mkdir()
    (folder / "tests" / "__init__.py").write_text("")
    (folder / "tests" / "adapters.py").write_text("def get_adamw_cls(): raise NotImplementedError\n")
    (folder / "tests" / "test_it.py").write_text(f"from .adapters import get_adamw_cls\ndef test_it():\n    {test}\n")
    return folder


@pytest.mark.parametrize(("test", "code"), [("assert get_adamw_cls().__name__ == 'AdamW'", 0), ("assert False", 1)])
def test_our_adapters_take_the_place_of_the_suites_and_the_exit_code_is_passed_on(tmp_path, test, code):
    suite = write_suite(tmp_path, test)
    before = (suite / "tests" / "adapters.py").read_text()
    done = run(suite, "-p", "no:cacheprovider")
    assert done.returncode == code, done.stdout
    assert (suite / "tests" / "adapters.py").read_text() == before


def test_a_path_without_a_suite_is_refused(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path} is no checkout of the course's suite: it has no tests/adapters.py\n"


def test_a_missing_path_is_asked_for():
    done = run()
    assert done.returncode == 2
    assert "make handout SUITE=" in done.stderr
