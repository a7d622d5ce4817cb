"""Encoding beside ten others: same vocabulary, same texts, same ids.

Three suites. `passes` encodes texts of many megabytes: a string, documents or a file, to an array or to lists, on one
core and on all. `hard` encodes a million characters each of what makes encoders slow; `short` strings as short as a
turn of a chat, one call each, to lists. Every tool starts in a fresh process with its vocabulary loaded (and, but for
files, the text in memory): the first pass is cold, and what people pay for; the second is the same again.

Ids are compared before anything is timed, on the first megabyte of every text, and those of all timed runs as well:
tiktoken's are the measure, ours must equal them, and a tool that gives others is marked as wrong.

    python benches/encode.py --text english.txt --vocab gpt2_vocab.json
    python benches/encode.py --text english.txt code.txt --vocab gpt2_vocab.json cl100k_base.tiktoken --out results
    python benches/encode.py --suite passes --shape text --output array --threads 1 --only gigatoken ...

A vocabulary is GPT-2's two files (by the name of the first), a `tokenizer.json` or a `.tiktoken`; without one it is
trained on the text. Of a text that holds some, the Chinese, Japanese and Korean documents are measured alone, too.
"""

import hashlib
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from encoders import DISTRIBUTIONS, ENCODERS, Encoder, Vocabulary
from figures import Comparison, publish
from side_by_side import (
    OURS,
    SEPARATOR,
    Job,
    all_cores,
    arguments,
    documents,
    expect_ours,
    mark_wrong,
    part,
    run_all,
    run_one,
    summary,
    work,
)
from texts import SHORT_SIZES, cjk_part, hard_texts, short_texts

MEASURE = "tiktoken"
CHECK_BYTES = 1_000_000


@dataclass(frozen=True)
class Input:
    """A text, and the vocabulary to encode it with."""

    name: str
    path: Path
    vocab: Path
    key: str

    @property
    def case(self) -> list[str]:
        return ["--text", str(self.path), "--vocab", str(self.vocab), "--vocab-key", self.key]


# In the worker


def prepare(options: Namespace) -> Job:
    encoder = ENCODERS[options.worker](
        Vocabulary(options.vocab[0], options.workdir / options.vocab_key), options.threads
    )
    method, argument = JOBS[options.suite](encoder, options)

    def job() -> Any:
        result = method(argument)
        return lambda: sha256(encoder, result, options)

    return job


def pass_job(encoder: Encoder, options: Namespace) -> tuple[Callable[[Any], Any], Any]:
    path = options.text
    if options.shape[0] == "file":
        return encoder.file_to_array, path
    if options.shape[0] == "text":
        text = path.read_text(encoding="utf-8").replace(SEPARATOR, "")
        return (encoder.text_to_array if options.output[0] == "array" else encoder.text_to_list), text
    texts = documents(path)
    return (encoder.documents_to_array if options.output[0] == "array" else encoder.documents_to_lists), texts


def hard_job(encoder: Encoder, options: Namespace) -> tuple[Callable[[Any], Any], Any]:
    """To an array where the tool makes arrays."""
    text = hard_texts()[options.hard]
    arrays = type(encoder).text_to_array is not Encoder.text_to_array
    return (encoder.text_to_array if arrays else encoder.text_to_list), text


def short_job(encoder: Encoder, options: Namespace) -> tuple[Callable[[Any], Any], Any]:
    texts = short_texts(options.text, options.short)
    encode = encoder.text_to_list
    return lambda texts: [encode(text) for text in texts], texts


def sha256(encoder: Encoder, result: Any, options: Namespace) -> str:
    ids = encoder.ids(result)
    if options.keep is not None:
        np.save(options.keep, ids)
    return f"{len(ids)} ids {hashlib.sha256(ids.astype('<u4').tobytes()).hexdigest()}"


JOBS = {"passes": pass_job, "hard": hard_job, "short": short_job}


# In the process that compares


