"""Compressed JSON lines to token files, beside datatrove, Megatron's preprocessing scheme and gigatoken.

From files to files, the tokenizer's among them: all read the same `.jsonl.zst` files (as many as there are threads, so
that a tool that works file by file keeps busy), encode with the same `tokenizer.json`, end each document with the EOS
id and leave token files on disk. What is asserted is that the ids, in order, are the same.

    cs336              `cs336.corpus`: verified shards with a manifest
    cs336 in memory    `Tokenizer.encode_array` of all texts at once: what encoding alone takes, as a yardstick
    gigatoken          `encode_files`, the ids put together with EOS ids between and saved by numpy
    datatrove          JsonlReader -> DocumentTokenizer (no shuffling), one task a file
    megatron           what `preprocess_data.py` does: a pool of processes over the lines, one call of Hugging Face's
                       tokenizers a document, one process that writes `.bin` and `.idx`

    python benches/corpus.py --text english.txt --size-mb 160 --threads 2 --only gigatoken
    python benches/corpus.py --text english.txt --size-mb 20 --threads 2 --rounds 1
    python benches/corpus.py --grow-gb 4 --threads 2      # ours alone, one file of so many gigabytes: peak memory
    python benches/corpus.py --grow-gb 5 --shuffle        # and then all documents in another order
"""

import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from figures import Comparison, publish
from side_by_side import (
    SEPARATOR,
    Job,
    all_cores,
    arguments,
    documents,
    expect_ours,
    mark_wrong,
    part,
    peak_bytes,
    run_all,
    summary,
    work,
)


def sources(options: Namespace) -> list[Path]:
    return sorted(Path(options.workdir).glob("input/*.jsonl.zst"))


def fresh(options: Namespace, name: str) -> Path:
    out = Path(options.workdir) / name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    return out


def digest_of(arrays) -> str:
    """Of ids in order, whatever files and types they are in."""
    digest = hashlib.sha256()
    for array in arrays:
        for start in range(0, len(array), 1 << 22):
            digest.update(np.asarray(array[start : start + (1 << 22)], dtype="<u4").tobytes())
    return digest.hexdigest()


def tokenizer_file(options: Namespace) -> Path:
    return Path(options.workdir) / "tokenizer.json"


def eos_id(options: Namespace) -> int:
    from cs336.tokenizer import Tokenizer

    return Tokenizer.load(tokenizer_file(options)).special_tokens[SEPARATOR]


def cs336(options: Namespace) -> Job:
    from cs336 import corpus as ours

    files = sources(options)
    plan_corpus, run_corpus = ours.plan, ours.run  # imported here: the imports of the others are not timed, either

    def job():
        out = fresh(options, "cs336")
        out.rmdir()
        plan = plan_corpus(files, tokenizer=tokenizer_file(options), out=out)
        run_corpus(plan, num_threads=options.threads)
        return lambda: digest_of(np.load(path, mmap_mode="r") for path in shards_of(out))

    return job


def shards_of(out: Path) -> list[Path]:
    from cs336.shards import read_manifest

    return [out / shard.file for shard in read_manifest(out).of_split("train")]


def in_memory(options: Namespace) -> Job:
    from cs336.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(tokenizer_file(options))
    text = "".join(f"{text}{SEPARATOR}" for path in sources(options) for text in texts_of(path))

    def job():
        ids = tokenizer.encode_array(text, num_threads=options.threads)
        return lambda: digest_of([ids])

    return job


def gigatoken(options: Namespace) -> Job:
    import awkward
    from gigatoken import JsonlFileSource, Tokenizer

    files, eos = sources(options), eos_id(options)

    def job():
        out = fresh(options, "gigatoken")
        tokenizer = Tokenizer(str(tokenizer_file(options)))  # all of them read it once a job
        encoded = tokenizer.encode_files(JsonlFileSource(files))
        lengths = awkward.to_numpy(awkward.num(encoded))
        ids = np.full(int(lengths.sum()) + len(lengths), eos, np.uint16)
        is_text = np.ones(len(ids), bool)
        is_text[np.cumsum(lengths + 1) - 1] = False
        ids[is_text] = awkward.to_numpy(awkward.flatten(encoded))
        np.save(out / "ids.npy", ids)
        return lambda: digest_of([np.load(out / "ids.npy", mmap_mode="r")])

    return job


