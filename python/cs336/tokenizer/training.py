"""Training a vocabulary: which texts to count. Counting and merging happen in `cs336._bpe.Trainer`."""

import errno
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from cs336 import _bpe

StrPath = str | os.PathLike[str]
Progress = Callable[[str, int, int], object]

# Texts from an iterator are counted so many characters at a time: enough to keep all cores busy, little to hold.
BATCH_CHARACTERS = 8 << 20


def train_bpe(
    input_path: StrPath | Sequence[StrPath] | Iterable[str],
    vocab_size: int,
    special_tokens: Sequence[str] = (),
    *,
    pattern: str = "gpt2",
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Train a byte-pair vocabulary: merge the most frequent pair, ties to the greater pair of byte strings.

    The result depends on the texts only: not on threads, nor on how texts are spread over files.

    Args:
        input_path: a path, a list or tuple of paths (UTF-8 text files), or an iterator over texts (for a list of
            texts: `iter(texts)`). Texts and files stand each for itself: no token reaches from one into the next.
        vocab_size: ids in all: 256 bytes, merges and special tokens. Fewer if the texts hold no more pairs.
        special_tokens: the texts are split at them, and they are never counted. They get the last ids.
        pattern: "gpt2", or a regular expression, whose matches are the pretokens, within which merges happen.
        num_threads: None for all cores.
        progress: called some times a second as `progress(stage, done, total)`. Stage "count": bytes of all files, or
            characters of an iterator with total 0; stage "merge": merges.

    Returns:
        The vocabulary, and the merges in order of creation.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is not UTF-8 (names the offset), the vocabulary is too small for the bytes and special
            tokens, a special token is empty or given twice, the pattern is invalid.
        TypeError: the iterator yields something other than str.

    Source: Sennrich et al. 2016, on bytes as in GPT-2; handout, section 2.4.
    """
    trainer = _bpe.Trainer(vocab_size, special_tokens, pattern=pattern, num_threads=num_threads)
    if isinstance(input_path, (str, os.PathLike)):
        _count_files(trainer, [input_path], progress)
    elif isinstance(input_path, Sequence):
        _count_files(trainer, _checked_paths(input_path), progress)
    elif isinstance(input_path, io.IOBase):
        raise TypeError("got an open file, whose lines would be trained on as texts of their own; pass its path")
    else:
        _count_texts(trainer, input_path, progress)
    return trainer.finish(progress=progress)


def _checked_paths(paths: Sequence[StrPath]) -> Sequence[StrPath]:
    if not paths:
        raise ValueError("the list of input files is empty, expected at least one path")
    for path in paths:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"input_path must hold paths, got {type(path).__name__}")
        if isinstance(path, str) and not os.path.exists(path):  # noqa: PTH110  (Path.exists raises on long strings)
            hint = "No such file (a list names files; to train on a list of texts pass iter(texts))"
            raise FileNotFoundError(errno.ENOENT, hint, path if len(path) < 200 else path[:200] + "...")
    return paths


def _count_files(trainer: _bpe.Trainer, paths: Sequence[StrPath], progress: Progress | None) -> None:
    sizes = [Path(path).stat().st_size for path in paths]
    for index, path in enumerate(paths):
        trainer.count_file(path, progress=progress and _shifted(progress, sum(sizes[:index]), sum(sizes)))


def _shifted(progress: Progress, done_before: int, total: int) -> Progress:
    return lambda stage, done, _: progress(stage, done_before + done, total)


def _count_texts(trainer: _bpe.Trainer, texts: Iterable[str], progress: Progress | None) -> None:
    num_characters = 0
    for batch in _batches(texts):
        trainer.count_texts(batch)
        num_characters += sum(map(len, batch))
        if progress is not None:
            progress("count", num_characters, 0)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    num_characters = 0
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"the texts must be str, got {type(text).__name__} at index {index}")
        batch.append(text)
        num_characters += len(text)
        if num_characters >= BATCH_CHARACTERS:
            yield batch
            batch, num_characters = [], 0
    if batch:
        yield batch
