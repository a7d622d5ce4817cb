"""Training time, reading included, beside gigatoken, ffbpe, rustbpe, bpeasy, Hugging Face's tokenizers, sentencepiece.

All but the last train a byte-level BPE of the same size on the same documents with GPT-2's pattern. Their merges differ
from ours in the order of pairs that occur equally often (they break ties by other rules), so what is asserted is that
ours are the reference's on a part of the text; a tool whose vocabulary has another size or shares too little with ours
is marked as wrong. sentencepiece merges characters and has no such pattern: its vocabulary is not compared.

Counting and merging are shown apart: counting by the bytes of the text, merging by its distinct words, which grow more
slowly than the text (ours alone, on parts of the text).

    python benches/train_bpe.py --text english.txt --size-mb 200
    python benches/train_bpe.py --text tinystories.txt --grow --size-mb 200 --vocab-size 10000 --threads 2
"""

import random
import re
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from figures import Comparison, publish
from side_by_side import (
    OURS,
    SEPARATOR,
    Job,
    Runs,
    all_cores,
    arguments,
    documents,
    expect_ours,
    median,
    part,
    run_all,
    work,
)

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def tokens_of(vocab: list[bytes]) -> list[str]:
    return sorted(token.hex() for token in vocab)


def cs336(options: Namespace) -> Job:
    from cs336 import _bpe

    path = options.text

    def job():
        # What `train_bpe` does, with a look at the clock in the middle.
        start = time.perf_counter()
        trainer = _bpe.Trainer(options.vocab_size, [SEPARATOR], num_threads=options.threads)
        trainer.count_file(path)
        counted = time.perf_counter()
        vocab, _ = trainer.finish()
        job.details = {
            "count_s": counted - start,
            "merge_s": time.perf_counter() - counted,
            "num_words": trainer.num_pretokens,
        }
        return lambda: tokens_of([token for token in vocab.values() if token != SEPARATOR.encode()])

    return job


def gigatoken(options: Namespace) -> Job:
    from gigatoken import train_bpe

    path = options.text

    def job():
        vocab, _ = train_bpe(path, options.vocab_size, [SEPARATOR])
        return lambda: tokens_of([token for token in vocab.values() if token != SEPARATOR.encode()])

    return job


def ffbpe(options: Namespace) -> Job:
    from ffbpe import BpeTrainer, PreTokenizer

    path = options.text

    def job():
        start = time.perf_counter()
        words = PreTokenizer([SEPARATOR], SEPARATOR, PATTERN).get_words_from_file(path)
        counted = time.perf_counter()
        trainer = BpeTrainer([SEPARATOR])
        trainer.add_words(list(words.items()))
        trainer.train(options.vocab_size)
        model = trainer.validate_model()
        job.details = {
            "count_s": counted - start,
            "merge_s": time.perf_counter() - counted,
            "num_words": len(words),
        }
        return lambda: tokens_of([bytes(token) for token in ffbpe_tokens(model) if bytes(token) != SEPARATOR.encode()])

    return job


def ffbpe_tokens(model) -> list[bytes]:
    vocab = model.vocab() if callable(model.vocab) else model.vocab
    return list(vocab if isinstance(next(iter(vocab)), bytes) else vocab.values())


def bpeasy(options: Namespace) -> Job:
    from bpeasy import train_bpe

    path = options.text

    def job():
        # It has no special tokens: one id fewer, for the same number of merges.
        vocab = train_bpe(iter(documents(path)), PATTERN, 1 << 20, options.vocab_size - 1)
        return lambda: tokens_of(list(vocab))

    return job


def sentencepiece(options: Namespace) -> Job:
    import sentencepiece

    path = options.text

    def job():
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(documents(path)),
            model_prefix=str(options.workdir / "sentencepiece"),
            model_type="bpe",
            vocab_size=options.vocab_size,
            byte_fallback=True,
            normalization_rule_name="identity",
            max_sentence_length=1 << 30,
            num_threads=options.threads,
            minloglevel=2,
        )

    return job


def tokenizers(options: Namespace) -> Job:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    path = options.text
    alphabet = gpt2_alphabet()

    def job():
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=options.vocab_size,
            special_tokens=[SEPARATOR],
            show_progress=False,
            min_frequency=0,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        tokenizer.train_from_iterator(documents(path), trainer)
        return lambda: tokens_of(
            [bytes(alphabet[c] for c in token) for token in tokenizer.get_vocab() if token != SEPARATOR]
        )

    return job


def rustbpe(options: Namespace) -> Job:
    import rustbpe

    path = options.text

    def job():
        tokenizer = rustbpe.Tokenizer()
        # It has no special tokens: one id fewer, for the same number of merges.
        tokenizer.train_from_iterator(iter(documents(path)), options.vocab_size - 1, pattern=PATTERN)
        return lambda: tokens_of([bytes(token) for token, _ in tokenizer.get_mergeable_ranks()])

    return job


def gpt2_alphabet() -> dict[str, int]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def assert_equal_to_reference(path: Path) -> None:
    """Ours on a part of the text against the slow definition."""
    from cs336.tokenizer import reference, train_bpe

    with path.open(encoding="utf-8") as file:
        text = file.read(200_000)
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.txt"
        part.write_text(text, encoding="utf-8")
        assert train_bpe(part, 600, [SEPARATOR]) == reference.train_bpe([text], 600, [SEPARATOR])


CASES = {
    "cs336": cs336,
    "gigatoken": gigatoken,
    "ffbpe": ffbpe,
    "rustbpe": rustbpe,
    "bpeasy": bpeasy,
    "tokenizers": tokenizers,
    "sentencepiece": sentencepiece,
}
# These have no vocabulary that could be compared.
OTHER_KIND = {"sentencepiece"}
LEAST_SHARED = 0.95


