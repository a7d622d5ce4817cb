"""Runs several tools on the same job, in turn, each time in a fresh process, and compares them.

A bench script defines for each tool a function that takes the parsed options, does what may not be timed, and returns
`job`, a function that does the timed work and returns its output, or a function that makes the output small enough to
compare. Fresh processes make every run a first run and give each tool its own peak memory; taking turns makes a drift
of the machine hit all alike. One thread means one core: a process is tied to as many cores as it may use threads.

A ratio is always "ours is N times as fast": their time over ours, of the same round, the median over the rounds. More
than 1 means that ours is faster.
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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

SEPARATOR = "<|endoftext|>"
OURS = "cs336"

Job = Callable[[], Any]
Runs = dict[str, list[dict[str, Any]]]


class UnsupportedError(Exception):
    """A tool has no way to do this job: it is left out of the comparison, and the table says why."""


def standard_library(size_bytes: int) -> str:
    """The source of this Python's standard library: real text that every machine has."""
    parts: list[str] = []
    size = 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if "site-packages" not in path.parts and size < size_bytes:
            parts.append(path.read_text(encoding="utf-8", errors="ignore"))
            size += len(parts[-1])
    return SEPARATOR.join(parts)


def part(source: Path | None, size_bytes: int, target: Path) -> Path:
    """The first `size_bytes` of a text, to the end of the line; None for the source of the standard library."""
    if source is None:
        target.write_text(standard_library(size_bytes), encoding="utf-8")
        return target
    with source.open("rb") as file:
        head = file.read(size_bytes)
        head += file.readline()  # whole characters and lines
    target.write_bytes(head)
    return target


