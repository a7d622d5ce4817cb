"""`cs336 report`, and the verbs of `cs336 experiments` that run studies."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from cs336.cli.display import print_result, watch
from cs336.cli.exit import ExitCode, UsageError, signal_exit_code
from cs336.cli.sweep import show_run


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write tables and learning curves of runs and sweeps as Markdown with SVG files, and as one HTML page.

    The page needs no other file and reads on a phone as well as in print. Curves are drawn over steps, tokens and wall
    clock; the log at the end has every run's settings, code, machine, time, result and notes.

    Attributes:
        places: Run directories, directories of sweeps, or directories above them.
        out: Directory to write report.html, report.md and its figures into.
        title: Headline; an answer sheet has one of its own.
        lead: Sentences to begin with, such as what machine the runs were made on.
        json: Print where they are as JSON.
    """

    places: Positional[tuple[Path, ...]]
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("report")
    title: str | None = None
    lead: tuple[str, ...] = ()
    json: bool = False

    def run(self) -> int:
        """Read the runs and write the report."""
        from cs336.experiments.report import write_report

        if not self.places:
            raise UsageError("name the directories of the runs to report on, such as runs/")
        print_result(write_report(self.places, self.out, title=self.title, lead=self.lead), as_json=self.json)
        return ExitCode.OK


@dataclass(frozen=True, kw_only=True)
class ToySGD:
    """The handout's toy of SGD: ten steps on the mean square of 100 weights at several rates.

    Attributes:
        rates: Learning rates.
        steps: Steps to make.
        seed: Determines the weights.
    """

    rates: Positional[tuple[float, ...]] = (1.0, 10.0, 100.0, 1000.0)
    steps: int = 10
    seed: int = 0

    def run(self) -> int:
        """Print the losses as a table."""
        from cs336.experiments.table import markdown
        from cs336.experiments.toy_sgd import toy_table

        header = ("steps made", *(f"lr {rate:g}" for rate in self.rates))
        sys.stdout.write(markdown(header, toy_table(self.rates, num_steps=self.steps, seed=self.seed)))
        return ExitCode.OK


@dataclass(frozen=True, kw_only=True)
class StudyGeneration:
    """Let a trained model write at several temperatures and top-p; measure what spoils fluency, beside held-out text.

    Attributes:
        run_dir: A run directory of `cs336 train`.
        temperatures: 0 takes the likeliest token.
        top_ps: 1 leaves all tokens.
        texts: Texts a setting.
        max_new_tokens: Most tokens of a text.
        seed: Makes the draws repeatable.
    """

    run_dir: Positional[Path]
    temperatures: tuple[float, ...] = (0.0, 0.5, 0.8, 1.0, 1.3)
    top_ps: tuple[float, ...] = (1.0, 0.9)
    texts: int = 16
    max_new_tokens: int = 256
    seed: int = 0

    def run(self) -> int:
        """Write, measure, and print a table, findings and samples."""
        from cs336.experiments.generation_study import HEADER, GenerationConfig, cells, study_generation, words
        from cs336.experiments.table import markdown

        config = GenerationConfig(
            temperatures=self.temperatures,
            top_ps=self.top_ps,
            num_texts=self.texts,
            max_new_tokens=self.max_new_tokens,
            seed=self.seed,
        )
        writings = study_generation(self.run_dir, config)
        sys.stdout.write(markdown(HEADER, cells(writings)) + "\n")
        sys.stdout.write("".join(f"- {sentence}\n" for sentence in words(writings)))
        for writing in writings:
            sys.stdout.write(f"\n=== {writing.name} ===\n{writing.sample}\n")
        return ExitCode.OK


@dataclass(frozen=True, kw_only=True)
class AllExperiments:
    """Every experiment of the course from corpus to report: call it again with the same words to go on.

    Without texts the corpora are the source of Python's standard library and the C++ headers that PyTorch brings.

    Attributes:
        preset: smoke takes about a minute, cpu about two hours on two cores, gpu is the course's full size.
        out: Directory for everything; the default is runs/all-PRESET.
        text: Training text of the first corpus (or several files, of whose documents some are held out).
        valid: Held-out text of the first corpus.
        second_text: Training text of the second, harder corpus, or several files.
        second_valid: Held-out text of the second corpus.
        minutes: Wall clock for all runs together, instead of the preset's; each gets its share as tokens.
        only: Do these sweeps only, of learning-rate (which comes first in any case), batch-size, batch-size-steps,
            ablations, best and main-experiment. If a call for more has gone before, its budget holds.
        set_: Override a setting of every run; can be repeated.
    """

    preset: Literal["smoke", "cpu", "gpu"] = "smoke"
    out: Path | None = None
    text: tuple[Path, ...] = ()
    valid: Path | None = None
    second_text: tuple[Path, ...] = ()
    second_valid: Path | None = None
    minutes: float | None = None
    only: tuple[str, ...] = ()
    set_: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE"), tyro.conf.UseAppendAction] = ()

    def run(self) -> int:
        """Do all that is not done, and print where the report is."""
        from cs336.experiments.answer_sheet import SWEEPS, AnswerSheet, SheetConfig
        from cs336.experiments.executors import InterruptedSweepError, InTurn

        config = SheetConfig(
            preset=self.preset,
            out=self.out or Path("runs") / f"all-{self.preset}",
            text=self.text,
            valid=self.valid,
            second_text=self.second_text,
            second_valid=self.second_valid,
            minutes=self.minutes,
            sweeps=tuple(dict.fromkeys(("learning-rate", *self.only))) if self.only else SWEEPS,
            overrides=self.set_,
        )
        say = watch().say
        try:
            paths = AnswerSheet(config=config, execute=InTurn(show=show_run), say=lambda text: say(f"▸ {text}")).run()
        except InterruptedSweepError as stop:
            sys.stderr.write(f"{stop}: {shlex.join(['cs336', *sys.argv[1:]])}\n")
            return signal_exit_code(stop.signal)
        print_result(paths, as_json=False)
        return ExitCode.OK
