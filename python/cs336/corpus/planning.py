"""What a job is: inputs with their fingerprints, options, tasks. Written once; everything else follows from it."""

import dataclasses
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from cs336 import _bpe
from cs336.corpus.options import CorpusOptions
from cs336.inputs import Inputs, expand
from cs336.inputs.expand import InputFile
from cs336.settings import changed_keys, from_dict, to_dict
from cs336.shards import VERSION, checked_file, read_checked_file
from cs336.tokenizer import Tokenizer

PLAN = "plan.json"
TOKENIZER = "tokenizer.json"
_END_BYTES = 1 << 16
_MOST_FILES_IN_A_TASK = 1024


@dataclass(frozen=True, kw_only=True)
class PlannedInput:
    """An input as it was when it was planned.

    Attributes:
        name: an absolute path, or a URL.
        format: "text", "jsonl" or "parquet".
        compression: "none", "gzip" or "zstd".
        size_bytes: None if the server does not tell.
        stamp: changes when the file does.
        fingerprint: hash of the file or of its ends; empty for a URL.
    """

    name: str
    format: str
    compression: str
    size_bytes: int | None
    stamp: str
    fingerprint: str

    @property
    def file(self) -> InputFile:
        """The input as it is opened."""
        return InputFile(self.name, self.format, self.compression, self.size_bytes, self.stamp)  # type: ignore[arg-type]

    def check_unchanged(self, how: str | None) -> None:
        """Check that the input is still the one that was planned.

        Args:
            how: the kind of fingerprint; None to look at size and time alone.

        Raises:
            OSError: it is gone.
            ValueError: it has changed.
        """
        file = dataclasses.replace(self.file, **_size_and_stamp(self.name))
        now = dataclasses.replace(self, size_bytes=file.size_bytes, stamp=file.stamp)
        if how is not None and file.size_bytes == self.size_bytes:
            now = planned_input(file, how)
        for field, what in (("size_bytes", "size"), ("fingerprint", "content"), ("stamp", "time of change")):
            old, new = getattr(self, field), getattr(now, field)
            if old != new:
                raise ValueError(
                    f"{self.name} has changed since it was planned: its {what} was {old}, and is {new}; restore it, or "
                    "plan the corpus anew in another directory"
                )


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a task reads of an input: all of it, or the records that begin in a range of offsets."""

    input: int
    begin: int | None = None
    end: int | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A job. `run` does it, any number of processes may share it, and `verify` checks what came out.

    Attributes:
        directory: the corpus directory.
        options: how it is made.
        tokenizer_sha256: hash of the content of the tokenizer.
        vocab_size: of the tokenizer.
        eos_id: the id after each document.
        inputs: what is read.
        tasks: what is done, each by itself.
    """

    directory: Path
    options: CorpusOptions
    tokenizer_sha256: str
    vocab_size: int
    eos_id: int
    inputs: tuple[PlannedInput, ...]
    tasks: tuple[tuple[Part, ...], ...]

    @property
    def content(self) -> dict[str, Any]:
        """What the plan says, wherever it lies."""
        return {
            "version": VERSION,
            "tokenizer_sha256": self.tokenizer_sha256,
            "vocab_size": self.vocab_size,
            "eos_id": self.eos_id,
            "options": to_dict(self.options),
            "inputs": [dataclasses.asdict(planned) for planned in self.inputs],
            "tasks": [[dataclasses.asdict(part) for part in task] for task in self.tasks],
        }

    @cached_property
    def sha256(self) -> str:
        """Hash of what the plan says."""
        return hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, from the corpus directory.

        Raises:
            OSError: it cannot be read.
            ValueError: it is not the one that was planned with.
        """
        tokenizer = Tokenizer.load(self.directory / TOKENIZER)
        if tokenizer.sha256 != self.tokenizer_sha256:
            raise ValueError(f"{self.directory / TOKENIZER} is not the tokenizer that the corpus was planned with")
        return tokenizer

    @property
    def stage(self) -> Path:
        """Where tasks write: beside the shards, if those are yet to be made by shuffling."""
        return self.directory if self.options.shuffle_seed is None else self.directory / "unshuffled"

    @property
    def dtype(self) -> str:
        """Of the ids: the narrower type if every id of the vocabulary fits."""
        return "uint16" if self.vocab_size <= 1 << 16 else "uint32"

    def part_bytes(self, part: Part) -> int:
        """Return how much of an input a part is, as far as that is known."""
        if part.begin is not None and part.end is not None:
            return part.end - part.begin
        return self.inputs[part.input].size_bytes or 0

    def task_bytes(self, task: int) -> int:
        """Return the size of a task's inputs."""
        return sum(self.part_bytes(part) for part in self.tasks[task])

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Self:
        """Read the plan of a corpus directory.

        Raises:
            OSError: there is none.
            ValueError: it is damaged.
        """
        path = Path(directory)
        path = path if path.is_dir() or path.name != PLAN else path.parent
        tree = read_checked_file(path / PLAN)
        try:
            return cls(
                directory=path,
                options=from_dict(CorpusOptions, tree["options"], source=str(path / PLAN)),
                tokenizer_sha256=str(tree["tokenizer_sha256"]),
                vocab_size=int(tree["vocab_size"]),
                eos_id=int(tree["eos_id"]),
                inputs=tuple(from_dict(PlannedInput, item, source=str(path / PLAN)) for item in tree["inputs"]),
                tasks=tuple(
                    tuple(from_dict(Part, part, source=str(path / PLAN)) for part in task) for task in tree["tasks"]
                ),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path / PLAN} is not the plan of a corpus: {error}") from error


