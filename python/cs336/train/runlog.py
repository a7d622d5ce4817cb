"""The directory of a run: what was run, what came of it, and one line for each thing measured on the way.

::

    run.json            config, code version, machine, data, tokenizer, start, end, result
    config.toml         the config, ready to run again
    metrics.jsonl       one JSON object a line, by kind: train, valid, sample, diverged
    notes.log           what happened when, for people
    uncommitted.patch   how the code differed from its commit, if it did
    tokenizer.json      the run's tokenizer, when the config names one
    curve.png           the losses over the steps
    checkpoints/        see `cs336.train.checkpoint`

Each line of `metrics.jsonl` reaches the operating system before the next step begins, so a killed process loses
none; a resumed run drops the lines that lie past its checkpoint and so ends with the lines of an undisturbed run.
"""

import contextlib
import json
import math
import os
import socket
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cs336.config import TrainConfig, changed_keys, load_config, to_dict, to_toml
from cs336.tokenizer import Tokenizer
from cs336.train.distributed import Ranks
from cs336.train.durable import write_file
from cs336.train.provenance import code_version, machine, now, uncommitted_changes

try:
    import fcntl
except ImportError:  # Windows has no such lock
    fcntl = None  # type: ignore[assignment]

Record = Mapping[str, Any]
"""One line of `metrics.jsonl`; `kind`, `step`, `tokens` and `elapsed_s` are always there."""

# what may differ between a run and its resumption without making it another run
FREE_KEYS = frozenset({"run_dir", "keep_checkpoints", "permanent_every", "parallel", "trackers"})
# what a record says about the machine and not about the model: no two runs agree in it
CLOCK_KEYS = frozenset({"elapsed_s", "tokens_per_s", "mfu", "memory_bytes"})


