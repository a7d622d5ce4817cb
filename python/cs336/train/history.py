"""The runs that there are: what each was, how it stands or ended, and in what they differ."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs336.settings import flatten
from cs336.train.runlog import is_being_written, read_metrics

NOTE_MARK = "note:"


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A run directory in short.

    Attributes:
        path: The run directory.
        status: As in `TrainResult`; `running` while a process writes to it, `lost` if one ended without a word.
        step: Optimizer steps taken, by the last record.
        num_steps: Those of the whole run.
        num_tokens: Tokens trained on.
        train_loss: The last recorded one.
        valid_loss: The last one.
        best_valid_loss: The lowest one.
        bits_per_byte: The last one.
        tokens_per_s: The last recorded training speed.
        elapsed_s: Wall clock by the last record, over all resumptions.
        started: Time of the first start.
        commit: Of the code; with `+` if files were not as committed.
        machine: Host, processor or GPU, number of ranks.
        notes: What people wrote about it.
        facts: All of `run.json`.
    """

    path: Path
    status: str
    step: int
    num_steps: int | None
    num_tokens: int
    train_loss: float | None
    valid_loss: float | None
    best_valid_loss: float | None
    bits_per_byte: float | None
    tokens_per_s: float | None
    elapsed_s: float
    started: str | None
    commit: str | None
    machine: str
    notes: tuple[str, ...]
    facts: dict[str, Any]


def find_runs(*places: Path) -> list[RunSummary]:
    """Return the runs in and below some directories, the latest start last.

    Raises:
        FileNotFoundError: A place does not exist.
        ValueError: A run's files are damaged.
    """
    found: set[Path] = set()
    for place in places:
        if not place.exists():
            raise FileNotFoundError(2, "no such directory", str(place))
        found |= {file.parent for file in place.rglob("run.json")}
    return sorted((read_run(path) for path in found), key=lambda run: (run.started or "", str(run.path)))


def read_run(run_dir: str | Path) -> RunSummary:
    """Read a run directory, whether its run has ended or not.

    Raises:
        OSError: It is no run directory, or cannot be read.
        ValueError: One of its files is damaged.
    """
    path = Path(run_dir)
    try:
        facts = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path / 'run.json'} is damaged: {error}") from error
    records = read_metrics(path) if (path / "metrics.jsonl").exists() else []
    by_kind = {record["kind"]: record for record in records}
    last, train, valid = records[-1] if records else {}, by_kind.get("train", {}), by_kind.get("valid", {})
    valid_losses = [float(record["loss"]) for record in records if record["kind"] == "valid"]
    result = facts.get("result") or {}
    return RunSummary(
        path=path,
        status=_status(path, result),
        step=int(result.get("step", last.get("step", 0))),
        num_steps=_num_steps(facts.get("config", {})),
        num_tokens=int(result.get("num_tokens", last.get("tokens", 0))),
        train_loss=_number(train.get("loss")),
        valid_loss=_number(valid.get("loss")),
        best_valid_loss=min(valid_losses, default=None),
        bits_per_byte=_number(valid.get("bits_per_byte")),
        tokens_per_s=_number(result.get("tokens_per_s", train.get("tokens_per_s"))),
        elapsed_s=float(result.get("elapsed_s", last.get("elapsed_s", 0.0))),
        started=facts.get("started"),
        commit=_commit(facts.get("code", {})),
        machine=_machine(facts),
        notes=_notes(path),
        facts=facts,
    )


def config_differences(runs: Sequence[RunSummary]) -> dict[str, tuple[Any, ...]]:
    """Return the dotted keys in which the configs differ, with each run's value; None where a run lacks the key."""
    configs = [flatten(run.facts.get("config", {})) for run in runs]
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = {key: tuple(config.get(key) for config in configs) for key in keys if key != "run_dir"}
    return {key: values for key, values in rows.items() if any(value != values[0] for value in values)}


def add_note(run_dir: str | Path, text: str, *, time: str) -> None:
    """Write what somebody has to say about a run into its `notes.log`.

    Raises:
        OSError: It is no run directory, or cannot be written.
        ValueError: The text is empty.
    """
    line = " ".join(text.split())
    if not line:
        raise ValueError("the note is empty; say something about the run")
    path = Path(run_dir)
    (path / "run.json").stat()
    with (path / "notes.log").open("a", encoding="utf-8") as file:
        file.write(f"{time} {NOTE_MARK} {line}\n")


def _status(path: Path, result: dict[str, Any]) -> str:
    if result:
        return str(result["status"])
    return "running" if is_being_written(path) else "lost"


def _num_steps(config: dict[str, Any]) -> int | None:
    if config.get("steps") is not None:
        return int(config["steps"])
    if config.get("tokens") is None:
        return None
    return -(-int(config["tokens"]) // int(config["batch_size"] * config["model"]["context_length"]))


def _commit(code: dict[str, Any]) -> str | None:
    commit = code.get("commit")
    return None if commit is None else f"{commit[:9]}{'+' if code.get('uncommitted') else ''}"


def _machine(facts: dict[str, Any]) -> str:
    machine = facts.get("machine", {})
    num_ranks = facts.get("num_ranks", 1)
    device = machine.get("gpu") if str(facts.get("device", "")).startswith("cuda") else machine.get("processor")
    ranks = f" x {num_ranks}" if num_ranks > 1 else ""
    return f"{machine.get('host', '?')}: {device or '?'}{ranks}, {facts.get('precision', '?')}"


def _notes(path: Path) -> tuple[str, ...]:
    if not (path / "notes.log").exists():
        return ()
    lines = (path / "notes.log").read_text(encoding="utf-8").splitlines()
    marked = (line.partition(f" {NOTE_MARK} ") for line in lines)
    return tuple(text for _, mark, text in marked if mark)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
