"""`cs336 corpus plan | run | verify`; `convert`, `report` and `slurm` from their own file."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import Positional

from cs336.cli.converting import ConvertTokens, PrintSlurm, ReportCorpus
from cs336.cli.display import Watcher, print_result, watch
from cs336.cli.exit import ExitCode, UsageError
from cs336.corpus.options import CorpusOptions

if TYPE_CHECKING:
    from cs336.corpus import Plan, Progress, RunResult


@dataclass(frozen=True, kw_only=True)
class PlanCorpus:
    """Write down what a corpus is to be made of, for `run --plan`, here or on many machines.

    Attributes:
        inputs: Files, directories, patterns or URLs: .txt, .jsonl (also .gz, .zst), .parquet.
        tokenizer: tokenizer.json, or another file or directory of a tokenizer.
        out: The corpus directory.
        options: How the corpus is made.
        dry_run: Write nothing.
        json: Print the result as JSON.
    """

    inputs: Positional[tuple[str, ...]]
    tokenizer: Path
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    options: CorpusOptions = dataclasses.field(default_factory=CorpusOptions)
    dry_run: bool = False
    json: bool = False

    def run(self) -> int:
        """Plan and print what was planned."""
        from cs336.corpus import plan

        if not self.inputs:
            raise UsageError("give at least one file, directory, pattern or URL")
        planned = plan(
            list(self.inputs), tokenizer=self.tokenizer, out=self.out, options=self.options, dry_run=self.dry_run
        )
        print_result(_plan_values(planned), as_json=self.json)
        return ExitCode.OK


@dataclass(frozen=True, kw_only=True)
class RunCorpus:
    """Turn files of documents into token shards, from wherever an earlier run was stopped.

    Every document and byte is accounted for. The same inputs and options give the same bytes for any number of threads,
    processes and interruptions. Exit codes: 0 done (the whole, or the share asked for), 1 failed (what is committed
    stays, and counts), 2 wrong usage, 130 and 143 stopped by SIGINT and SIGTERM: run it again to go on.

    Attributes:
        inputs: Files, directories, patterns or URLs: .txt, .jsonl (also .gz, .zst), .parquet.
        tokenizer: tokenizer.json, or another file or directory of a tokenizer.
        out: The corpus directory.
        plan: Instead of these: the corpus directory (or the plan.json in it) that `cs336 corpus plan` made.
        options: How the corpus is made; with --plan they are in the plan.
        task_index: Which share of the tasks to do, from 0, as of an array job.
        num_tasks: How many shares there are.
        executor: Where tasks run.
        threads: CPU threads; all cores by default. The result does not depend on it.
        dry_run: Tell what would be done, and write nothing.
        json: Print the result as JSON.
    """

    inputs: Positional[tuple[str, ...]] = ()
    tokenizer: Path | None = None
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    plan: Path | None = None
    options: CorpusOptions = dataclasses.field(default_factory=CorpusOptions)
    task_index: int = 0
    num_tasks: int = 1
    executor: str = "local"
    threads: int | None = None
    dry_run: bool = False
    json: bool = False

    def run(self) -> int:
        """Plan if need be, run, and print what came out."""
        from cs336.corpus import run

        planned = self._plan()
        if self.dry_run:
            print_result(_plan_values(planned), as_json=self.json)
            return ExitCode.OK
        with watch() as watcher:
            shown = _Shown(watcher)
            try:
                result = run(
                    planned,
                    executor=self.executor,
                    num_threads=self.threads,
                    task_index=self.task_index,
                    num_tasks=self.num_tasks,
                    progress=shown,
                )
            except KeyboardInterrupt:
                watcher.say("what is committed stays: run it again to go on")
                raise
        print_result(_result_values(planned, result, shown.last), as_json=self.json)
        return ExitCode.OK

    def _plan(self) -> "Plan":
        from cs336.corpus import Plan, plan

        if self.plan is not None:
            if self.inputs or self.tokenizer or self.out or self.options != CorpusOptions():
                raise UsageError("--plan has inputs, tokenizer, directory and options in it: give them or --plan")
            return Plan.load(self.plan)
        if not self.inputs or self.tokenizer is None or self.out is None:
            raise UsageError("give inputs, --tokenizer and --out, or --plan")
        return plan(
            list(self.inputs), tokenizer=self.tokenizer, out=self.out, options=self.options, dry_run=self.dry_run
        )


@dataclass(frozen=True, kw_only=True)
class VerifyCorpus:
    """Read every file of a finished corpus and compare it with the manifest. Exit code 1 if something is not as it was.

    Attributes:
        corpus: The corpus directory.
        inputs: Check, too, that the inputs are still there and unchanged.
        json: Print the result as JSON.
    """

    corpus: Positional[Path]
    inputs: bool = False
    json: bool = False

    def run(self) -> int:
        """Verify and print what was found."""
        from cs336.corpus import verify

        with watch() as watcher:
            found = verify(self.corpus, inputs=self.inputs, progress=watcher)
            for problem in found.problems if not self.json else ():
                watcher.say(problem)
        values = {"corpus": str(self.corpus), "shards": found.num_shards, "bytes": found.num_bytes}
        problems = list(found.problems) if self.json else len(found.problems)
        print_result(values | {"good": found.is_good, "problems": problems}, as_json=self.json)
        return ExitCode.OK if found.is_good else ExitCode.FAILURE


@dataclass(frozen=True, kw_only=True)
class CorpusGroup:
    """Turn files of documents into token shards, check them, show them, and carry them to and from other tools."""

    verb: (
        Annotated[PlanCorpus, tyro.conf.subcommand("plan")]
        | Annotated[RunCorpus, tyro.conf.subcommand("run")]
        | Annotated[VerifyCorpus, tyro.conf.subcommand("verify")]
        | Annotated[ConvertTokens, tyro.conf.subcommand("convert")]
        | Annotated[ReportCorpus, tyro.conf.subcommand("report")]
        | Annotated[PrintSlurm, tyro.conf.subcommand("slurm")]
    )

    def run(self) -> int:
        """Run the verb."""
        return self.verb.run()


class _Shown:
    """Shows the progress of a run and remembers it."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.last: Progress | None = None
        self._num_failures = 0

    def __call__(self, at: "Progress", /) -> None:
        if at.shuffled_bytes is not None:
            rate = at.shuffled_bytes / at.elapsed_s if at.elapsed_s else 0.0
            self._watcher("shuffle", at.shuffled_bytes, at.bytes_to_shuffle, note=f"{rate / 1e6:,.0f} MB/s")
            return
        self.last = at
        for failure in at.failures[self._num_failures :] if at.num_tasks > 1 else ():
            self._watcher.say(f"a task failed, the others go on: {failure}")
        self._num_failures = len(at.failures)
        rate = at.done_bytes / at.elapsed_s if at.elapsed_s else 0.0
        notes = [f"{rate / 1e6:,.0f} MB/s", f"{at.tokens:,} tokens"]
        if at.rejected:
            notes.append(f"{at.rejected:,} rejected")
        if rate and at.done_bytes < at.total_bytes:
            notes.append(f"{_duration((at.total_bytes - at.done_bytes) / rate)} left")
        self._watcher("corpus", at.done_bytes, at.total_bytes, note=", ".join(notes))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _plan_values(planned: "Plan") -> dict[str, Any]:
    sizes = [planned_input.size_bytes or 0 for planned_input in planned.inputs]
    return {
        "out": str(planned.directory),
        "inputs": len(planned.inputs),
        "input_bytes": sum(sizes),
        "tasks": len(planned.tasks),
        "dtype": planned.dtype,
        "vocab_size": planned.vocab_size,
        "eos_id": planned.eos_id,
        "plan_sha256": planned.sha256,
    }


def _result_values(planned: "Plan", result: "RunResult", last: "Progress | None") -> dict[str, Any]:
    totals = result.totals
    values: dict[str, Any] = {
        "out": str(result.directory),
        "finished": result.is_finished,
        "tasks": f"{result.done_tasks} of {result.num_tasks}",
    }
    if totals:
        values |= {
            "documents": totals["documents"],
            "rejected": totals["rejected"],
            **{f"rejected: {reason}": count for reason, count in result.rejected_by_reason.items()},
            "empty_documents": totals["empty_documents"],
            "repaired_documents": totals["repaired_documents"],
            "special_tokens_in_text": totals["special_tokens"],
            "train_tokens": totals["train_tokens"],
            "valid_tokens": totals["valid_tokens"],
            "text_bytes": totals["text_bytes"],
            "bytes_per_token": totals["text_bytes"] / max(1, totals["tokens"] - totals["documents"]),
            "dtype": planned.dtype,
        }
    if last is not None:
        values |= {"elapsed_s": last.elapsed_s, "input_bytes_per_s": last.done_bytes / max(last.elapsed_s, 1e-9)}
    return values