def plan(
    inputs: Inputs,
    *,
    tokenizer: Tokenizer | str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: CorpusOptions | None = None,
    dry_run: bool = False,
    **changes: Any,
) -> Plan:
    """Plan a corpus and write the plan into its directory; what is there already must be the same plan.

    Args:
        inputs: a path, pattern, directory or URL, or a list of them; see `cs336.inputs.expand`.
        tokenizer: the tokenizer, or its file.
        out: the corpus directory; made if need be.
        options: how the corpus is made.
        dry_run: write nothing.
        changes: options by name, laid over `options`.

    Raises:
        OSError: an input cannot be read, or the directory cannot be written.
        ValueError: the options contradict themselves or the inputs, or the directory holds another plan; says what
            differs.
    """
    options = dataclasses.replace(options or CorpusOptions(), **changes)
    content = None
    if not isinstance(tokenizer, Tokenizer):
        content = _content_of_json(Path(tokenizer))
        tokenizer = Tokenizer.load(tokenizer)
    files = expand(inputs, format=None if options.format == "auto" else options.format)
    _check_formats(files, options)
    planned = tuple(planned_input(file, options.fingerprint) for file in files)
    new = Plan(
        directory=Path(out),
        options=options,
        tokenizer_sha256=tokenizer.sha256,
        vocab_size=tokenizer.vocab_size,
        eos_id=options.eos_id(tokenizer),
        inputs=planned,
        tasks=tuple(_tasks(planned, options)),
    )
    if (new.directory / PLAN).exists():
        _check_same(Plan.load(new.directory), new)
    elif not dry_run:
        # What is known to be the same as what was written need not be read again.
        new.__dict__["tokenizer"] = _write(new, tokenizer, content)
    return new


def check_is_planned(plan: Plan) -> None:
    """Check that a corpus directory still holds this plan: two that were made at the same moment both believe so.

    Raises:
        OSError: there is none.
        ValueError: it is another one.
    """
    _check_same(Plan.load(plan.directory), plan)


def planned_input(file: InputFile, how: str) -> PlannedInput:
    """Take an input's fingerprint.

    Raises:
        OSError: it cannot be read.
    """
    name = file.name if file.is_remote else os.path.abspath(file.name)  # noqa: PTH100  (symbolic links stay)
    fingerprint = ""
    if not file.is_remote and file.size_bytes is not None:
        fingerprint = _bpe.hash_file(name)[1] if how == "full" else _hash_of_ends(name)
    return PlannedInput(
        name=name,
        format=file.format,
        compression=file.compression,
        size_bytes=file.size_bytes,
        stamp=file.stamp,
        fingerprint=fingerprint,
    )


def _hash_of_ends(name: str) -> str:
    with open(name, "rb") as file:  # noqa: PTH123
        digest = hashlib.sha256(file.read(_END_BYTES))
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END_BYTES))
        digest.update(file.read(_END_BYTES))
    return digest.hexdigest()


def _size_and_stamp(name: str) -> Mapping[str, Any]:
    found = expand([name], otherwise="text")[0]
    return {"size_bytes": found.size_bytes, "stamp": found.stamp}