def documents(path: Path) -> list[str]:
    """The texts between the separators."""
    return [text for text in path.read_text(encoding="utf-8").split(SEPARATOR) if text]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that every bench has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, nargs="+", help="UTF-8 files (default: the standard library's source)")
    parser.add_argument("--threads", type=int, nargs="+", help="(default: 1 and all cores)")
    parser.add_argument("--size-mb", type=float, default=20.0, help="how much of the text to use")
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="tools to run beside ours")
    parser.add_argument(
        "--slow-s", type=float, default=10.0, help="a tool whose first pass takes longer runs in one round only"
    )
    parser.add_argument("--patience-s", type=float, default=600.0, help="a process that takes longer is ended")
    parser.add_argument("--out", type=Path, help="a directory for NAME.md, NAME.json and the plot NAME.svg, NAME.png")
    parser.add_argument("--workdir", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser


def all_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work(prepare: Callable[[argparse.Namespace], Job], options: argparse.Namespace) -> None:
    """One run of one tool on one text, in its own process: prints the figures as JSON."""
    options.text, options.threads = options.text[0], options.threads[0]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    try:
        figures = timed(prepare, options)
    except (UnsupportedError, ImportError) as reason:
        figures = {"status": "not offered", "why": str(reason)}
    print(json.dumps(figures))


def timed(prepare: Callable[[argparse.Namespace], Job], options: argparse.Namespace) -> dict[str, Any]:
    """The figures of a first pass and of another."""
    start = time.perf_counter()
    job = prepare(options)
    prepared_s = time.perf_counter() - start
    before = reset_peak()
    start = time.perf_counter()
    output = job()
    first_s = time.perf_counter() - start
    peak = peak_bytes()
    details = dict(getattr(job, "details", {}))
    start = time.perf_counter()
    job()
    again_s = time.perf_counter() - start
    return {
        "status": "ok",
        "prepared_s": prepared_s,
        "first_s": first_s,
        "again_s": again_s,
        "peak_mb": peak / 1e6,
        "job_mb": (peak - before) / 1e6,
        "output": digest(output),
        **details,
    }


def reset_peak() -> int:
    """Forgets the peak of memory so far, where the system can, and tells how much is in use."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024
    except OSError:
        return peak_bytes()


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


def run_all(script: str, tools: Sequence[str], options: argparse.Namespace, case: Sequence[str]) -> Runs:
    """Every tool in turn, `--rounds` times. `case` tells the worker which job: `--text` and `--threads` at least.

    A tool that does not offer the job, fails or takes too long is out after its first try, a slow one after its first
    round: what it said is kept.
    """
    runs: Runs = {tool: [] for tool in tools}
    for round_number in range(options.rounds):
        for tool in tools:
            if not goes_on(runs[tool], options.slow_s):
                continue
            result = run_one(script, tool, options, case)
            shown = f"{result['first_s']:.3f} s" if result["status"] == "ok" else result["status"]
            print(f"round {round_number + 1}/{options.rounds}: {tool}: {shown}", file=sys.stderr)
            runs[tool].append(result)
    return runs


def goes_on(results: list[dict[str, Any]], slow_s: float) -> bool:
    return all(result["status"] == "ok" and result["first_s"] < slow_s for result in results)


def run_one(script: str, tool: str, options: argparse.Namespace, case: Sequence[str]) -> dict[str, Any]:
    """One fresh process."""
    num_threads = int(case[case.index("--threads") + 1])
    command = [sys.executable, script, *sys.argv[1:], *case, "--workdir", str(options.workdir), "--worker", tool]
    environment = {
        **os.environ,
        "TOKENIZERS_PARALLELISM": "true" if num_threads > 1 else "false",
        "RAYON_NUM_THREADS": str(num_threads),
    }
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=options.patience_s, env=environment
        )
    except subprocess.TimeoutExpired:
        return {"status": "timed out", "why": f"more than {options.patience_s:g} s"}
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"status": "failed", "why": lines[-1][:200]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def expect_ours(runs: Runs) -> None:
    """Ours must have done the job, and the same in every round.

    Raises:
        RuntimeError: it has not; says why.
    """
    for result in runs[OURS]:
        if result["status"] != "ok":
            raise RuntimeError(f"{OURS} did not do the job: {result['status']}, {result['why']}")
        if result["output"] != runs[OURS][0]["output"]:
            raise RuntimeError(f"{OURS} gave other output in another round")


def mark_wrong(runs: Runs, why: str) -> None:
    """Tools whose output is not ours are marked, never dropped: their times count for nothing."""
    right = runs[OURS][0]["output"]
    for results in runs.values():
        for result in results:
            if result["status"] == "ok" and result["output"] != right:
                result.update(status="wrong", why=why)


def summary(runs: Runs) -> dict[str, dict[str, Any]]:
    """Medians and ratios of each tool; the names of the keys say the units."""
    ours = runs[OURS]
    summaries: dict[str, dict[str, Any]] = {}
    for tool, results in runs.items():
        timed = [result for result in results if "first_s" in result]
        if not timed:
            summaries[tool] = {key: results[0][key] for key in ("status", "why")}
            continue
        summaries[tool] = {
            "status": results[-1]["status"],
            "why": results[-1].get("why", ""),
            "rounds": len(timed),
            "first_min_s": min(result["first_s"] for result in timed),
            "first_max_s": max(result["first_s"] for result in timed),
            **{key: median(timed, key) for key in ("first_s", "again_s", "prepared_s", "peak_mb", "job_mb")},
            **{
                f"ours_times_as_fast_{part}": statistics.median(
                    theirs[f"{part}_s"] / mine[f"{part}_s"] for theirs, mine in zip(timed, ours, strict=False)
                )
                for part in ("first", "again")
            },
        }
    return summaries


def median(results: list[dict[str, Any]], key: str) -> float:
    return statistics.median(result[key] for result in results)


def best_peer(summaries: dict[str, dict[str, Any]], part: str = "first") -> tuple[str, float] | None:
    """The fastest of the others whose output is right, and how many times as fast as it ours is."""
    key = f"ours_times_as_fast_{part}"
    ratios = {tool: one[key] for tool, one in summaries.items() if tool != OURS and one["status"] == "ok"}
    return min(ratios.items(), key=lambda item: item[1]) if ratios else None


def table(summaries: dict[str, dict[str, Any]], num_bytes: int) -> Iterator[str]:
    """A Markdown table, the fastest first."""
    yield (
        "| tool | first pass, MB/s | again, MB/s | first pass, s (min-max) | peak, MB | of it the job's, MB "
        "| ours is N times as fast: first pass | again | |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for tool, one in sorted(summaries.items(), key=lambda item: item[1].get("first_s", float("inf"))):
        if "first_s" not in one:
            yield f"| {tool} | - | - | - | - | - | - | - | {one['status']}: {escaped(one['why'])} |"
            continue
        note = f"**{one['status']}**: {escaped(one['why'])}" if one["status"] != "ok" else ""
        yield (
            f"| {tool} | {num_bytes / one['first_s'] / 1e6:.1f} | {num_bytes / one['again_s'] / 1e6:.1f} "
            f"| {one['first_s']:.3f} ({one['first_min_s']:.3f}-{one['first_max_s']:.3f}; {one['rounds']}) "
            f"| {one['peak_mb']:.0f} | {one['job_mb']:.0f} "
            f"| {one['ours_times_as_fast_first']:.2f} | {one['ours_times_as_fast_again']:.2f} | {note} |"
        )


def escaped(text: str) -> str:
    return text.replace("|", "\\|")


def machine() -> str:
    """What the figures were measured on."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), processor)
    return f"{processor}, {all_cores()} cores used at most, {platform.system()}, Python {platform.python_version()}"
