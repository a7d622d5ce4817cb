"""Training time, reading included, beside gigatoken, ffbpe, rustbpe, bpeasy, Hugging Face's tokenizers, sentencepiece.

All but the last train a byte-level BPE of the same size on the same documents with GPT-2's pattern. Their merges differ
from ours in the order of pairs that occur equally often (they break ties by other rules), so what is asserted is that
ours are the reference's on a part of the text, that all vocabularies have the size asked for, and that each shares
nearly all its tokens with ours. sentencepiece merges characters, has no such pattern and is slow beyond some megabytes:
it runs only if it is named (`--only sentencepiece`), and its vocabulary is not compared.

    python benches/train_bpe.py --text english.txt --size-mb 200 --threads 2
    python benches/train_bpe.py --text tinystories_sample.txt --grow --size-mb 200 --vocab-size 10000 --threads 2
"""

import random
import re
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path

from side_by_side import SEPARATOR, Job, arguments, corpus, documents, report, run_all, work

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def tokens_of(vocab: list[bytes]) -> list[str]:
    return sorted(token.hex() for token in vocab)


def cs336(options: Namespace) -> Job:
    from cs336 import _bpe

    path = corpus(options)

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
            "num_pretokens": trainer.num_pretokens,
        }
        return lambda: tokens_of([token for token in vocab.values() if token != SEPARATOR.encode()])

    return job


def gigatoken(options: Namespace) -> Job:
    from gigatoken import train_bpe

    path = corpus(options)

    def job():
        vocab, _ = train_bpe(path, options.vocab_size, [SEPARATOR])
        return lambda: tokens_of([token for token in vocab.values() if token != SEPARATOR.encode()])

    return job


def ffbpe(options: Namespace) -> Job:
    from ffbpe import BpeTrainer, PreTokenizer

    path = corpus(options)

    def job():
        words = PreTokenizer([SEPARATOR], SEPARATOR, PATTERN).get_words_from_file(path)
        trainer = BpeTrainer([SEPARATOR])
        trainer.add_words(list(words.items()))
        trainer.train(options.vocab_size)
        model = trainer.validate_model()
        return lambda: tokens_of([bytes(token) for token in ffbpe_tokens(model) if bytes(token) != SEPARATOR.encode()])

    return job


def ffbpe_tokens(model) -> list[bytes]:
    vocab = model.vocab() if callable(model.vocab) else model.vocab
    return list(vocab if isinstance(next(iter(vocab)), bytes) else vocab.values())


def bpeasy(options: Namespace) -> Job:
    from bpeasy import train_bpe

    path = corpus(options)

    def job():
        # It has no special tokens: one id fewer, for the same number of merges.
        vocab = train_bpe(iter(documents(path)), PATTERN, 1 << 20, options.vocab_size - 1)
        return lambda: tokens_of(list(vocab))

    return job


def sentencepiece(options: Namespace) -> Job:
    import sentencepiece

    path = corpus(options)

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

    path = corpus(options)
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

    path = corpus(options)

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
ONLY_IF_NAMED = {"sentencepiece"}


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


def print_stages(results: list[dict], num_bytes: int) -> None:
    count_s, merge_s = (statistics.median(result[key] for result in results) for key in ("count_s", "merge_s"))
    num_pretokens = results[0]["num_pretokens"]
    print(
        f"\ncs336, second run of each process: counting {count_s:.3f} s ({num_bytes / count_s / 1e6:.0f} MB/s), "
        f"merging {merge_s:.3f} s ({num_pretokens} distinct pretokens, {merge_s / num_pretokens * 1e9:.0f} ns each)"
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--grow", action="store_true", help="make more of a small text, up to --size-mb")
    options = parser.parse_args()
    if options.worker is not None:
        return work(CASES[options.worker], options)
    with tempfile.TemporaryDirectory() as folder:
        options.workdir = Path(folder)
        if options.grow:
            options.text = grown(options.text, int(options.size_mb * 1e6), Path(folder) / "grown.txt")
            sys.argv += ["--text", str(options.text), "--size-mb", str(2 * options.size_mb)]
            options.size_mb *= 2
        path = corpus(options)
        assert_equal_to_reference(path)
        named = options.only or [tool for tool in CASES if tool not in ONLY_IF_NAMED]
        tools = ["cs336", *(tool for tool in CASES if tool != "cs336" and tool in named)]
        runs = run_all(__file__, tools, options)
        ours = set(runs["cs336"][0]["output"])
        for tool, results in runs.items():
            if results[0]["output"] is None:
                continue
            theirs = set(results[0]["output"])
            shared = len(ours & theirs) / len(ours)
            print(f"{tool}: {len(theirs)} tokens, {shared:.2%} of ours among them", file=sys.stderr)
            assert len(theirs) == len(ours), f"{tool} made {len(theirs)} tokens, ours {len(ours)}"
            assert shared > 0.95, f"{tool} shares only {shared:.2%} of our tokens: not the same job"
            assert all(result["output"] == results[0]["output"] for result in results) or tool != "cs336"
        report("training", runs, path, options)
        print_stages(runs["cs336"], path.stat().st_size)


if __name__ == "__main__":
    main()