class RunLog:
    """Writer of one run directory, and the only one: a second process that opens it is refused.

    Raises:
        ValueError: the directory holds another run, or this one and `resume` is false.
        OSError: the directory cannot be written, or another process is writing to it.
    """

    def __init__(self, config: TrainConfig, *, resume: bool = False) -> None:
        self.run_dir = Path(config.run_dir)
        self._config = config
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.run_dir / ".lock")
        try:
            self.is_resumed = self._meet_earlier_run(resume=resume)
            if not self.is_resumed:
                write_file(self.run_dir / "config.toml", to_toml(config).encode())
        except BaseException:
            self.close()
            raise

    def _meet_earlier_run(self, *, resume: bool) -> bool:
        if not (self.run_dir / "config.toml").exists():
            return False
        changed = changed_keys(load_config(self.run_dir / "config.toml"), self._config)
        differences = [f"{key} was {old}, is {new}" for key, (old, new) in changed.items() if key not in FREE_KEYS]
        if differences:
            raise ValueError(
                f"{self.run_dir} holds a run with another config: {'; '.join(differences)}; "
                "choose another run_dir, or say that again (--set)"
            )
        if not resume:
            raise ValueError(f"{self.run_dir} holds this run already; resume it (--resume) or choose another run_dir")
        return True

    @property
    def metrics_path(self) -> Path:
        """The file of measurements, one JSON object a line."""
        return self.run_dir / "metrics.jsonl"

    def describe(self, **facts: Any) -> None:
        """Add facts to `run.json`."""
        path = self.run_dir / "run.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        write_file(path, (json.dumps(known | facts, indent=2) + "\n").encode())

    def start(self, *, tokenizer: Tokenizer | None, step: int, **facts: Any) -> None:
        """Write what is known when a run begins or goes on; a resumed one keeps its first start."""
        if tokenizer is not None:
            tokenizer.save(self.run_dir / "tokenizer.json")
        code = code_version()
        patch = uncommitted_changes() if code["uncommitted"] else b""
        if patch:
            write_file(self.run_dir / "uncommitted.patch", patch)
        begin = {"resumed": {"at": now(), "step": step}} if self.is_resumed else {"started": now()}
        self.describe(config=to_dict(self._config), code=code, machine=machine(), **begin, **facts, result=None)

    def end(self, result: Mapping[str, Any]) -> None:
        """Write what came of the run."""
        self.describe(ended=now(), result=result)
        self.note(f"{result['status']} at step {result['step']}")

    def record(self, values: Mapping[str, Any]) -> None:
        """Append one line to `metrics.jsonl`, with kind and step among its values."""
        finite = {key: value if _is_json_number(value) else str(value) for key, value in values.items()}
        _append_text(self.metrics_path, json.dumps(finite) + "\n")

    def note(self, text: str) -> None:
        """Append one line with the time to `notes.log`."""
        _append_text(self.run_dir / "notes.log", f"{now()} {text}\n")

    def rewind(self, step: int, *, done: Collection[str]) -> None:
        """Drop the records past `step`, and those at it whose kind its checkpoint does not count as done."""
        if not self.metrics_path.exists():
            return
        kept = [
            record
            for record in read_metrics(self.run_dir)
            if record["step"] < step or (record["step"] == step and record["kind"] in done)
        ]
        write_file(self.metrics_path, "".join(json.dumps(record) + "\n" for record in kept).encode())

    def sync(self) -> None:
        """Bring the measurements to the disk itself, so that a checkpoint never outlives its records."""
        if self.metrics_path.exists():
            with self.metrics_path.open("rb") as file:
                os.fsync(file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the next process write to the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class _SilentLog(RunLog):
    """The run directory for a rank that does not write to it."""

    def __init__(self, config: TrainConfig, *, is_resumed: bool) -> None:
        self.run_dir = Path(config.run_dir)
        self.is_resumed = is_resumed
        self._lock = None

    def describe(self, **facts: Any) -> None:
        pass

    def start(self, *, tokenizer: Tokenizer | None, step: int, **facts: Any) -> None:
        pass

    def end(self, result: Mapping[str, Any]) -> None:
        pass

    def record(self, values: Mapping[str, Any]) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def rewind(self, step: int, *, done: Collection[str]) -> None:
        pass

    def sync(self) -> None:
        pass


@contextlib.contextmanager
def open_log(config: TrainConfig, *, resume: bool, ranks: Ranks) -> Iterator[RunLog]:
    """Open the run directory: to write on the first rank, and with writes that do nothing on the others.

    Raises:
        ValueError, OSError: As `RunLog`, on all ranks.
    """
    log: RunLog | None = None

    def open_it() -> bool:
        nonlocal log
        log = RunLog(config, resume=resume)
        return log.is_resumed

    is_resumed = ranks.from_first(open_it)
    with log or _SilentLog(config, is_resumed=is_resumed) as opened:
        yield opened


def read_metrics(run_dir: str | Path) -> list[dict[str, Any]]:
    """Read the records of a run; a last line that was cut off by a crash is left out.

    Raises:
        FileNotFoundError: the directory holds no `metrics.jsonl`.
        ValueError: a line in the middle is damaged; names file and line.
    """
    return list(_read_records(Path(run_dir) / "metrics.jsonl"))


def _read_records(path: Path) -> Iterator[dict[str, Any]]:
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or not isinstance(record.get("step"), int) or "kind" not in record:
                raise ValueError("not a record with kind and step")
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: damaged record: {error}") from error
        yield record


def _append_text(path: Path, text: str) -> None:
    """Append to a file and hand the text to the operating system at once.

    Raises:
        OSError: with the path, also when the disk is full.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _is_json_number(value: object) -> bool:
    """JSON knows no NaN and no infinity; they are written as strings, which Python's float() reads."""
    return not isinstance(value, float) or math.isfinite(value)


def is_being_written(run_dir: str | Path) -> bool:
    """Return whether a process on this machine writes to a run directory now."""
    if fcntl is None:
        return False
    try:
        descriptor = os.open(Path(run_dir) / ".lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock(path: Path) -> int | None:
    """Take the directory for this process; the operating system gives it back however the process ends."""
    if fcntl is None:
        return None
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 200).decode(errors="replace").strip()
        os.close(descriptor)
        raise OSError(
            error.errno, f"another process is writing to this run directory ({holder})", str(path.parent)
        ) from error
    except OSError as error:
        os.close(descriptor)
        raise OSError(error.errno, f"cannot lock the run directory ({error.strerror})", str(path)) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"host {socket.gethostname()}, pid {os.getpid()}\n".encode())
    return descriptor
