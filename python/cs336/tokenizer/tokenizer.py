"""Class `Tokenizer`: what `cs336._bpe.Tokenizer` does fast, with files, pickling and comparison around it."""

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from cs336 import _bpe
from cs336.tokenizer.content import pack_header, unpack
from cs336.tokenizer.encoding import Encoding
from cs336.tokenizer.stream import DecodeStream

END_OF_TEXT = "<|endoftext|>"

StrPath = str | os.PathLike[str]
SpecialTokens = Sequence[str] | Mapping[str, int]
Format = Literal["tokenizer.json", "gpt2", "tiktoken"]


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
            match. Those missing from the vocabulary are appended to it; a mapping says under which ids.
        pattern: "gpt2", "cl100k", "llama3", "qwen2", "o200k", or a regular expression, whose matches are the pretokens.
            What it leaves unmatched is kept.
        ignore_merges: a pretoken that is a token takes its id even if the merges would come to others. tiktoken does
            so always, Hugging Face's `tokenizers` where this option is set (Llama 3). No difference for what
            `train_bpe` makes.

    Raises:
        ValueError: the parts do not fit together, a special token is empty or given twice, the pattern is invalid.
    """

    __slots__ = ("__weakref__", "_sha256")

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        merges: Sequence[tuple[bytes, bytes]],
        special_tokens: SpecialTokens | None = None,
        *,
        pattern: str = "gpt2",
        ignore_merges: bool = False,
    ) -> None:
        super().__init__()  # the base class has taken the arguments in `__new__`
        self._sha256: str | None = None
        _warn_of_undeclared(self.undeclared_special_tokens())

    @classmethod
    def from_files(
        cls,
        vocab_path: StrPath,
        merges_path: StrPath,
        special_tokens: SpecialTokens | None = None,
        *,
        pattern: str = "gpt2",
    ) -> Self:
        """Read GPT-2's file format: a JSON map from token to id, and a text file with a merge a line.

        Raises:
            OSError: a file cannot be read.
            ValueError: a file is malformed; names the file and the place.
        """
        contents = _bpe.read_gpt2(vocab_path, merges_path, special_tokens)
        return cls._from_contents(contents, special_tokens, pattern)

    @classmethod
    def load(cls, path: StrPath, *, pattern: str | None = None, special_tokens: SpecialTokens | None = None) -> Self:
        """Read a tokenizer from a file or directory, by `save` or by others.

        - `tokenizer.json`, or a directory that holds one: byte-level BPE of Hugging Face's `tokenizers`. What would
          make other ids there is refused by name. All added tokens become special tokens.
        - `x.tiktoken`: ranks. Such a file tells neither pattern nor special tokens. They are known for the file names
          r50k_base, p50k_base, cl100k_base and o200k_base; for others give `pattern`.
        - A directory with `vocab.json` and `merges.txt`: GPT-2's format, which tells neither; the pattern is "gpt2"
          unless given.

        Args:
            path: the file or directory.
            pattern: used instead of the one that the file or its name tells.
            special_tokens: in addition to those that the file or its name tells; a mapping says under which ids.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is malformed or asks for something that this tokenizer does not do.
        """
        path = Path(path)
        if path.suffix == ".tiktoken":
            contents = _bpe.read_tiktoken(path)
            if pattern is None and not contents.has_pattern:
                raise ValueError(
                    f"{path}: a .tiktoken file does not say how to divide text, and the pattern is known only for the "
                    f'file names of OpenAI\'s encodings; pass pattern="gpt2" or the one it was trained with'
                )
            return cls._from_contents(contents, special_tokens, pattern)
        if path.is_dir():
            if not (path / "tokenizer.json").exists() and (path / "vocab.json").exists():
                return cls.from_files(
                    path / "vocab.json", path / "merges.txt", special_tokens, pattern=pattern or "gpt2"
                )
            path /= "tokenizer.json"
        return cls._from_contents(_bpe.read_hf(path, pattern), special_tokens, None)

    @classmethod
    def _from_contents(cls, contents: _bpe.Contents, special_tokens: SpecialTokens | None, pattern: str | None) -> Self:
        """Without `__init__`: the vocabulary goes from the file into the tokenizer without passing through Python."""
        self = cls.__new__(cls, contents, (), special_tokens, pattern=pattern)
        self._sha256 = None
        _warn_of_undeclared(self.undeclared_special_tokens(), stacklevel=4)
        return self

    def save(self, path: StrPath, format: Format | None = None) -> None:  # noqa: A002
        """Write the tokenizer; a file appears under its name only when it is whole.

        Args:
            path: a file name; an existing directory will do for "tokenizer.json". For "gpt2" a directory (made if need
                be).
            format: "tokenizer.json" holds everything, special tokens and pattern too, as Hugging Face's `tokenizers`
                reads it. "gpt2" is `vocab.json` and `merges.txt`, "tiktoken" is ranks: both leave those two to whoever
                reads them. None for "tiktoken" if the name ends in `.tiktoken`, else "tokenizer.json".

        Raises:
            OSError: the file cannot be written.
            ValueError: the format cannot hold this tokenizer; says why.

        Warns:
            UserWarning: a part of the pattern means something else in Hugging Face's engine of regular expressions:
                there the ids may be others.
        """
        path = Path(path)
        if format is None:
            format = "tiktoken" if path.suffix == ".tiktoken" else "tokenizer.json"  # noqa: A001
        if format == "tokenizer.json":
            differs = self.write_hf(path / "tokenizer.json" if path.is_dir() else path)
            if differs is not None:
                warnings.warn(
                    f"{differs} in the pattern means something else in Hugging Face's engine of regular expressions: "
                    "ids there may be others; here the file loads as it was saved",
                    UserWarning,
                    stacklevel=2,
                )
        elif format == "tiktoken":
            self.write_tiktoken(path)
        elif format == "gpt2":
            path.mkdir(exist_ok=True)
            self.write_gpt2(path / "vocab.json", path / "merges.txt")
        else:
            raise ValueError(f'format must be "tokenizer.json", "gpt2" or "tiktoken", got {format!r}')

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

    def as_tiktoken(self, name: str = "cs336") -> Encoding:
        """The same tokenizer with the methods of `tiktoken.Encoding`, for code that was written for that."""
        return Encoding(self, name)

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
        # As `pack` would: to make Python objects of all tokens takes ten times as long.
        num_tokens, num_merges, content = self.canonical_content()
        specials = self.special_tokens
        in_order = sorted(specials, key=specials.__getitem__)
        return pack_header(num_tokens, num_merges, in_order, self.pattern_regex, self.ignore_merges) + content

    @classmethod
    def _from_packed(cls, packed: bytes) -> Self:
        vocab, merges, special_tokens, pattern, ignore_merges = unpack(packed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it was warned of where it was first made
            return cls(vocab, merges, special_tokens, pattern=pattern, ignore_merges=ignore_merges)

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


def _warn_of_undeclared(tokens: Sequence[bytes], *, stacklevel: int = 3) -> None:
    """Text with an undeclared special token is encoded as ordinary text: quietly several tokens a document."""
    if tokens:
        names = sorted(token.decode(errors="replace") for token in tokens)
        warnings.warn(
            f"the vocabulary holds {', '.join(map(repr, names[:5]))}{' ...' if len(names) > 5 else ''}, not declared "
            f"special: in a text they would be split like any other words; pass special_tokens={names[:5]!r}",
            UserWarning,
            stacklevel=stacklevel,
        )
