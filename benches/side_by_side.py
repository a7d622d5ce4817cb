"""Runs several tools on the same job, in turn, each time in a fresh process, and compares them.

A bench script defines `CASES`, functions by the name of a tool. Each takes the parsed options, does what may not be
timed, and returns `job`, a function that does the timed work and returns a digest of its output. Fresh processes make
every run a first run and give each tool its own peak memory; taking turns makes a drift of the machine hit all alike.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SEPARATOR = "<|endoftext|>"

Job = Callable[[], Any]


def standard_library(size_bytes: int) -> str:
    """The source of this Python's standard library: real text that every machine has."""
    parts: list[str] = []
    size = 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if "site-packages" not in path.parts and size < size_bytes:
            parts.append(path.read_text(encoding="utf-8", errors="ignore"))
            size += len(parts[-1])
    return SEPARATOR.join(parts)


def corpus(options: argparse.Namespace) -> Path:
    """The file to work on: `--text`, cut after the first document past `--size-mb`, or the standard library."""
    size_bytes = int(options.size_mb * 1e6)
    if options.text is not None and options.text.stat().st_size <= size_bytes:
        return Path(options.text)
    target = Path(options.workdir) / "corpus.txt"
    if options.text is None:
        target.write_text(standard_library(size_bytes), encoding="utf-8")
        return target
    with options.text.open("rb") as source:
        head = source.read(size_bytes)
        head += source.readline()  # whole characters and lines
    target.write_bytes(head)
    return target


def documents(path: Path) -> list[str]:
    """The texts between the separators."""
    return [text for text in path.read_text(encoding="utf-8").split(SEPARATOR) if text]


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every bench has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--text", type=Path, help="a UTF-8 text file (default: the source of the standard library)")
    parser.add_argument("--size-mb", type=float, default=20.0, help="how much of the text to use")
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="tools to run beside ours")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    parser.add_argument("--workdir", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser


def work(prepare: Callable[[argparse.Namespace], Job], options: argparse.Namespace) -> None:
    """One run of one tool, in its own process: prints the figures as JSON."""
    job = prepare(options)
    start = time.perf_counter()
    output = job()
    first = time.perf_counter() - start
    peak = peak_bytes()
    start = time.perf_counter()
    job()
    again = time.perf_counter() - start
    figures = {"first_s": first, "again_s": again, "peak_mb": peak / 1e6, "output": digest(output)}
    print(json.dumps({**figures, **getattr(job, "details", {})}))


def peak_bytes() -> int:
    """The most memory that this process has had mapped at a time, pages of files among it."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux hands the maximum that getrusage tells on from a parent to its children
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def digest(output: Any) -> Any:
    """What is compared; a job returns something small, or a function that makes it small outside the timing."""
    return output() if callable(output) else output


def run_all(script: str, tools: list[str], options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Every tool in turn, `--rounds` times."""
    runs: dict[str, list[dict[str, Any]]] = {tool: [] for tool in tools}
    for round_number in range(options.rounds):
        for tool in tools:
            print(f"round {round_number + 1}/{options.rounds}: {tool}", file=sys.stderr)
            result = subprocess.run(
                [sys.executable, script, *sys.argv[1:], "--workdir", str(options.workdir), "--worker", tool],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env={
                    **os.environ,
                    "TOKENIZERS_PARALLELISM": "true" if options.threads > 1 else "false",
                    "RAYON_NUM_THREADS": str(options.threads),
                },
            )
            runs[tool].append(json.loads(result.stdout.splitlines()[-1]))
    return runs


def table(runs: dict[str, list[dict[str, Any]]], num_bytes: int) -> Iterator[str]:
    """Medians, spread and the ratio to ours, pair by pair, as a Markdown table."""
    yield "| tool | first pass, s (min-max) | MB/s | again, MB/s | peak, MB | ours is faster by |"
    yield "|---|---|---|---|---|---|"
    for tool, results in runs.items():
        first = [result["first_s"] for result in results]
        median = statistics.median(first)
        again = statistics.median(result["again_s"] for result in results)
        peak = statistics.median(result["peak_mb"] for result in results)
        ratio = statistics.median(other / ours["first_s"] for other, ours in zip(first, runs["cs336"], strict=True))
        yield (
            f"| {tool} | {median:.3f} ({min(first):.3f}-{max(first):.3f}) | {num_bytes / median / 1e6:.1f} "
            f"| {num_bytes / again / 1e6:.1f} | {peak:.0f} | {ratio:.2f} |"
        )


def report(title: str, runs: dict[str, list[dict[str, Any]]], path: Path, options: argparse.Namespace) -> None:
    """Prints the table under a line that says what was measured where."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), processor)
    print(
        f"\n{title}: {path.stat().st_size / 1e6:.1f} MB, vocabulary {options.vocab_size}, {options.threads} thread(s), "
        f"{options.rounds} rounds, {processor}, {os.cpu_count()} CPUs, Python {platform.python_version()}\n"
    )
    print("\n".join(table(runs, path.stat().st_size)))
    if options.json is not None:
        options.json.write_text(json.dumps({"title": title, "bytes": path.stat().st_size, "runs": runs}, indent=1))
