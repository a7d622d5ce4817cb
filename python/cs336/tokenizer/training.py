"""Training a vocabulary: which texts to count. Counting and merging happen in `cs336._bpe.Trainer`."""

import errno
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Any, Protocol

from cs336 import _bpe
from cs336.inputs import InputFile, Inputs, ReadOptions, described, expand, has_wildcards, is_url, warn_of_rejected

StrPath = str | os.PathLike[str]
Progress = Callable[[str, int, int], object]

# Texts from an iterator are counted so many characters at a time: enough to keep all cores busy, little to hold.
BATCH_CHARACTERS = 8 << 20

# Counts are whole numbers of 64 bits.
MAX_COUNT = 2**63 - 1


def train_bpe(
    input_path: StrPath | Sequence[StrPath] | Iterable[str] | None,
    vocab_size: int,
    special_tokens: Sequence[str] = (),
    *,
    pattern: str = "gpt2",
    min_frequency: int = 1,
    max_token_length: int | None = None,
    weights: Sequence[int] | None = None,
    counts: Sequence[StrPath] = (),
    read: ReadOptions | None = None,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Train a byte-pair vocabulary: merge the most frequent pair, ties to the greater pair of byte strings.

    The result depends on the texts only: not on threads, nor on how texts are spread over files.

    Args:
        input_path: a path, a list or tuple of paths, or an iterator over texts (for a list of texts: `iter(texts)`).
            Texts and files stand each for itself: no token reaches from one into the next. Paths may be patterns,
            directories and URLs; files are UTF-8 text, or JSON lines (.jsonl) or parquet with a text each, plain, .gz
            or .zst (see `cs336.inputs.expand`). None to train on `counts` alone.
        vocab_size: ids in all: 256 bytes, merges and special tokens. Fewer if the texts hold no more pairs.
        special_tokens: the texts are split at them, and they are never counted. They get the last ids.
        pattern: "gpt2", "cl100k", "llama3", "qwen2", "o200k", or a regular expression: its matches are the pretokens,
            within which merges happen.
        min_frequency: pairs that occur less often are not merged.
        max_token_length: in bytes; pairs that are longer together are not merged. None for no limit.
        weights: for a list of paths, how often each counts (1 or more).
        read: how files are read: their format, text field, separator, and what happens to bad records.
        counts: files of `count_pretokens`, as if their texts were given here: with the same pattern and special tokens.
        num_threads: None for all cores.
        progress: called some times a second as `progress(stage, done, total)`. Stage "count": bytes of all files, or
            characters of an iterator with total 0, or pretokens of a file of counts; stage "merge": merges.

    Returns:
        The vocabulary, and the merges in order of creation.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is not UTF-8 (names the offset), the vocabulary is too small for the bytes and special
            tokens, a special token is empty or given twice, the pattern is invalid, a limit or weight is less than 1,
            there are not as many weights as files, counts are damaged or of another pattern or other special tokens.
        TypeError: the iterator yields something other than str.

    Source: Sennrich et al. 2016, on bytes as in GPT-2; handout, section 2.4.
    """
    trainer = _bpe.Trainer(
        vocab_size,
        special_tokens,
        pattern=pattern,
        num_threads=num_threads,
        min_frequency=min(min_frequency, MAX_COUNT),  # no pair occurs more often
        max_token_length=max_token_length,
    )
    if input_path is None and not counts:
        raise ValueError("there is nothing to train on, expected texts or counts")
    if input_path is not None:
        text_source(input_path, weights, read).count(trainer, progress)
    for path in counts:
        trainer.add_counts(path, progress=progress)
    return trainer.finish(progress=progress)


def train_superbpe(
    input_path: StrPath | Sequence[StrPath] | Iterable[str],
    vocab_size: int,
    special_tokens: Sequence[str] = (),
    *,
    transition_size: int,
    pattern: str = "gpt2",
    superword_pattern: str = "superbpe",
    max_token_words: int | None = 4,
    forbidden: Sequence[str] = (": ",),
    min_frequency: int = 1,
    max_token_length: int | None = None,
    weights: Sequence[int] | None = None,
    read: ReadOptions | None = None,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    r"""Train a SuperBPE vocabulary: words first, as `train_bpe`, and then tokens that reach across white space.

    The second stage begins at `transition_size`: the merges learned so far are applied to the pretokens of
    `superword_pattern`, which are as long as paragraphs, and training goes on within these. No token reaches across a
    special token or from one text or file into the next. A `Tokenizer` for the result is given the pattern of the
    second stage: `Tokenizer(vocab, merges, special_tokens, pattern="superbpe")`; saved as `tokenizer.json` it gives the
    same ids elsewhere, for the pattern stands there and merges of a lower rank come first in any case.

    Args:
        input_path: as for `train_bpe`. It is gone through twice: what an iterator yields is kept in a temporary file.
        vocab_size: ids in all, as for `train_bpe`.
        special_tokens: as for `train_bpe`.
        transition_size: the size of the vocabulary, special tokens included, at which the second stage begins. The
            paper trains 200,000 tokens with transitions at 80,000, 160,000 and 180,000: the smaller encodes in fewer
            tokens, the larger gave the better models.
        pattern: that of the first stage.
        superword_pattern: that of the second stage. "superbpe" is the paper's: groups of up to 3 digits, runs of two or
            more punctuation marks and runs of spaces stand alone. `r"[^\n]+|\n+"`, say, keeps to lines.
        max_token_words: in the second stage, pairs that hold more words together are not merged. A word is a stretch
            without a space, at least in part. The paper's vocabularies have 4; None for no limit.
        forbidden: in the second stage, pairs that contain one of these together are not merged. The paper's
            vocabularies hold no ": ", with which prompts end.
        min_frequency: as for `train_bpe`, in both stages.
        max_token_length: as for `train_bpe`, in both stages.
        weights: as for `train_bpe`.
        read: as for `train_bpe`.
        num_threads: None for all cores.
        progress: as for `train_bpe`; both stages occur twice.

    Returns:
        The vocabulary, and the merges of both stages in order of creation.

    Raises:
        OSError: a file cannot be read.
        ValueError: as `train_bpe`, and if the transition size is out of range.
        TypeError: the iterator yields something other than str.

    Source: Liu et al. 2025, "SuperBPE: Space Travel for Language Models", arXiv 2503.13423; the two limits are those of
    the trainer published with it.
    """
    trainer = _bpe.Trainer(
        vocab_size,
        special_tokens,
        pattern=pattern,
        num_threads=num_threads,
        min_frequency=min(min_frequency, MAX_COUNT),  # no pair occurs more often
        max_token_length=max_token_length,
    )
    with TemporaryFile() as file:
        kept = _Kept(input_path, file) if isinstance(input_path, Iterator) else input_path
        source = text_source(kept, weights, read)
        source.count(trainer, progress)
        trainer.begin_second_stage(
            transition_size,
            pattern=superword_pattern,
            max_token_words=max_token_words,
            forbidden=forbidden,
            progress=progress,
        )
        source.count(trainer, progress)
        return trainer.finish(progress=progress)


class Counts(Protocol):
    """What texts are counted into: a trainer, or a counter that writes to a file."""

    def count_file(self, path: StrPath, *, weight: int = 1, progress: Progress | None = None) -> None:
        """Count a UTF-8 text file."""

    def count_texts(self, texts: Sequence[str], *, weight: int = 1, progress: Progress | None = None) -> None:
        """Count texts, each for itself."""

    def count_source(
        self, source: Mapping[str, Any], *, weight: int = 1, progress: Progress | None = None
    ) -> tuple[int, int, int, int, dict[str, int]]:
        """Count the documents of a source; the last item tells how many records were rejected for what."""
        ...


@dataclass(frozen=True)
class _Files:
    files: Sequence[InputFile]
    weights: Sequence[int]
    read: ReadOptions

    def count(self, counts: Counts, progress: Progress | None) -> None:
        sizes = [file.size_bytes or 0 for file in self.files]
        for index, (file, weight) in enumerate(zip(self.files, self.weights, strict=True)):
            shifted = progress and _shifted(progress, sum(sizes[:index]), sum(sizes))
            if self.read.takes_as_it_is(file):
                counts.count_file(file.name, weight=weight, progress=shifted)
                continue
            with described(file, self.read) as source:
                *_, rejected = counts.count_source(source, weight=weight, progress=shifted)
            warn_of_rejected(file.name, rejected)


@dataclass(frozen=True)
class _Texts:
    texts: Iterable[str]

    def count(self, counts: Counts, progress: Progress | None) -> None:
        num_characters = 0
        for batch in _batches(self.texts):
            counts.count_texts(batch, weight=1)
            num_characters += sum(map(len, batch))
            if progress is not None:
                progress("count", num_characters, 0)


class _Kept:
    """Texts of an iterator that can be gone through again: the first time they are written to a file.

    Each stands behind the number of its bytes, for texts may hold whatever would divide them.
    """

    def __init__(self, texts: Iterator[str], file: IO[bytes]) -> None:
        self._texts = texts
        self._file = file
        self._is_written = False

    def __iter__(self) -> Iterator[str]:
        return self._read() if self._is_written else self._write()

    def _write(self) -> Iterator[str]:
        for text in self._texts:
            if isinstance(text, str):  # whoever gets something else refuses it by its index
                content = text.encode(errors="surrogatepass")
                self._file.write(len(content).to_bytes(8, "little") + content)
            yield text
        self._is_written = True

    def _read(self) -> Iterator[str]:
        self._file.seek(0)
        while size := self._file.read(8):
            yield self._file.read(int.from_bytes(size, "little")).decode(errors="surrogatepass")


def text_source(
    input_path: Inputs | Iterable[str], weights: Sequence[int] | None, read: ReadOptions | None = None
) -> _Files | _Texts:
    """Find out what is to be counted.

    Raises:
        As `train_bpe`.
    """
    read = read or ReadOptions()
    if isinstance(input_path, (str, os.PathLike)):
        input_path = [input_path]
    if isinstance(input_path, Sequence):
        paths = _checked_paths(input_path)
        weights = _checked_weights(weights, len(paths))
        found = [expand(path, format=read.format, otherwise="text") for path in paths]
        files = [file for some in found for file in some]
        return _Files(files, [weight for some, weight in zip(found, weights, strict=True) for _ in some], read)
    if isinstance(input_path, io.IOBase):
        raise TypeError("got an open file, whose lines would be trained on as texts of their own; pass its path")
    if weights is not None:
        raise ValueError(
            "weights are for a list of paths, got an iterator over texts; yield a text as often as it counts"
        )
    return _Texts(input_path)


def _checked_weights(weights: Sequence[int] | None, num_files: int) -> Sequence[int]:
    if weights is None:
        return [1] * num_files
    if len(weights) != num_files:
        raise ValueError(f"weights must be as many as the files, got {len(weights)} for {num_files}")
    for index, weight in enumerate(weights):
        if not isinstance(weight, int):
            raise TypeError(f"weights must hold int, got {type(weight).__name__} at index {index}")
        if weight < 1:
            raise ValueError(f"weights must be at least 1, got {weight} at index {index}; leave that file out")
        if weight > MAX_COUNT:
            raise ValueError(f"weights must be at most 2**63 - 1, got {weight} at index {index}")
    return weights


def _checked_paths(paths: Sequence[StrPath]) -> Sequence[StrPath]:
    if not paths:
        raise ValueError("the list of input files is empty, expected at least one path")
    for path in paths:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"input_path must hold paths, got {type(path).__name__}")
        is_name = isinstance(path, str) and not is_url(path) and not has_wildcards(path)
        if is_name and not os.path.exists(path):  # noqa: PTH110  (Path.exists raises on long strings)
            hint = "No such file (a list names files; to train on a list of texts pass iter(texts))"
            raise FileNotFoundError(errno.ENOENT, hint, shortened(path))
    return paths


def shortened(path: StrPath) -> str:
    """What a message shows of what may be a whole text."""
    name = os.fspath(path)
    return name if len(name) < 200 else name[:200] + "..."


def _shifted(progress: Progress, done_before: int, total: int) -> Progress:
    return lambda stage, done, _: progress(stage, done_before + done, total)


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
