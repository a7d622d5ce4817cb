"""The tokenizer study: two corpora, a vocabulary from each, and what every deliverable of the course asks of them.

Compression is bytes a token: higher is better. It is measured on sampled documents (not lines) and on the whole
held-out texts, each tokenizer on both corpora, with intervals from resampling documents: they say how far another
sample of documents would move the number.
"""

import multiprocessing
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cs336.experiments.prepare import END_OF_TEXT, documents
from cs336.experiments.timed_training import timed_training
from cs336.tokenizer import Tokenizer
from cs336.tokenizer.inspection import Overlap, ScriptFacts, compare, spell_listed, text_facts, vocabulary_facts

PILE_BYTES = 825 * 10**9
NUM_RESAMPLES = 1000
_BY_SCRIPT_BYTES = 4 << 20  # of the held-out text: enough for shares, little to hold
_ROUNDS = 3
_WORD = re.compile(r" ?[^\W\d_]+")
_REPEATED = re.compile(r" ?(.+?)\1+")
Say = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus of the study.

    Attributes:
        name: As it is called in tables.
        train: Text to train on, documents ended by `<|endoftext|>`.
        valid: Held-out text.
        vocab_size: Ids of its tokenizer.
    """

    name: str
    train: Path
    valid: Path
    vocab_size: int


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a tokenizer came to be.

    Attributes:
        corpus: Its name.
        vocab_size: Ids that it has.
        num_bytes: Text trained on.
        elapsed_s: Wall clock, reading included.
        stages_s: Wall clock of counting pretokens and of merging pairs.
        peak_bytes: Most memory that the process held, Python included.
        longest: The longest tokens, spelled out.
        num_words: How many of them look like words: letters, after a space or not, and not one thing over and over.
    """

    corpus: str
    vocab_size: int
    num_bytes: int
    elapsed_s: float
    stages_s: dict[str, float]
    peak_bytes: int
    longest: tuple[str, ...]
    num_words: int


@dataclass(frozen=True, kw_only=True)
class Compression:
    """Bytes a token of one tokenizer on one text.

    Attributes:
        tokenizer: The corpus that the tokenizer is of.
        text: The corpus that the text is of.
        num_documents: Documents measured.
        bytes_per_token: All their bytes over all their tokens.
        low: Lower end of the 95 % interval over documents.
        high: Upper end.
        tokens_per_document: Mean.
    """

    tokenizer: str
    text: str
    num_documents: int
    bytes_per_token: float
    low: float
    high: float
    tokens_per_document: float


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Encoding speed, file to file.

    Attributes:
        tokenizer: The corpus that the tokenizer is of.
        num_threads: Threads.
        bytes_per_s: Median over rounds.
        pile_s: Time for the Pile's 825 GB at that rate.
    """

    tokenizer: str
    num_threads: int
    bytes_per_s: float
    pile_s: float


@dataclass(frozen=True, kw_only=True)
class Storage:
    """What ids take on disk, and why 16 bits are enough.

    Attributes:
        tokenizer: The corpus that the tokenizer is of.
        greatest_id: The greatest id of its vocabulary.
        dtype: The narrowest type that holds it.
        bytes_per_text_byte: Size of the ids over the size of the text.
    """

    tokenizer: str
    greatest_id: int
    dtype: str
    bytes_per_text_byte: float


@dataclass(frozen=True, kw_only=True)
class Study:
    """All that was found; the first tokenizer or text of each pair is that of the first corpus."""

    corpora: tuple[Corpus, Corpus]
    trainings: tuple[Training, ...]
    overlap: Overlap
    sampled: tuple[Compression, ...]
    whole: tuple[Compression, ...]
    scripts: dict[str, list[ScriptFacts]]
    throughput: tuple[Throughput, ...]
    storage: tuple[Storage, ...]
    paths: dict[str, str] = field(default_factory=dict)


def study_tokenizers(
    first: Corpus, second: Corpus, out: Path, *, num_sampled: int = 10, seed: int = 0, say: Say = lambda _text: None
) -> Study:
    """Train both tokenizers into `out`, and measure them on both corpora.

    Raises:
        ValueError: The corpora have the same name, or a held-out text has fewer documents than are to be sampled.
        OSError: A file cannot be read or written.
    """
    corpora = (first, second)
    if first.name == second.name:
        raise ValueError(f"the two corpora must have different names, got {first.name!r} twice")
    out.mkdir(parents=True, exist_ok=True)
    texts = {corpus.name: list(documents(corpus.valid)) for corpus in corpora}
    for corpus in corpora:
        if len(texts[corpus.name]) < num_sampled:
            raise ValueError(
                f"{corpus.valid} has {len(texts[corpus.name])} documents, {num_sampled} are to be sampled; "
                f"documents end with {END_OF_TEXT}"
            )
    trainings, tokenizers = [], {}
    for corpus in corpora:
        say(f"training {corpus.vocab_size:,} tokens on {corpus.name}")
        path = out / f"{corpus.name}.json"
        trainings.append(train_apart(corpus, path))
        tokenizers[corpus.name] = Tokenizer.load(path)
    generator = np.random.default_rng(seed)
    samples = {
        name: [each[i] for i in sorted(generator.choice(len(each), num_sampled, replace=False).tolist())]
        for name, each in texts.items()
    }
    say("measuring compression")
    pairs = [(mine, other) for mine in tokenizers for other in texts]
    sampled = [measure(tokenizers[a], samples[b], tokenizer_name=a, text_name=b, seed=seed) for a, b in pairs]
    whole = [measure(tokenizers[a], texts[b], tokenizer_name=a, text_name=b, seed=seed) for a, b in pairs]
    say("measuring speed")
    return Study(
        corpora=corpora,
        trainings=tuple(trainings),
        overlap=compare(tokenizers[first.name], tokenizers[second.name]),
        sampled=tuple(sampled),
        whole=tuple(whole),
        scripts={f"{a} on {b}": by_script(tokenizers[a], texts[b]) for a, b in pairs},
        throughput=tuple(
            measure_speed(tokenizers[corpus.name], corpus, num_threads=count)
            for corpus in corpora
            for count in sorted({1, os.cpu_count() or 1})
        ),
        storage=tuple(
            _storage(tokenizers[c.name], c.name, m) for c, m in zip(corpora, (whole[0], whole[3]), strict=True)
        ),
        paths={corpus.name: str(out / f"{corpus.name}.json") for corpus in corpora},
    )


def train_apart(corpus: Corpus, path: Path) -> Training:
    """Train in a process of its own, so that its peak of memory is that of training and of nothing before."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        elapsed_s, stages_s, peak_bytes = pool.submit(
            timed_training, str(corpus.train), corpus.vocab_size, END_OF_TEXT, str(path)
        ).result()
    tokenizer = Tokenizer.load(path)
    longest = [token.content for token in vocabulary_facts(tokenizer).longest]
    return Training(
        corpus=corpus.name,
        vocab_size=tokenizer.vocab_size,
        num_bytes=corpus.train.stat().st_size,
        elapsed_s=elapsed_s,
        stages_s=stages_s,
        peak_bytes=peak_bytes,
        longest=tuple(map(spell_listed, longest)),
        num_words=sum(_is_word(token.decode(errors="replace")) for token in longest),
    )


