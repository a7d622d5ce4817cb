"""Where the numbers of a run come from: the time, the code with whatever is not committed, the machine."""

import datetime
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import cs336

_CHECKOUT = Path(__file__).parents[3]
_LARGEST_PATCH = 1 << 20  # more than this is data, not code


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the millisecond."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def code_version(root: Path = _CHECKOUT) -> dict[str, Any]:
    """Return the package's version and, in a checkout, the commit it stands at and the files that differ from it."""
    listing = _git(root, "status", "--porcelain=v2", "--branch", "-z")  # one call says both
    if listing is None:
        return {"cs336": cs336.__version__, "commit": _commit_without_git(root), "uncommitted": None}
    entries = [entry for entry in listing.decode(errors="replace").split("\0") if entry]
    commit = next((entry.split()[2] for entry in entries if entry.startswith("# branch.oid ")), None)
    return {"cs336": cs336.__version__, "commit": commit, "uncommitted": sorted(_changed_files(entries))}


def _changed_files(entries: list[str]) -> Iterator[str]:
    """Yield the paths of `git status --porcelain=v2`, which stand behind a fixed number of fields."""
    fields_before_path = {"1": 8, "2": 9, "u": 10, "?": 1}
    for entry in entries:
        count = fields_before_path.get(entry.split(" ", 1)[0])
        if count is not None:
            yield entry.split(" ", count)[count]


def uncommitted_changes(root: Path = _CHECKOUT) -> bytes:
    """Return the changes to committed files as a patch for `git apply`; nothing if there are none."""
    patch = _git(root, "diff", "HEAD", "--binary") or b""
    return patch if len(patch) <= _LARGEST_PATCH else b""


def _git(root: Path, *arguments: str) -> bytes | None:
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(root), "--no-optional-locks", *arguments]
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    return done.stdout if done.returncode == 0 else None


def machine() -> dict[str, Any]:
    """Return what a reader of the numbers wants to know about the machine."""
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "processor": _processor(),
        "num_cpus": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit_without_git(root: Path) -> str | None:
    """Return the commit of the checkout at `root`, not of one further up: an installed package may lie in another's."""
    git = root / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head
        ref = head.removeprefix("ref: ")
        loose = git / ref
        if loose.exists():
            return loose.read_text(encoding="utf-8").strip()
        packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {ref}")), None)
    except OSError:
        return None
