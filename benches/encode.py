"""Encoding speed beside tiktoken and Hugging Face's tokenizers: same vocabulary, same documents, same ids.

The vocabulary is trained on the text by us, so that nothing needs to be downloaded, or read from GPT-2 style files
(`--vocab`, `--merges`). Each tool gets the documents as a list of strings and returns for each a list of ids (`--output
list`, what people call first) or a numpy array (`--output array`). It starts in a fresh process, with the tokenizer
loaded and the text in memory: the first pass is cold, the second warm.
"""

import hashlib
import json
import tempfile
from argparse import Namespace
from pathlib import Path

import numpy as np
from side_by_side import SEPARATOR, Job, arguments, corpus, documents, report, run_all, work

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def ids_digest(results) -> str:
    flat = hashlib.sha256()
    for ids in results:
        flat.update(np.asarray(ids, dtype=np.uint32).tobytes() + b"|")
    return flat.hexdigest()


def tokenizer_path(options: Namespace) -> Path:
    return options.workdir / "tokenizer.json"


def cs336(options: Namespace) -> Job:
    from cs336.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(tokenizer_path(options))
    texts = documents(corpus(options))

    def job():
        if options.threads > 1:
            results = tokenizer.encode_batch(texts, num_threads=options.threads)
        elif options.output == "array":
            results = [tokenizer.encode_array(text, num_threads=1) for text in texts]
        else:
            results = [tokenizer.encode(text, num_threads=1) for text in texts]
        return lambda: ids_digest(results)

    return job


def tiktoken(options: Namespace) -> Job:
    import tiktoken

    from cs336.tokenizer import Tokenizer

    ranks = {token: id for id, token in Tokenizer.load(tokenizer_path(options)).vocab.items()}
    special = {SEPARATOR: ranks.pop(SEPARATOR.encode())}
    encoding = tiktoken.Encoding("same", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)
    texts = documents(corpus(options))

    def job():
        if options.threads > 1:
            results = encoding.encode_ordinary_batch(texts, num_threads=options.threads)
        elif options.output == "array":
            results = [encoding.encode_to_numpy(text, disallowed_special=()) for text in texts]
        else:
            results = [encoding.encode_ordinary(text) for text in texts]
        return lambda: ids_digest(results)

    return job


def tokenizers(options: Namespace) -> Job:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_path(options)))
    texts = documents(corpus(options))

    def job():
        results = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        return lambda: ids_digest(results)

    return job


CASES = {"cs336": cs336, "tiktoken": tiktoken, "tokenizers": tokenizers}


def make_tokenizer(path: Path, options: Namespace) -> int:
    from cs336.tokenizer import Tokenizer, train_bpe

    if options.vocab is not None:
        tokenizer = Tokenizer.from_files(options.vocab, options.merges, [SEPARATOR])
    else:
        vocab, merges = train_bpe(path, options.vocab_size, [SEPARATOR])
        tokenizer = Tokenizer(vocab, merges, [SEPARATOR])
    tokenizer.save(tokenizer_path(options))
    return tokenizer.vocab_size


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--output", choices=["list", "array"], default="list")
    parser.add_argument("--vocab", type=Path, help="GPT-2 style vocab.json (default: train one on the text)")
    parser.add_argument("--merges", type=Path, help="the merges.txt that belongs to it")
    options = parser.parse_args()
    if options.worker is not None:
        return work(CASES[options.worker], options)
    with tempfile.TemporaryDirectory() as folder:
        options.workdir = Path(folder)
        path = corpus(options)
        options.vocab_size = make_tokenizer(path, options)
        tools = ["cs336", *(tool for tool in CASES if tool != "cs336" and (not options.only or tool in options.only))]
        runs = run_all(__file__, tools, options)
        digests = {tool: {result["output"] for result in results} for tool, results in runs.items()}
        assert all(digest == digests["cs336"] for digest in digests.values()), json.dumps(
            {tool: sorted(digest) for tool, digest in digests.items()}, indent=1
        )
        print("every tool gave the same ids")
        report(f"encoding to {options.output}s", runs, path, options)


if __name__ == "__main__":
    main()