def datatrove(options: Namespace) -> Job:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    files = sources(options)

    def job():
        out = fresh(options, "datatrove")
        steps = [
            JsonlReader(str(files[0].parent), glob_pattern="*.jsonl.zst"),
            DocumentTokenizer(str(out), str(tokenizer_file(options)), eos_token=SEPARATOR, shuffle_documents=False),
        ]
        executor = LocalPipelineExecutor(
            steps, tasks=len(files), workers=options.threads, logging_dir=str(out / "logs"), skip_completed=False
        )
        executor.run()
        return lambda: digest_of(np.memmap(path, "<u2", "r") for path in sorted(out.glob("*.ds")))

    return job


def megatron(options: Namespace) -> Job:
    files, eos, tokenizer = sources(options), eos_id(options), tokenizer_file(options)

    def job():
        out = fresh(options, "megatron")
        lengths = []
        lines = itertools.chain.from_iterable(map(lines_of, files))
        with (
            multiprocessing.Pool(options.threads, start_encoder, (str(tokenizer), eos)) as pool,
            (out / "ids.bin").open("wb") as binary,
        ):
            for ids in pool.imap(encode_line, lines, 32):
                array = np.array(ids, np.uint16)
                binary.write(array.tobytes(order="C"))
                lengths.append(len(array))
        pointers = np.cumsum([0, *lengths[:-1]], dtype=np.int64) * 2
        with (out / "ids.idx").open("wb") as index:
            index.write(b"MMIDIDX\x00\x00" + (1).to_bytes(8, "little") + b"\x08")
            index.write(len(lengths).to_bytes(8, "little") + (len(lengths) + 1).to_bytes(8, "little"))
            index.write(np.array(lengths, np.int32).tobytes() + pointers.tobytes())
            index.write(np.arange(len(lengths) + 1, dtype=np.int64).tobytes())
        return lambda: digest_of([np.memmap(out / "ids.bin", "<u2", "r")])

    return job


class Encoder:
    """What a process of the pool holds."""

    tokenizer = None
    eos = 0


def start_encoder(tokenizer: str, eos: int) -> None:
    from tokenizers import Tokenizer

    Encoder.tokenizer, Encoder.eos = Tokenizer.from_file(tokenizer), eos


def encode_line(line: str) -> list[int]:
    ids = Encoder.tokenizer.encode(json.loads(line)["text"]).ids
    ids.append(Encoder.eos)
    return ids


def lines_of(path: Path) -> Iterator[str]:
    import zstandard

    with zstandard.open(path, "rt", encoding="utf-8") as file:
        yield from file


def texts_of(path: Path) -> Iterator[str]:
    return (json.loads(line)["text"] for line in lines_of(path))


CASES = {
    "cs336": cs336,
    "cs336 in memory": in_memory,
    "gigatoken": gigatoken,
    "datatrove": datatrove,
    "megatron": megatron,
}


def of_ordinary_length(texts: list[str], characters: int = 6_000) -> list[str]:
    """Books are cut into documents of about the Pile's mean length, between paragraphs."""
    out: list[str] = []
    for text in texts:
        start = 0
        while start < len(text):
            at = text.find("\n\n", start + characters)
            end = len(text) if at < 0 else at
            out.append(text[start:end])
            start = end
    return out


PACKAGES = {"gigatoken": "gigatoken", "datatrove": "datatrove", "megatron": "tokenizers"}


