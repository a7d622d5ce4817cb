"""Training a tokenizer under the clock, in a process that does nothing else, so that its peak of memory tells."""

import time

from cs336._memory import peak_resident_bytes
from cs336.tokenizer import Tokenizer, train_bpe


def timed_training(text: str, vocab_size: int, special_token: str, path: str) -> tuple[float, dict[str, float], int]:
    """Train on a text file and save the tokenizer.

    Returns:
        Wall clock in seconds; the same by stage, `count` with reading and `merge`; most bytes that the process held.
    """
    last_s: dict[str, float] = {}
    begin = time.perf_counter()
    vocab, merges = train_bpe(
        text,
        vocab_size,
        [special_token],
        progress=lambda stage, _done, _total: last_s.update({stage: time.perf_counter()}),
    )
    elapsed_s = time.perf_counter() - begin
    counted_s = last_s.get("count", begin) - begin
    peak_bytes = peak_resident_bytes() or 0
    Tokenizer(vocab, merges, [special_token]).save(path)
    return elapsed_s, {"count": counted_s, "merge": elapsed_s - counted_s}, peak_bytes