class Bench:
    """All comparisons that were asked for, and what was found when the ids were compared."""

    def __init__(self, options: Namespace) -> None:
        self.options = options
        named = list(ENCODERS) if options.only is None else [OURS, *options.only]
        self.tools = sorted(set(named), key=list(ENCODERS).index)
        self.verdicts: list[str] = []

    def check(self, given: Input) -> None:
        """Compares the ids of the first megabyte, before anything is timed.

        Raises:
            RuntimeError: ours are not those of tiktoken.
        """
        head = part(given.path, CHECK_BYTES, self.options.workdir / "check.txt")
        found: dict[str, np.ndarray] = {}
        for tool in sorted({*self.tools, MEASURE}):
            for output in ("list", "array"):
                keep = self.options.workdir / f"check-{tool}.npy"
                case = [*given.case, "--text", str(head), "--shape", "documents", "--output", output]
                case += ["--threads", "1", "--suite", "passes", "--keep", str(keep)]
                if run_one(__file__, tool, self.options, case)["status"] == "ok":
                    found[tool] = np.load(keep)
                    break
        if MEASURE in found and not np.array_equal(found[OURS], found[MEASURE]):
            raise RuntimeError(f"{given.name}: ours and {MEASURE}: {first_difference(found[OURS], found[MEASURE])}")
        wrong = {
            tool: first_difference(ids, found[OURS])
            for tool, ids in found.items()
            if not np.array_equal(ids, found[OURS])
        }
        same = ", ".join(tool for tool in found if tool not in wrong)
        self.verdicts.append(f"{given.name}, first megabyte: the same ids from {same}.")
        self.verdicts += [f"{given.name}, first megabyte: WRONG ids from {tool}: {why}." for tool, why in wrong.items()]
        print("\n".join(self.verdicts), file=sys.stderr)

    def compare(self, given: Input, title: str, num_bytes: int, case: list[str]) -> Comparison:
        print(title, file=sys.stderr)
        runs = run_all(__file__, self.tools, self.options, [*given.case, *case])
        expect_ours(runs)
        mark_wrong(runs, "other ids than ours on this text")
        return Comparison(title, num_bytes, runs)

    def passes(self, inputs: list[Input]) -> Iterator[Comparison]:
        for given, (shape, output, threads) in product(inputs, self.jobs()):
            size = given.path.stat().st_size
            where = "1 core" if threads == 1 else f"{threads} cores"
            title = f"{given.name}, {size / 1e6:.1f} MB, {given.vocab.name}: {shape} to {output}s, {where}"
            case = ["--suite", "passes", "--shape", shape, "--output", output, "--threads", str(threads)]
            yield self.compare(given, title, size, case)

    def jobs(self) -> list[tuple[str, str, int]]:
        """Shape, output, threads: those asked for, or those that people ask for first."""
        options = self.options
        if options.shape is None and options.output is None and options.threads is None:
            cores = all_cores()
            jobs = [
                ("text", "array", 1),
                ("documents", "list", 1),
                ("file", "array", cores),
                ("documents", "list", cores),
            ]
            return list(dict.fromkeys(jobs))
        asked = product(options.shape or ["text"], options.output or ["array"], options.threads or [1])
        return [job for job in asked if job[:2] != ("file", "list")]

    def hard(self, given: Input) -> Iterator[Comparison]:
        for name, text in hard_texts().items():
            case = ["--suite", "hard", "--hard", name, "--threads", "1"]
            title = f"1M characters: {name}, {given.vocab.name}, 1 core"
            yield self.compare(given, title, len(text.encode()), case)

    def short(self, given: Input) -> Iterator[Comparison]:
        for size in SHORT_SIZES:
            texts = short_texts(given.path, size)
            case = ["--suite", "short", "--short", str(size), "--threads", "1"]
            title = f"{len(texts)} strings of {size} bytes, {given.name}, {given.vocab.name}: to lists, 1 core"
            yield self.compare(given, title, sum(len(text.encode()) for text in texts), case)


def first_difference(ids: np.ndarray, right: np.ndarray) -> str:
    common = min(len(ids), len(right))
    unequal = np.flatnonzero(ids[:common] != right[:common])
    place = int(unequal[0]) if len(unequal) else common
    return f"{len(ids)} ids for {len(right)}, others from number {place} on"


