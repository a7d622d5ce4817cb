"""`cs336 experiments`."""

import dataclasses
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cs336.cli.display import print_result, watch
from cs336.cli.exit import ExitCode
from cs336.cli.studies import AllExperiments, StudyGeneration, ToySGD


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Make what recipes train on: a tokenizer, and token files of a training and a held-out text.

    Counts are compared with the known ones where the texts are the course's files. What is done is passed over.

    Attributes:
        train: UTF-8 text files, with <|endoftext|> between documents.
        valid: Held-out text files; without any, documents of the training text are held out by their hash.
        out: Directory for tokenizer.json, train.npy and valid.npy.
        vocab_size: Ids of the tokenizer.
        tokenizer: Use this tokenizer instead of training one.
        valid_share: Share of the documents held out if there is no held-out text.
        threads: Threads; all cores by default.
        json: Print the result as JSON.
    """

    train: tuple[Path, ...]
    valid: tuple[Path, ...] = ()
    out: Path
    vocab_size: int = 10_000
    tokenizer: Path | None = None
    valid_share: float = 0.01
    threads: int | None = None
    json: bool = False

    def run(self) -> int:
        """Prepare, and print what came out."""
        from cs336.experiments.prepare import PrepareConfig, prepare

        config = PrepareConfig(
            train=self.train,
            valid=self.valid,
            out=self.out,
            vocab_size=self.vocab_size,
            tokenizer=self.tokenizer,
            valid_share=self.valid_share,
            num_threads=self.threads,
        )
        with watch() as watcher:
            prepared = prepare(config, progress=watcher)
        if self.json:
            print_result(dataclasses.asdict(prepared), as_json=True)
            return ExitCode.OK
        print_result({"tokenizer": prepared.tokenizer, "vocabulary": prepared.vocab_size}, as_json=False)
        for made in (prepared.train, prepared.valid):
            values = dataclasses.asdict(made) | {"bytes_per_token": made.bytes_per_token}
            print_result(values | {"golden": made.golden or "no known counts for this file"}, as_json=False)
        return ExitCode.OK


@dataclass(frozen=True, kw_only=True)
class StudyTokenizers:
    """Train a tokenizer on each of two corpora, and answer every question that the course asks about them.

    Time, memory and stages of training; longest tokens; what the vocabularies have in common; bytes a token on sampled
    documents and on the whole held-out texts, own and crossed, with intervals, by script; speed, and the time for the
    Pile; storage.

    Attributes:
        train: The two training texts, with <|endoftext|> between documents.
        valid: The two held-out texts.
        out: Directory for the tokenizers, study.md, study.html and study.json.
        names: What to call the corpora; the training files' names by default.
        vocab_sizes: Ids of the two tokenizers.
        samples: Documents sampled from each held-out text.
        seed: Determines which.
    """

    train: tuple[Path, Path]
    valid: tuple[Path, Path]
    out: Path = Path("runs/tokenizers")
    names: tuple[str, str] | None = None
    vocab_sizes: tuple[int, int] = (10_000, 32_000)
    samples: int = 10
    seed: int = 0

    def run(self) -> int:
        """Study, and print where the answers are."""
        from cs336.experiments.report.document import Document
        from cs336.experiments.report.tokenizers import tokenizer_section
        from cs336.experiments.report.writing import write_document
        from cs336.experiments.tokenizer_facts import Corpus, save_study
        from cs336.experiments.tokenizer_study import study_tokenizers
        from cs336.train.provenance import machine

        names = self.names or (self.train[0].stem, self.train[1].stem)
        first, second = (
            Corpus(name=name, train=train, valid=valid, vocab_size=vocab_size)
            for name, train, valid, vocab_size in zip(names, self.train, self.valid, self.vocab_sizes, strict=True)
        )
        with watch() as watcher:
            study = study_tokenizers(first, second, self.out, num_sampled=self.samples, seed=self.seed, say=watcher.say)
        here = machine()
        made_by = (
            f"Made by `{shlex.join(['cs336', *sys.argv[1:]])}` on {here['processor']}, {here['num_cpus']} processors."
        )
        document = Document(title="Tokenizer study", lead=(made_by,), sections=(tokenizer_section(study),))
        written = write_document(document, self.out, name="study")
        print_result(written | {"values": save_study(study, self.out)}, as_json=False)
        return ExitCode.OK


@dataclass(frozen=True, kw_only=True)
class ExperimentsGroup:
    """Prepare data for recipes, and answer the course's questions."""

    verb: (
        Annotated[Prepare, tyro.conf.subcommand("prepare")]
        | Annotated[StudyTokenizers, tyro.conf.subcommand("tokenizer")]
        | Annotated[ToySGD, tyro.conf.subcommand("sgd")]
        | Annotated[StudyGeneration, tyro.conf.subcommand("generation")]
        | Annotated[AllExperiments, tyro.conf.subcommand("all")]
    )

    def run(self) -> int:
        """Run the verb."""
        return self.verb.run()