def _is_word(token: str) -> bool:
    """Tell whether a token is letters, after a space or not, and not one thing over and over."""
    return _WORD.fullmatch(token) is not None and _REPEATED.fullmatch(token) is None


def measure(
    tokenizer: Tokenizer, texts: Sequence[bytes], *, tokenizer_name: str, text_name: str, seed: int
) -> Compression:
    """Measure bytes a token over documents, with a bootstrap interval over them."""
    sizes = np.array([len(text) for text in texts], np.float64)
    encoded = tokenizer.encode_batch([text.decode() for text in texts])
    counts = np.array([len(ids) for ids in encoded], np.float64)
    generator = np.random.default_rng(seed)
    picks = (generator.integers(len(texts), size=len(texts)) for _ in range(NUM_RESAMPLES))
    ratios = [sizes[pick].sum() / counts[pick].sum() for pick in picks]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Compression(
        tokenizer=tokenizer_name,
        text=text_name,
        num_documents=len(texts),
        bytes_per_token=float(sizes.sum() / counts.sum()),
        low=float(low),
        high=float(high),
        tokens_per_document=float(counts.mean()),
    )


def by_script(tokenizer: Tokenizer, texts: Sequence[bytes]) -> list[ScriptFacts]:
    """Return bytes a token by script, over documents up to some megabytes."""
    taken: list[str] = []
    size = 0
    for text in texts:
        if taken and size + len(text) > _BY_SCRIPT_BYTES:
            break
        taken.append(text.decode())
        size += len(text)
    return text_facts(tokenizer, "".join(taken)).scripts


def measure_speed(tokenizer: Tokenizer, corpus: Corpus, *, num_threads: int) -> Throughput:
    """Encode the held-out text file to file, some rounds, and take the median rate."""
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(_ROUNDS):
            begin = time.perf_counter()
            stats = tokenizer.encode_file(corpus.valid, Path(folder) / f"{index}.npy", num_threads=num_threads)
            rates.append(stats.num_bytes / (time.perf_counter() - begin))
    rate = statistics.median(rates)
    return Throughput(tokenizer=corpus.name, num_threads=num_threads, bytes_per_s=rate, pile_s=PILE_BYTES / rate)


def _storage(tokenizer: Tokenizer, name: str, own: Compression) -> Storage:
    greatest_id = max(tokenizer.vocab)
    dtype = np.dtype(np.uint16 if greatest_id <= np.iinfo(np.uint16).max else np.uint32)
    return Storage(
        tokenizer=name,
        greatest_id=greatest_id,
        dtype=str(dtype),
        bytes_per_text_byte=dtype.itemsize / own.bytes_per_token,
    )