def prepared_inputs(options: Namespace) -> Iterator[Input]:
    """The texts, cut to size, each with its vocabulary in all forms; the CJK documents as texts of their own."""
    size_bytes = int(options.size_mb * 1e6)
    sources = options.text or [None]
    vocabs = options.vocab or [None] * len(sources)
    if len(vocabs) == 1:
        vocabs *= len(sources)
    if len(vocabs) != len(sources):
        sys.exit(f"--vocab: give one, or as many as texts, got {len(vocabs)} for {len(sources)}")
    for source, vocab in zip(sources, vocabs, strict=True):
        name = source.stem if source is not None else "standard library"
        path = part(source, size_bytes, options.workdir / f"{name}.txt")
        vocab_path = vocab or trained(path, options)
        key = f"{vocab_path.stem}-vocabulary"
        Vocabulary(vocab_path, options.workdir / key).write()
        yield Input(name, path, vocab_path, key)
        cjk = cjk_part(source, size_bytes, options.workdir / f"{name}-cjk.txt") if source is not None else None
        if cjk is not None:
            yield Input(f"{name}, CJK documents", cjk, vocab_path, key)


def trained(path: Path, options: Namespace) -> Path:
    from cs336.tokenizer import Tokenizer, train_bpe

    vocab, merges = train_bpe(path, options.vocab_size, [SEPARATOR])
    target = options.workdir / f"trained-on-{path.stem}.json"
    Tokenizer(vocab, merges, [SEPARATOR]).save(target)
    return Path(target)


def matrix(comparisons: list[Comparison], title: str) -> str:
    """A row a tool, a column a comparison: milliseconds of the first pass, and how many times as fast ours is."""
    columns = [summary(one.runs) for one in comparisons]
    lines = [f"### {title}: ms, first pass (ours is N times as fast)", ""]
    lines += [
        f"| tool | {' | '.join(one.title.split(', ')[0] for one in comparisons)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for tool in comparisons[0].runs:
        cells = [cell(column[tool]) for column in columns]
        lines.append(f"| {tool} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(one: dict[str, Any]) -> str:
    if "first_s" not in one:
        return str(one["status"])
    wrong = "wrong ids: " if one["status"] == "wrong" else ""
    return f"{wrong}{one['first_s'] * 1e3:.1f} ({one['ours_times_as_fast_first']:.2f})"


def parser() -> ArgumentParser:
    parser = arguments(__doc__)
    parser.add_argument("--vocab", type=Path, nargs="+", help="one, or one a text (default: trained on the text)")
    parser.add_argument("--suite", choices=list(JOBS), nargs="+", default=list(JOBS))
    parser.add_argument("--shape", choices=["text", "documents", "file"], nargs="+")
    parser.add_argument("--output", choices=["array", "list"], nargs="+")
    for hidden, kind in {"--vocab-key": str, "--hard": str, "--short": int, "--keep": Path}.items():
        parser.add_argument(hidden, type=kind, help="of the worker")
    return parser


def main() -> None:
    options = parser().parse_args()
    if options.worker is not None:
        options.suite = options.suite[0]
        return work(prepare, options)
    with tempfile.TemporaryDirectory() as folder:
        options.workdir = Path(folder)
        bench = Bench(options)
        inputs = list(prepared_inputs(options))
        for given in inputs:
            bench.check(given)
        if "passes" in options.suite:
            publish("encode", list(bench.passes(inputs)), DISTRIBUTIONS, options.out, bench.verdicts)
        if "hard" in options.suite:
            hard = list(bench.hard(inputs[0]))
            further = [matrix(hard, "A million characters"), *bench.verdicts]
            publish("encode-hard", hard, DISTRIBUTIONS, options.out, further)
        if "short" in options.suite:
            short = list(bench.short(inputs[0]))
            further = [matrix(short, "Short strings"), *bench.verdicts]
            publish("encode-short", short, DISTRIBUTIONS, options.out, further)


if __name__ == "__main__":
    main()
