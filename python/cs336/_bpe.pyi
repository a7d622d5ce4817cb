"""Types of the compiled half of `cs336.tokenizer`. What the methods do is told by their docstrings (`help`)."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

__all__ = [
    "Contents",
    "Counter",
    "EncodeIterator",
    "Tokenizer",
    "Trainer",
    "hash_file",
    "merge_counts",
    "read_count_summary",
    "read_gpt2",
    "read_hf",
    "read_tiktoken",
    "run_corpus_shuffle",
    "run_corpus_task",
    "write_file",
]

_StrPath = str | os.PathLike[str]
_Progress = Callable[[str, int, int], object]
_SpecialTokens = Iterable[str] | Mapping[str, int]
_Vocab = dict[int, bytes]
_Merges = list[tuple[bytes, bytes]]
_SourceCount = tuple[int, int, int, int, dict[str, int]]
_CountSummary = tuple[str, list[str], int, int]

@disjoint_base
class Tokenizer:
    def __new__(
        cls,
        vocab: Mapping[int, bytes] | Contents,
        merges: Iterable[tuple[bytes, bytes]],
        special_tokens: _SpecialTokens | None = None,
        *,
        pattern: str | None = None,
        ignore_merges: bool | None = None,
    ) -> Self: ...
    def encode(
        self, text: str, *, special_tokens: Iterable[str] | None = None, num_threads: int | None = None
    ) -> list[int]: ...
    def encode_ordinary(self, text: str, *, num_threads: int | None = None) -> list[int]: ...
    def encode_array(
        self, text: str, *, special_tokens: Iterable[str] | None = None, num_threads: int | None = None
    ) -> NDArray[np.uint32]: ...
    def encode_file_to_array(
        self,
        path: _StrPath,
        *,
        special_tokens: Iterable[str] | None = None,
        num_threads: int | None = None,
        progress: _Progress | None = None,
    ) -> NDArray[np.uint32]: ...
    def encode_batch(
        self,
        texts: Iterable[str],
        num_threads: int | None = None,
        *,
        special_tokens: Iterable[str] | None = None,
    ) -> list[list[int]]: ...
    def encode_batch_to_array(
        self,
        texts: Iterable[str],
        num_threads: int | None = None,
        *,
        special_tokens: Iterable[str] | None = None,
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]: ...
    def encode_unfinished(
        self, text: str, *, special_tokens: Iterable[str] | None = None
    ) -> tuple[list[int], list[list[int]]]: ...
    def encode_iterable(self, strings: Iterable[str]) -> EncodeIterator: ...
    def encode_to_npy(
        self,
        src: _StrPath,
        dst: _StrPath,
        *,
        num_threads: int | None = None,
        progress: _Progress | None = None,
    ) -> tuple[int, int, int, str]: ...
    def decode(self, ids: Iterable[int] | NDArray[np.integer[Any]]) -> str: ...
    def decode_bytes(self, ids: Iterable[int] | NDArray[np.integer[Any]]) -> bytes: ...
    def write_hf(self, path: _StrPath) -> str | None: ...
    def write_tiktoken(self, path: _StrPath) -> None: ...
    def ranks(self) -> dict[bytes, int]: ...
    def token_to_id(self, token: bytes) -> int | None: ...
    def id_to_token(self, token_id: int) -> bytes | None: ...
    def ordinary_tokens(self) -> list[bytes]: ...
    def undeclared_special_tokens(self) -> list[bytes]: ...
    def write_gpt2(self, vocab_path: _StrPath, merges_path: _StrPath) -> None: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def vocab(self) -> _Vocab: ...
    @property
    def merges(self) -> _Merges: ...
    def canonical_content(self) -> tuple[int, int, bytes]: ...
    @property
    def special_tokens(self) -> dict[str, int]: ...
    @property
    def ignore_merges(self) -> bool: ...
    @property
    def pattern(self) -> str: ...
    @property
    def pattern_regex(self) -> str: ...

@final
class EncodeIterator(Iterator[int]):
    def __iter__(self) -> Self: ...
    def __next__(self) -> int: ...

@final
class Trainer:
    def __new__(
        cls,
        vocab_size: int,
        special_tokens: Iterable[str],
        *,
        pattern: str = "gpt2",
        num_threads: int | None = None,
        min_frequency: int = 1,
        max_token_length: int | None = None,
    ) -> Self: ...
    def count_file(self, path: _StrPath, *, weight: int = 1, progress: _Progress | None = None) -> None: ...
    def count_source(
        self, source: Mapping[str, Any], *, weight: int = 1, progress: _Progress | None = None
    ) -> _SourceCount: ...
    def count_texts(self, texts: Sequence[str], *, weight: int = 1, progress: _Progress | None = None) -> None: ...
    def add_counts(self, path: _StrPath, *, progress: _Progress | None = None) -> None: ...
    def begin_second_stage(
        self,
        transition_size: int,
        *,
        pattern: str,
        max_token_words: int | None,
        forbidden: Iterable[str],
        progress: _Progress | None = None,
    ) -> None: ...
    def finish(self, *, progress: _Progress | None = None) -> tuple[_Vocab, _Merges]: ...
    @property
    def num_pretokens(self) -> int | None: ...

@final
class Counter:
    def __new__(
        cls,
        out: _StrPath,
        special_tokens: Iterable[str],
        *,
        pattern: str = "gpt2",
        num_threads: int | None = None,
        memory_bytes: int,
    ) -> Self: ...
    def count_file(self, path: _StrPath, *, weight: int = 1, progress: _Progress | None = None) -> None: ...
    def count_source(
        self, source: Mapping[str, Any], *, weight: int = 1, progress: _Progress | None = None
    ) -> _SourceCount: ...
    def count_texts(self, texts: Sequence[str], *, weight: int = 1, progress: _Progress | None = None) -> None: ...
    def finish(self, *, progress: _Progress | None = None) -> _CountSummary: ...

def merge_counts(inputs: Sequence[_StrPath], out: _StrPath, *, progress: _Progress | None = None) -> _CountSummary: ...
def read_count_summary(path: _StrPath) -> _CountSummary: ...

@final
class Contents:
    @property
    def has_pattern(self) -> bool: ...

def read_gpt2(
    vocab_path: _StrPath, merges_path: _StrPath, special_tokens: _SpecialTokens | None = None
) -> Contents: ...
def read_hf(path: _StrPath, pattern: str | None = None) -> Contents: ...
def read_tiktoken(path: _StrPath) -> Contents: ...
def run_corpus_task(
    tokenizer: Tokenizer,
    task: str,
    *,
    num_threads: int | None = None,
    progress: Callable[[int, int, int, int], object] | None = None,
    crash_at: int | None = None,
) -> str: ...
def run_corpus_shuffle(
    tokenizer: Tokenizer,
    shuffle: str,
    *,
    num_threads: int | None = None,
    progress: Callable[[str, int, int], object] | None = None,
    crash_at: int | None = None,
) -> None: ...
def hash_file(path: _StrPath) -> tuple[int, str]: ...
def write_file(path: _StrPath, content: bytes) -> None: ...
