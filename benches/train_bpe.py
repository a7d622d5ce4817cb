"""Training time, with reading the file, beside Hugging Face's tokenizers and rustbpe.

All train a byte-level BPE of the same size on the same documents with GPT-2's pattern. Their merges differ from ours in
the order of pairs that occur equally often (they break ties by other rules), so what is asserted is that ours are the
reference's on a part of the text, that all vocabularies have the size asked for, and that each shares nearly all its
tokens with ours.
"""

import sys
import tempfile
from argparse import Namespace
from pathlib import Path

from side_by_side import SEPARATOR, Job, arguments, corpus, documents, report, run_all, work

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def tokens_of(vocab: list[bytes]) -> list[str]:
    return sorted(token.hex() for token in vocab)


def cs336(options: Namespace) -> Job:
    from cs336.tokenizer import train_bpe

    path = corpus(options)

    def job():
        vocab, _ = train_bpe(path, options.vocab_size, [SEPARATOR], num_threads=options.threads)
        return lambda: tokens_of([token for token in vocab.values() if token != SEPARATOR.encode()])

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

    text = path.read_text(encoding="utf-8")[:200_000]
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.txt"
        part.write_text(text, encoding="utf-8")
        assert train_bpe(part, 600, [SEPARATOR]) == reference.train_bpe([text], 600, [SEPARATOR])


CASES = {"cs336": cs336, "tokenizers": tokenizers, "rustbpe": rustbpe}


def main() -> None:
    parser = arguments(__doc__)
    options = parser.parse_args()
    if options.worker is not None:
        return work(CASES[options.worker], options)
    with tempfile.TemporaryDirectory() as folder:
        options.workdir = Path(folder)
        path = corpus(options)
        assert_equal_to_reference(path)
        tools = ["cs336", *(tool for tool in CASES if tool != "cs336" and (not options.only or tool in options.only))]
        runs = run_all(__file__, tools, options)
        ours = set(runs["cs336"][0]["output"])
        for tool, results in runs.items():
            theirs = set(results[0]["output"])
            shared = len(ours & theirs) / len(ours)
            print(f"{tool}: {len(theirs)} tokens, {shared:.2%} of ours among them", file=sys.stderr)
            assert len(theirs) == len(ours), f"{tool} made {len(theirs)} tokens, ours {len(ours)}"
            assert shared > 0.97, f"{tool} shares only {shared:.2%} of our tokens: not the same job"
            assert all(result["output"] == results[0]["output"] for result in results) or tool != "cs336"
        report("training", runs, path, options)


if __name__ == "__main__":
    main()
