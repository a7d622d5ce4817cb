import shutil
import subprocess
from pathlib import Path

import pytest

from cs336.train import provenance
from cs336.train.provenance import code_version, uncommitted_changes


def test_the_commit_is_that_of_the_packages_own_checkout(tmp_path: Path) -> None:
    (tmp_path / ".git" / "refs").mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/main\n")
    (tmp_path / ".git" / "refs" / "main").write_text("abc\n")
    (tmp_path / "venv").mkdir()
    assert provenance._commit_without_git(tmp_path) == "abc"
    assert provenance._commit_without_git(tmp_path / "venv") is None
    (tmp_path / ".git" / "refs" / "main").unlink()
    (tmp_path / ".git" / "packed-refs").write_text("# pack-refs\nabd refs/main\n")
    assert provenance._commit_without_git(tmp_path) == "abd"
    (tmp_path / ".git" / "HEAD").write_text("abe\n")
    assert provenance._commit_without_git(tmp_path) == "abe"


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_what_is_not_committed_is_named_and_can_be_applied_again(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "code.py").write_text("old\n")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-m", "first")
    assert code_version(tmp_path)["uncommitted"] == []
    assert uncommitted_changes(tmp_path) == b""
    (tmp_path / "code.py").write_text("new\n")
    (tmp_path / "more code.py").write_text("more\n")
    version = code_version(tmp_path)
    assert version["uncommitted"] == ["code.py", "more code.py"]
    assert version["commit"] == provenance._commit_without_git(tmp_path)
    (tmp_path / "p.patch").write_bytes(uncommitted_changes(tmp_path))
    git(tmp_path, "checkout", "code.py")
    git(tmp_path, "apply", "p.patch")
    assert (tmp_path / "code.py").read_text() == "new\n"


def test_an_installed_package_has_no_commit(tmp_path: Path) -> None:
    version = code_version(tmp_path)
    assert (version["commit"], version["uncommitted"]) == (None, None)
    assert uncommitted_changes(tmp_path) == b""