def _check_formats(files: Sequence[InputFile], options: CorpusOptions) -> None:
    for file in files:
        if file.format == "text" and options.separator is None and not options.whole_files:
            raise ValueError(
                f"{file.name} is text: say what stands between its documents (separator, such as '<|endoftext|>'), or "
                "that each file is one (whole_files)"
            )
        if not file.is_remote and file.size_bytes is None:
            raise ValueError(f"{file.name} is no regular file, and could be read only once; write it to disk first")


def _tasks(inputs: Sequence[PlannedInput], options: CorpusOptions) -> Iterator[tuple[Part, ...]]:
    """Large inputs by themselves, in ranges where they can be cut; small neighbours together."""
    group: list[Part] = []
    group_bytes = 0
    for index, planned in enumerate(inputs):
        size_bytes = planned.size_bytes if planned.size_bytes is not None else options.task_bytes
        is_full = group_bytes + size_bytes > options.task_bytes or len(group) == _MOST_FILES_IN_A_TASK
        if group and (is_full or _needs_a_pipe(planned) or _needs_a_pipe(inputs[index - 1])):
            yield tuple(group)
            group, group_bytes = [], 0
        if size_bytes > options.task_bytes and _can_be_cut(planned, options):
            for begin in range(0, size_bytes, options.task_bytes):
                yield (Part(input=index, begin=begin, end=min(size_bytes, begin + options.task_bytes)),)
            continue
        group.append(Part(input=index))
        group_bytes += size_bytes
    if group:
        yield tuple(group)


def _needs_a_pipe(planned: PlannedInput) -> bool:
    """Whether reading it takes a thread and a pipe, of which a task should not open many."""
    return planned.format == "parquet" or planned.file.is_remote


def _can_be_cut(planned: PlannedInput, options: CorpusOptions) -> bool:
    if planned.compression != "none" or planned.file.is_remote:
        return False
    if planned.format != "text":
        return planned.format == "jsonl"
    separator = (options.separator or "").encode()
    overlaps = any(separator.endswith(separator[:length]) for length in range(1, len(separator)))
    return bool(separator) and not overlaps


def _check_same(old: Plan, new: Plan) -> None:
    """Refuse to go on with something else.

    Raises:
        ValueError: the plans differ; says how.
    """
    if old.sha256 == new.sha256:
        return
    differences = [f"{key} was {a!r}, now {b!r}" for key, (a, b) in changed_keys(old.options, new.options).items()]
    for name in ("tokenizer_sha256", "vocab_size", "eos_id"):
        if getattr(old, name) != getattr(new, name):
            differences.append(f"{name} was {getattr(old, name)}, now {getattr(new, name)}")
    before, after = ({planned.name: planned for planned in each.inputs} for each in (old, new))
    differences += [f"input {name} is new" for name in after if name not in before]
    differences += [f"input {name} is missing" for name in before if name not in after]
    differences += [f"input {name} has changed" for name in after if name in before and before[name] != after[name]]
    if before == after and list(before) != list(after):
        differences.append("the inputs are in another order")
    raise ValueError(
        f"{new.directory} holds a corpus that was planned otherwise: {'; '.join(differences) or 'its tasks differ'}; "
        "go on as it was planned, or choose another directory"
    )


def _content_of_json(path: Path) -> bytes | None:
    """The content of a tokenizer.json, which can be kept as it is; other files of a tokenizer are converted."""
    return path.read_bytes() if path.name == TOKENIZER and path.is_file() else None


def _write(new: Plan, tokenizer: Tokenizer, content: bytes | None) -> Tokenizer:
    directory = new.directory
    directory.mkdir(parents=True, exist_ok=True)
    others = sorted(entry.name for entry in directory.iterdir() if entry.name not in {TOKENIZER, "locks"})
    others = [name for name in others if ".tmp." not in name]
    if others:
        raise FileExistsError(
            errno.EEXIST, f"it holds {others[0]} and no plan; choose a directory that is empty or new", str(directory)
        )
    if content is not None:
        _bpe.write_file(directory / TOKENIZER, content)
        kept = tokenizer
    else:
        tokenizer.save(directory / TOKENIZER, format="tokenizer.json")
        kept = Tokenizer.load(directory / TOKENIZER)
        if kept.sha256 != tokenizer.sha256:
            raise ValueError("this tokenizer cannot be kept in a tokenizer.json as it is, which a corpus needs")
    _bpe.write_file(directory / PLAN, checked_file(new.content))
    return kept
