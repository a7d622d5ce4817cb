"""SuperBPE: training time, and encoding with the same `tokenizer.json` beside Hugging Face's tokenizers.

The vocabulary is trained on the text; the same ids are asserted before anything is reported.

    python benches/superbpe.py --text english.txt --size-mb 20 --rounds 3
"""

import hashlib
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path

from side_by_side import SEPARATOR, Job, arguments, corpus, peak_bytes, report, run_all, work


def cs336(options: Namespace) -> Job:
    from cs336.tokenizer import Tokenizer

    text = corpus(options).read_text(encoding="utf-8")
    tokenizer = Tokenizer.load(options.workdir / "tokenizer.json")

    def job():
        ids = tokenizer.encode(text, num_threads=options.threads)
        return lambda: digest_of(ids)

    return job


def tokenizers(options: Namespace) -> Job:
    from tokenizers import Tokenizer

    text = corpus(options).read_text(encoding="utf-8")
    tokenizer = Tokenizer.from_file(str(options.workdir / "tokenizer.json"))

    def job():
        ids = tokenizer.encode(text).ids
        return lambda: digest_of(ids)

    return job


def digest_of(ids: list[int]) -> str:
    return f"{len(ids)} {hashlib.sha256(repr(ids).encode()).hexdigest()}"


CASES = {"cs336": cs336, "tokenizers": tokenizers}


def train(path: Path, options: Namespace) -> None:
    from cs336.tokenizer import Tokenizer, train_superbpe

    start = time.perf_counter()
    vocab, merges = train_superbpe(
        path,
        options.vocab_size,
        [SEPARATOR],
        transition_size=options.transition_size,
        num_threads=options.threads,
    )
    elapsed_s = time.perf_counter() - start
    print(
        f"training SuperBPE: {path.stat().st_size / 1e6:.1f} MB, {options.transition_size} to {len(vocab)} tokens, "
        f"{options.threads} thread(s): {elapsed_s:.2f} s, peak {peak_bytes() / 1e6:.0f} MB"
    )
    Tokenizer(vocab, merges, [SEPARATOR], pattern="superbpe").save(options.workdir / "tokenizer.json")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--transition-size", type=int, default=24_000)
    options = parser.parse_args()
    if options.worker is not None:
        return work(CASES[options.worker], options)
    with tempfile.TemporaryDirectory() as folder:
        options.workdir = Path(folder)
        path = corpus(options)
        train(path, options)
        named = list(CASES) if options.only is None else ["cs336", *options.only]
        runs = run_all(__file__, named, options)
        for tool, results in runs.items():
            for result in results:
                assert result["output"] == runs["cs336"][0]["output"], f"{tool} gives other ids"
        print(f"ids: {runs['cs336'][0]['output']}", file=sys.stderr)
        report("encoding with SuperBPE", runs, path, options)


if __name__ == "__main__":
    main()