def grown(sample: Path, size_bytes: int, target: Path) -> Path:
    """Documents of the sample's sentences, drawn and put together anew until there are as many bytes as asked for.

    A word is replaced by another of the sample here and there, so that rare words stay rare. Every run gives the same.
    """
    draw = random.Random(7)
    texts = [text.strip() for text in sample.read_text(encoding="utf-8").split(SEPARATOR)]
    sentences = [sentence for text in texts for sentence in re.split(r"(?<=[.!?\"])\s+", text) if sentence]
    words = sorted({word for sentence in sentences for word in re.findall(r"[a-z]+", sentence)})
    with target.open("w", encoding="utf-8") as out:
        while out.tell() < size_bytes:
            chosen = draw.choices(sentences, k=draw.randint(8, 16))
            if draw.random() < 0.3:
                parts = chosen[0].split(" ")
                parts[draw.randrange(len(parts))] = draw.choice(words)
                chosen[0] = " ".join(parts)
            breaks = ["\n\n" if draw.random() < 0.25 else " " for _ in chosen[:-1]]
            text = "".join(map("".join, zip(chosen, [*breaks, ""], strict=True)))
            out.write(f"{text}\n{SEPARATOR}\n")
    return target


def mark_other_jobs(runs: Runs) -> None:
    """Tools that made a vocabulary of another size or another kind are marked."""
    ours = set(runs[OURS][0]["output"])
    for tool, results in runs.items():
        for result in results:
            if result["status"] != "ok" or tool in OTHER_KIND:
                continue
            theirs = set(result["output"])
            shared = len(ours & theirs) / len(ours)
            if len(theirs) != len(ours) or shared < LEAST_SHARED:
                result.update(
                    status="wrong", why=f"{len(theirs)} tokens for {len(ours)}, {shared:.1%} of ours among them"
                )
    for result in (result for results in runs.values() for result in results):
        result.pop("output", None)  # compared; too long to keep


def stages(runs: Runs, num_bytes: int) -> Iterator[str]:
    """Where the time of the first pass went, for the tools that tell."""
    for tool, results in runs.items():
        if "count_s" in results[0]:
            count_s, merge_s, num_words = (median(results, key) for key in ("count_s", "merge_s", "num_words"))
            yield (
                f"{tool}, first pass: counting {count_s:.3f} s ({num_bytes / count_s / 1e6:.0f} MB/s), merging "
                f"{merge_s:.3f} s ({num_words:.0f} distinct words, {merge_s / num_words * 1e9:.0f} ns each)."
            )


def compare(path: Path, name: str, threads: int, options: Namespace) -> Comparison:
    size = path.stat().st_size
    where = "1 core" if threads == 1 else f"{threads} cores"
    title = f"{name}, {size / 1e6:.1f} MB, {options.vocab_size} tokens, {where}"
    print(title, file=sys.stderr)
    tools = [OURS, *(tool for tool in CASES if tool != OURS and (options.only is None or tool in options.only))]
    runs = run_all(__file__, tools, options, ["--text", str(path), "--threads", str(threads)])
    expect_ours(runs)
    mark_other_jobs(runs)
    return Comparison(title, size, runs, list(stages(runs, size)))


def growth(path: Path, name: str, threads: int, options: Namespace) -> Iterator[str]:
    """Ours on an eighth, a quarter, a half of the text and on all of it, as a Markdown table."""
    yield f"### {name}, {threads} thread(s): ours on parts of the text"
    yield ""
    yield "| MB | distinct words | counting, s | MB/s | merging, s | ns a distinct word |"
    yield "|---|---|---|---|---|---|"
    size = path.stat().st_size
    for divisor in (8, 4, 2, 1):
        head = part(path, size // divisor, options.workdir / "head.txt")
        results = run_all(__file__, [OURS], options, ["--text", str(head), "--threads", str(threads)])[OURS]
        count_s, merge_s, num_words = (median(results, key) for key in ("count_s", "merge_s", "num_words"))
        num_bytes = head.stat().st_size
        yield (
            f"| {num_bytes / 1e6:.1f} | {num_words:.0f} | {count_s:.3f} | {num_bytes / count_s / 1e6:.0f} "
            f"| {merge_s:.3f} | {merge_s / num_words * 1e9:.0f} |"
        )
    yield ""


def inputs(options: Namespace) -> Iterator[tuple[str, Path]]:
    size_bytes = int(options.size_mb * 1e6)
    for source in options.text or [None]:
        name = source.stem if source is not None else "standard library"
        target = options.workdir / f"{name}.txt"
        if options.grow:
            yield f"{name}, grown", grown(source, size_bytes, target)
        else:
            yield name, part(source, size_bytes, target)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--grow", action="store_true", help="make more of a small text, up to --size-mb")
    options = parser.parse_args()
    if options.worker is not None:
        return work(CASES[options.worker], options)
    if options.grow and options.text is None:
        parser.error("--grow makes more of a text: name one with --text")
    with tempfile.TemporaryDirectory() as folder:
        options.workdir = Path(folder)
        comparisons, further = [], []
        for name, path in inputs(options):
            assert_equal_to_reference(path)
            threads = options.threads or sorted({1, all_cores()})
            comparisons += [compare(path, name, number, options) for number in threads]
            further += growth(path, name, threads[-1], options)
        publish("train_bpe", comparisons, {tool: tool for tool in CASES}, options.out, further)


if __name__ == "__main__":
    main()
