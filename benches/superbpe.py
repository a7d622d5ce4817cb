"""SuperBPE: training time, and encoding with the same `tokenizer.json` beside Hugging Face's tokenizers.

The vocabulary is trained on the text; the same ids are asserted before anything is reported.

    python benches/superbpe.py --text english.txt --size-mb 20 --rounds 3
"""

import hashlib
import tempfile
import time
from argparse import Namespace
from itertools import product
from pathlib import Path

from figures import Comparison, publish
from side_by_side import OURS, SEPARATOR, Job, arguments, expect_ours, mark_wrong, part, peak_bytes, run_all, work


def cs336(options: Namespace) -> Job:
    from cs336.tokenizer import Tokenizer

    text = options.text.read_text(encoding="utf-8")
    tokenizer = Tokenizer.load(options.workdir / "tokenizer.json")

    def job():
        ids = tokenizer.encode(text, num_threads=options.threads)
        return lambda: digest_of(ids)

    return job


def tokenizers(options: Namespace) -> Job:
    from tokenizers import Tokenizer

    text = options.text.read_text(encoding="utf-8")
    tokenizer = Tokenizer.from_file(str(options.workdir / "tokenizer.json"))

    def job():
        ids = tokenizer.encode(text).ids
        return lambda: digest_of(ids)

    return job


def digest_of(ids: list[int]) -> str:
    return f"{len(ids)} {hashlib.sha256(repr(ids).encode()).hexdigest()}"


CASES = {"cs336": cs336, "tokenizers": tokenizers}


def train(path: Path, threads: int, options: Namespace) -> str:
    from cs336.tokenizer import Tokenizer, train_superbpe

    start = time.perf_counter()
    vocab, merges = train_superbpe(
        path, options.vocab_size, [SEPARATOR], transition_size=options.transition_size, num_threads=threads
    )
    elapsed_s = time.perf_counter() - start
    Tokenizer(vocab, merges, [SEPARATOR], pattern="superbpe").save(options.workdir / "tokenizer.json")
    return (
        f"Trained before, by ours: {options.transition_size} to {len(vocab)} tokens, {threads} thread(s), "
        f"{elapsed_s:.2f} s, peak {peak_bytes() / 1e6:.0f} MB."
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--transition-size", type=int, default=24_000)
    options = parser.parse_args()
    if options.worker is not None:
        return work(CASES[options.worker], options)
    comparisons = []
    with tempfile.TemporaryDirectory() as folder:
        options.workdir = Path(folder)
        for source, threads in product(options.text or [None], options.threads or [1]):
            name = source.stem if source is not None else "standard library"
            path = part(source, int(options.size_mb * 1e6), options.workdir / f"{name}.txt")
            trained = train(path, threads, options)
            tools = [OURS, *(tool for tool in CASES if tool != OURS and (options.only is None or tool in options.only))]
            runs = run_all(__file__, tools, options, ["--text", str(path), "--threads", str(threads)])
            expect_ours(runs)
            mark_wrong(runs, "other ids than ours")
            title = f"SuperBPE, {name}, {path.stat().st_size / 1e6:.1f} MB, text to list, {threads} thread(s)"
            comparisons.append(Comparison(title, path.stat().st_size, runs, [trained]))
    publish("superbpe", comparisons, {tool: tool for tool in CASES}, options.out)


if __name__ == "__main__":
    main()
