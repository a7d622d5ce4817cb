"""Counts of pretokens in files: a corpus counted in parts, anywhere, and trained on as if it were whole."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from cs336 import _bpe
from cs336.inputs import ReadOptions
from cs336.tokenizer.training import Progress, StrPath, text_source


@dataclass(frozen=True)
class CountSummary:
    """What is in a file of counts.

    Attributes:
        pattern: the regular expression that texts were cut by.
        special_tokens: what they were cut at before, in the order of their bytes.
        num_pretokens: distinct pretokens.
        num_bytes: bytes of text that were counted, each as often as it weighed.
    """

    pattern: str
    special_tokens: tuple[str, ...]
    num_pretokens: int
    num_bytes: int

    @classmethod
    def load(cls, path: StrPath) -> Self:
        """Read it from a file, without going through the pretokens.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not a file of counts, cut off, or its header is damaged.
        """
        return cls._of(_bpe.read_count_summary(path))

    @classmethod
    def _of(cls, parts: tuple[str, list[str], int, int]) -> Self:
        pattern, special_tokens, num_pretokens, num_bytes = parts
        return cls(pattern, tuple(special_tokens), num_pretokens, num_bytes)


def count_pretokens(
    input_path: StrPath | Sequence[StrPath] | Iterable[str],
    out: StrPath,
    special_tokens: Sequence[str] = (),
    *,
    pattern: str = "gpt2",
    memory_mb: int = 1024,
    weights: Sequence[int] | None = None,
    read: ReadOptions | None = None,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> CountSummary:
    """Count the pretokens of texts into a file, to train on later: `train_bpe(counts=[out, ...])`.

    The file holds each pretoken once, in the order of its bytes, and depends on the texts alone. However a corpus is
    divided, the counts of its parts add up to those of the whole; they may be counted anywhere, at the same time.

    Args:
        input_path: as for `train_bpe`.
        out: the file to write.
        special_tokens: as for `train_bpe`; the order does not matter here.
        pattern: as for `train_bpe`.
        memory_mb: about how much memory the tables may take. What is more goes to a directory beside `out`.
        weights: as for `train_bpe`.
        read: as for `train_bpe`.
        num_threads: None for all cores.
        progress: as for `train_bpe`, with stage "sum" at the end if tables went to disk: pretokens, with total 0.

    Raises:
        OSError: A file cannot be read, or the disk is full; nothing is left then.
        ValueError: As `train_bpe`.
    """
    counter = _bpe.Counter(out, special_tokens, pattern=pattern, num_threads=num_threads, memory_bytes=memory_mb << 20)
    text_source(input_path, weights, read).count(counter, progress)
    return CountSummary._of(counter.finish(progress=progress))


def merge_counts(inputs: Sequence[StrPath], out: StrPath, *, progress: Progress | None = None) -> CountSummary:
    """Add up files of counts into one, in memory that does not depend on their size.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: One is damaged, or was counted with another pattern or other special tokens than the first.
    """
    return CountSummary._of(_bpe.merge_counts(list(inputs), out, progress=progress))
