"""Plain threads that share one tokenizer, with the GIL and on a Python that has none."""

import subprocess
import sys
import sysconfig
import textwrap
import threading
from collections.abc import Callable

import numpy as np
import pytest

from cs336.tokenizer import Tokenizer, train_bpe

EOT = "<|endoftext|>"
NUM_THREADS = 8


def side_by_side(works: list[Callable[[], object]]) -> list[object]:
    """The results of works that begin at the same moment, each on a thread of its own."""
    barrier = threading.Barrier(len(works))
    results: list[object] = [None] * len(works)

    def run(index: int) -> None:
        barrier.wait()
        try:
            results[index] = works[index]()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture(scope="module")
def texts(corpus) -> list[str]:
    """Different ones for each thread, with words that the others lack: caches miss and grow meanwhile."""
    return [
        "".join(f"{corpus} {(seed << 20) + number:x}{EOT}" for number in range(60)) + corpus * 300
        for seed in range(NUM_THREADS)
    ]


def test_each_way_to_encode_gives_the_ids_that_it_gives_alone(small, corpus, texts):
    def works_of(tokenizer: Tokenizer, text: str) -> list[Callable[[], object]]:
        ids = tokenizer.encode(text)
        return [
            lambda: tokenizer.encode(text),
            lambda: tokenizer.encode(text, special_tokens=(), num_threads=2),
            lambda: tokenizer.encode_ordinary(text),
            lambda: tokenizer.encode_array(text).tolist(),
            lambda: tokenizer.encode_batch([text, text[:100]], num_threads=2),
            lambda: list(tokenizer.encode_iterable(text[i : i + 50] for i in range(0, len(text), 50))),
            lambda: (tokenizer.decode(ids), tokenizer.decode_bytes(np.array(ids))),
            lambda: tokenizer.as_tiktoken().encode_with_unstable(text[:200], disallowed_special=()),
        ]

    vocab, merges = small.vocab, small.merges
    # Its own tokenizer for what is expected: the shared one is to be cold when the threads begin.
    expected = [work() for text in texts for work in works_of(Tokenizer(vocab, merges, [EOT]), text)]
    shared = Tokenizer(vocab, merges, [EOT])
    works = [work for text in texts for work in works_of(shared, text)]
    assert side_by_side(works) == expected


def test_training_on_several_threads_at_once_does_not_mix_them_up(texts):
    expected = [train_bpe(iter([text]), 400, [EOT]) for text in texts]
    works = [lambda text=text: train_bpe(iter([text]), 400, [EOT], num_threads=2) for text in texts]
    assert side_by_side(works) == expected


def test_an_iterator_that_threads_share_loses_nothing_and_repeats_nothing(small, texts):
    """Two at the same moment may be told that it is in use; whoever asks again gets the next id."""
    ids = small.encode_iterable(iter(texts))

    def take_some() -> list[int]:
        taken: list[int] = []
        while True:
            try:
                taken.append(next(ids))
            except StopIteration:
                return taken
            except RuntimeError:  # "already borrowed"
                continue

    taken = side_by_side([take_some] * NUM_THREADS)
    assert sorted(i for some in taken for i in some) == sorted(small.encode("".join(texts)))


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python always has a GIL")
def test_the_extension_leaves_the_gil_off():
    script = """
        import sys
        from cs336.tokenizer import train_bpe
        train_bpe(iter(["a b"]), 257)
        assert not sys._is_gil_enabled()
    """
    subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(script)], check=True, timeout=60)