def write_sources(texts: list[str], folder: Path, num_files: int) -> None:
    """As the Pile is: a text and some metadata a line, one frame a file."""
    import zstandard

    folder.mkdir()
    size = sum(map(len, texts)) // num_files + 1
    files = [zstandard.open(folder / f"{index:02d}.jsonl.zst", "wt", encoding="utf-8") for index in range(num_files)]
    written = 0
    for text in texts:
        json.dump({"text": text, "meta": {"pile_set_name": "bench"}}, files[written // size], ensure_ascii=False)
        files[written // size].write("\n")
        written += len(text)
    for file in files:
        file.close()


def write_tokenizer(options: Namespace, text: Path) -> None:
    """GPT-2's vocabulary if its two files are named, else one that is trained on the spot."""
    from cs336.tokenizer import Tokenizer, train_bpe

    if options.vocab is not None:
        tokenizer = Tokenizer.from_files(options.vocab, options.merges, [SEPARATOR])
    else:
        vocab, merges = train_bpe(text, options.vocab_size, [SEPARATOR])
        tokenizer = Tokenizer(vocab, merges, [SEPARATOR])
    tokenizer.save(tokenizer_file(options))


def grow(options: Namespace, text: Path) -> None:
    """Ours on one file of many gigabytes, made of the same documents again and again: its peak memory."""
    import zstandard

    from cs336 import corpus as ours

    texts = of_ordinary_length(documents(text))
    lines = [json.dumps({"text": text, "meta": {}}, ensure_ascii=False).encode() + b"\n" for text in texts]
    path = Path(options.workdir) / "one.jsonl.zst"
    size = 0
    with path.open("wb") as file, zstandard.ZstdCompressor(level=1).stream_writer(file) as out:
        while size < options.grow_gb * 1e9:
            size += sum(out.write(line) and len(line) for line in lines)
    # What making the file took is not to be counted: the work is done by a process of its own.
    child = os.fork()
    if child == 0:
        os.execv(
            sys.executable,
            [sys.executable, __file__, *sys.argv[1:], "--workdir", str(options.workdir), "--worker", "grown"],
        )
    _, status = os.waitpid(child, 0)
    assert status == 0
    out = Path(options.workdir) / "grown"
    problems = ours.verify(out).problems
    assert not problems, problems
    print(f"{size / 1e9:.2f} GB of lines, {path.stat().st_size / 1e9:.2f} GB as a file; verified")


def grown(options: Namespace) -> None:
    from cs336 import corpus as ours

    begin = time.perf_counter()
    out = Path(options.workdir) / "grown"
    plan = ours.plan(
        [Path(options.workdir) / "one.jsonl.zst"],
        tokenizer=tokenizer_file(options),
        out=out,
        shuffle_seed=0 if options.shuffle else None,
    )
    shuffled: list[ours.Progress] = []

    def watch(at: ours.Progress) -> None:
        if at.shuffled_bytes is not None and at.bytes_to_shuffle:
            shuffled[:] = [at]
        elif not shuffled:
            peaks[:] = [peak_bytes()]

    peaks = [0]
    result = ours.run(plan, num_threads=options.threads[0] if options.threads else all_cores(), progress=watch)
    print(f"{time.perf_counter() - begin:.1f} s, peak memory {peak_bytes() / 1e6:.0f} MB")
    for at in shuffled:
        print(
            f"{result.totals['tokens']:,} ids, {at.bytes_to_shuffle / 2e9:.2f} GB: shuffled in {at.elapsed_s:.1f} s of "
            f"these, peak memory before {peaks[0] / 1e6:.0f} MB"
        )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--vocab", type=Path, help="vocab.json of GPT-2 (default: a vocabulary is trained)")
    parser.add_argument("--merges", type=Path, help="merges.txt of GPT-2")
    parser.add_argument("--grow-gb", type=float, help="ours alone, on one file of so many gigabytes of lines")
    parser.add_argument("--shuffle", action="store_true", help="shuffle what --grow-gb makes")
    parser.add_argument("--scratch", type=Path, help="where to work; the temporary directory by default")
    options = parser.parse_args()
    if options.worker == "grown":
        return grown(options)
    if options.worker is not None:
        return work(CASES[options.worker], options)
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        options.workdir = Path(folder)
        source = options.text[0] if options.text else None
        text = part(source, int(options.size_mb * 1e6), options.workdir / "text.txt")
        write_tokenizer(options, text)
        if options.grow_gb is not None:
            return grow(options, text)
        threads = options.threads[0] if options.threads else all_cores()
        write_sources(of_ordinary_length(documents(text)), options.workdir / "input", threads)
        named = list(CASES) if options.only is None else ["cs336", "cs336 in memory", *options.only]
        runs = run_all(__file__, named, options, ["--text", str(text), "--threads", str(threads)])
        expect_ours(runs)
        mark_wrong(runs, "other ids")
        title = f"`.jsonl.zst` to token files, {text.stat().st_size / 1e6:.1f} MB of text, {threads} thread(s)"
        alone = summary({"cs336": runs["cs336"], "alone": runs.pop("cs336 in memory")})["alone"]
        rates = [text.stat().st_size / alone[f"{one}_s"] / 1e6 for one in ("first", "again")]
        shares = [alone[f"ours_times_as_fast_{one}"] for one in ("first", "again")]
        remark = (
            f"Encoding alone, all text in memory: {rates[0]:.0f} MB/s, {rates[1]:.0f} again, "
            f"peak {alone['peak_mb']:.0f} MB; files to shards come to {shares[0]:.0%} of that, {shares[1]:.0%} again."
        )
        publish("corpus", [Comparison(title, text.stat().st_size, runs, [remark])], PACKAGES, options.out)


if __name__ == "__main__":
    main()
