"""Class `Tokenizer`: what `cs336._bpe.Tokenizer` does fast, with files, pickling and comparison around it."""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from cs336 import _bpe
from cs336.tokenizer.content import Content, pack, unpack
from cs336.tokenizer.stream import DecodeStream

END_OF_TEXT = "<|endoftext|>"

StrPath = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class EncodeStats:
    """What `Tokenizer.encode_file` did.

    Attributes:
        num_tokens: ids written, special tokens included.
        num_bytes: size of the text.
        num_special_tokens: how many of the ids are special tokens. With one separator a document: the documents.
        dtype: of the ids in the file, "uint16" if every id of the vocabulary fits, else "uint32".
    """

    num_tokens: int
    num_bytes: int
    num_special_tokens: int
    dtype: str

    @property
    def bytes_per_token(self) -> float:
        """Compression: higher is better. 0 for an empty file."""
        return self.num_bytes / self.num_tokens if self.num_tokens else 0.0


class Tokenizer(_bpe.Tokenizer):
    """Byte-pair encoding with a fixed vocabulary. Immutable; any number of threads may share one.

    Args:
        vocab: the bytes of each id.
        merges: pairs in the order of their rank; both parts and the whole must be in the vocabulary.
        special_tokens: strings that stand for themselves: text is split at them first, the longest where several
            match. Those missing from the vocabulary are appended to it.
        pattern: "gpt2", or a regular expression, whose matches are the pretokens. What it leaves unmatched is kept.

    Raises:
        ValueError: the parts do not fit together, a special token is empty or given twice, the pattern is invalid.
    """

    __slots__ = ("__weakref__", "_sha256")

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        merges: Sequence[tuple[bytes, bytes]],
        special_tokens: Sequence[str] | None = None,
        *,
        pattern: str = "gpt2",
    ) -> None:
        super().__init__()  # the base class has taken the arguments in `__new__`
        self._sha256: str | None = None
        _warn_of_undeclared(vocab, special_tokens or ())

    @classmethod
    def from_files(
        cls,
        vocab_path: StrPath,
        merges_path: StrPath,
        special_tokens: Sequence[str] | None = None,
        *,
        pattern: str = "gpt2",
    ) -> Self:
        """Read GPT-2's file format: a JSON map from token to id, and a text file with a merge a line.

        Raises:
            OSError: a file cannot be read.
            ValueError: a file is malformed; names the file and the place.
        """
        vocab, merges = _bpe.read_gpt2(vocab_path, merges_path, special_tokens)
        return cls(vocab, merges, special_tokens, pattern=pattern)

    @classmethod
    def load(cls, path: StrPath, *, pattern: str | None = None) -> Self:
        """Read what `save` wrote: a `tokenizer.json`, or a directory that holds one.

        A directory with `vocab.json` and `merges.txt` gives a tokenizer without special tokens, which that format does
        not tell: use `from_files`.

        Args:
            path: the file or directory. Byte-level BPE files of Hugging Face's `tokenizers` can be read, too.
            pattern: used instead of the one in the file.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is malformed or asks for something that this tokenizer does not do.
        """
        path = Path(path)
        if path.is_dir():
            if not (path / "tokenizer.json").exists() and (path / "vocab.json").exists():
                return cls.from_files(path / "vocab.json", path / "merges.txt", pattern=pattern or "gpt2")
            path /= "tokenizer.json"
        vocab, merges, special_tokens, own_pattern = _bpe.read_hf(path)
        return cls(vocab, merges, special_tokens, pattern=pattern or own_pattern)

    def save(self, path: StrPath, format: Literal["tokenizer.json", "gpt2"] = "tokenizer.json") -> None:  # noqa: A002
        """Write the tokenizer; a file appears under its name only when it is whole.

        Args:
            path: a file name, or an existing directory, for "tokenizer.json"; a directory (made if need be) for "gpt2".
            format: "tokenizer.json" holds everything, special tokens and pattern too, as Hugging Face's `tokenizers`
                reads it. "gpt2" is `vocab.json` and `merges.txt`, which leave those two to whoever reads them.

        Raises:
            OSError: the file cannot be written.
        """
        path = Path(path)
        if format == "tokenizer.json":
            self.write_hf(path / "tokenizer.json" if path.is_dir() else path)
        elif format == "gpt2":
            path.mkdir(exist_ok=True)
            self.write_gpt2(path / "vocab.json", path / "merges.txt")
        else:
            raise ValueError(f'format must be "tokenizer.json" or "gpt2", got {format!r}')

    def encode_file(
        self,
        src: StrPath,
        dst: StrPath,
        *,
        num_threads: int | None = None,
        progress: Callable[[str, int, int], object] | None = None,
    ) -> EncodeStats:
        """Encode a UTF-8 text file into a one-dimensional `.npy` file, which appears only when it is whole.

        Args:
            src: the text, read as one string: special tokens in it are recognised.
            dst: the ids, uint16 if every id of the vocabulary fits, else uint32.
            num_threads: None for all cores; the ids do not depend on it.
            progress: called now and then as `progress("encode", bytes done, bytes in all)`.

        Raises:
            OSError: a file cannot be read or written.
            ValueError: the text is not UTF-8; names the offset.
        """
        num_tokens, num_bytes, num_special_tokens, dtype = self.encode_to_npy(
            src, dst, num_threads=num_threads, progress=progress
        )
        return EncodeStats(
            num_tokens=num_tokens, num_bytes=num_bytes, num_special_tokens=num_special_tokens, dtype=dtype
        )

    def decode_stream(self) -> DecodeStream:
        """A decoder that takes one id at a time."""
        return DecodeStream(self)

    @property
    def eos_id(self) -> int | None:
        """The id of the special token `<|endoftext|>`, None without one."""
        return self.special_tokens.get(END_OF_TEXT)

    @property
    def sha256(self) -> str:
        """Hash of the content (vocabulary, merges, special tokens, pattern), in hexadecimal. See `content.pack`."""
        if self._sha256 is None:
            self._sha256 = hashlib.sha256(self._packed()).hexdigest()
        return self._sha256

    def _packed(self) -> bytes:
        return pack(Content(self.vocab, self.merges, list(self.special_tokens), self.pattern_regex))

    @classmethod
    def _from_packed(cls, packed: bytes) -> Self:
        vocab, merges, special_tokens, pattern = unpack(packed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it was warned of where it was first made
            return cls(vocab, merges, special_tokens, pattern=pattern)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self)._from_packed, (self._packed(),)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tokenizer):
            return NotImplemented
        return self is other or self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(vocab_size={self.vocab_size}, "
            f"special_tokens={list(self.special_tokens)}, pattern={self.pattern!r})"
        )


def _warn_of_undeclared(vocab: Mapping[int, bytes], special_tokens: Iterable[str]) -> None:
    """Text with an undeclared special token is encoded as ordinary text: quietly several tokens a document."""
    looks_special = {t for t in vocab.values() if t.startswith(b"<|") and t.endswith(b"|>") and len(t) > len(b"<||>")}
    undeclared = sorted(looks_special - {token.encode() for token in special_tokens})
    if undeclared:
        names = [token.decode(errors="replace") for token in undeclared]
        warnings.warn(
            f"the vocabulary holds {', '.join(map(repr, names[:5]))}{' ...' if len(names) > 5 else ''}, not declared "
            f"special: in a text they would be split like any other words; pass special_tokens={names[:5]!r}",
            UserWarning,
            stacklevel=3,
        )
