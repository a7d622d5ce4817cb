"""The tokenizer study: two corpora, a vocabulary from each, and what every deliverable of the course asks of them.

Compression is bytes a token: higher is better. It is measured on sampled documents (not lines) and on the whole
held-out texts, each tokenizer on both corpora, with intervals from resampling documents: they say how far another
sample of documents would move the number.
"""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from cs336.experiments.documents import END_OF_TEXT, documents
from cs336.experiments.timed_training import timed_training
from cs336.experiments.tokenizer_facts import Compression, Corpus, Shared, Storage, Study, Throughput, Training
from cs336.tokenizer import Tokenizer
from cs336.tokenizer.inspection import ScriptFacts, compare, spell_listed, text_facts, vocabulary_facts

PILE_BYTES = 825 * 10**9
NUM_RESAMPLES = 1000
_BY_SCRIPT_BYTES = 4 << 20  # of the held-out text: enough for shares, little to hold
_LEAST_TIMED_BYTES = 8 << 20
_ROUNDS = 3
Say = Callable[[str], object]


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
        overlap=_shared(tokenizers[first.name], tokenizers[second.name]),
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
    )


def measure(
    tokenizer: Tokenizer, texts: Sequence[bytes], *, tokenizer_name: str, text_name: str, seed: int
) -> Compression:
    """Measure bytes a token over documents, with a bootstrap interval over them."""
    sizes = np.array([len(text) for text in texts], np.float64)
    counts = np.array([len(tokenizer.encode_array(text.decode())) for text in texts], np.float64)
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


def by_script(tokenizer: Tokenizer, texts: Sequence[bytes]) -> tuple[ScriptFacts, ...]:
    """Return bytes a token by script, over documents up to some megabytes."""
    taken: list[str] = []
    size = 0
    for text in texts:
        if taken and size + len(text) > _BY_SCRIPT_BYTES:
            break
        taken.append(text.decode())
        size += len(text)
    return tuple(text_facts(tokenizer, "".join(taken)).scripts)


def measure_speed(tokenizer: Tokenizer, corpus: Corpus, *, num_threads: int) -> Throughput:
    """Encode a text file to file, some rounds, and take the median rate.

    The text is the held-out one, or that trained on where the held-out one is so short that starting would be timed.
    """
    text = corpus.valid if corpus.valid.stat().st_size >= _LEAST_TIMED_BYTES else corpus.train
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(_ROUNDS):
            begin = time.perf_counter()
            stats = tokenizer.encode_file(text, Path(folder) / f"{index}.npy", num_threads=num_threads)
            rates.append(stats.num_bytes / (time.perf_counter() - begin))
    rate = statistics.median(rates)
    return Throughput(
        tokenizer=corpus.name,
        num_threads=num_threads,
        num_bytes=text.stat().st_size,
        bytes_per_s=rate,
        pile_s=PILE_BYTES / rate,
    )


def _shared(first: Tokenizer, second: Tokenizer) -> Shared:
    found = compare(first, second)
    mine, others = (tuple(spell_listed(token.content) for token in tokens) for tokens in found.only)
    return Shared(num_shared=found.num_shared, num_only=found.num_only, only=(mine, others))


def _storage(tokenizer: Tokenizer, name: str, own: Compression) -> Storage:
    greatest_id = max(tokenizer.vocab)
    dtype = np.dtype(np.uint16 if greatest_id <= np.iinfo(np.uint16).max else np.uint32)
    return Storage(
        tokenizer=name,
        greatest_id=greatest_id,
        dtype=str(dtype),
        bytes_per_text_byte=dtype.itemsize / own.bytes_per_token,
    )
