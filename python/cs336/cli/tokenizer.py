"""`cs336 tokenizer train | encode | decode | convert`; `count` and `inspect` from their own files."""

import dataclasses
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from cs336.cli.counting import CountPretokens, ReadArguments
from cs336.cli.display import print_result, watch
from cs336.cli.exit import ExitCode, UsageError
from cs336.cli.inspect import InspectTokenizer

Format = Literal["tokenizer.json", "gpt2", "tiktoken"]


@dataclass(frozen=True, kw_only=True)
class TrainTokenizer(ReadArguments):
    """Train a byte-pair vocabulary on text, or on counts of it.

    Attributes:
        inputs: Text or JSON lines, plain, .gz or .zst, or parquet: files, directories, patterns or URLs.
        vocab_size: Ids in all: 256 bytes, merges and special tokens.
        out: File to write; with --format gpt2, a directory for vocab.json and merges.txt.
        special_tokens: Strings that stand for themselves; the text is cut at them.
        pattern: "gpt2", "cl100k", "llama3", "qwen2", "o200k", or a regular expression whose matches are the pretokens.
        min_frequency: Pairs that occur less often are not merged.
        max_token_length: In bytes: pairs that are longer together are not merged.
        weights: How often each file counts, one number a file.
        transition_size: Train SuperBPE: from this size of the vocabulary on, tokens may reach across white space.
        max_token_words: With --transition-size: tokens of more words are not made; 0 for no limit.
        format: tokenizer.json holds everything; gpt2 and tiktoken leave out special tokens and pattern.
        counts: Files of `cs336 tokenizer count`, as if their texts were among the inputs.
        threads: CPU threads; all cores by default. The result does not depend on it.
        json: Print the result as JSON.
    """

    inputs: Positional[tuple[str, ...]] = ()
    vocab_size: int
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    special_tokens: tuple[str, ...] = ("<|endoftext|>",)
    pattern: str = "gpt2"
    min_frequency: int = 1
    max_token_length: int | None = None
    weights: tuple[int, ...] | None = None
    transition_size: int | None = None
    max_token_words: int = 4
    format: Format | None = None
    counts: tuple[Path, ...] = ()
    threads: int | None = None
    json: bool = False

    def run(self) -> int:
        """Train, save and print what came out."""
        from cs336.tokenizer import Tokenizer

        if not self.inputs and not self.counts:
            raise UsageError("give at least one text file to train on, or --counts")
        _check_parent(self.out)
        begin = time.perf_counter()
        vocab, merges = self._train()
        elapsed_s = time.perf_counter() - begin
        pattern = self.pattern if self.transition_size is None else "superbpe"
        tokenizer = Tokenizer(vocab, merges, list(self.special_tokens), pattern=pattern)
        tokenizer.save(self.out, format=self.format)
        longest = max(merges, key=lambda pair: len(pair[0]) + len(pair[1]), default=(b"", b""))
        values = {
            "out": str(self.out),
            "vocab_size": tokenizer.vocab_size,
            "num_merges": len(merges),
            "num_bytes": self._num_bytes(),
            "elapsed_s": elapsed_s,
            "longest_token": b"".join(longest).decode(errors="replace"),
            "sha256": tokenizer.sha256,
        }
        print_result(values, as_json=self.json)
        return ExitCode.OK

    def _train(self) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
        from cs336.tokenizer import train_bpe, train_superbpe

        train = partial(train_bpe, counts=self.counts)
        if self.transition_size is not None:
            if self.counts:
                raise UsageError("--transition-size reads the texts twice: give them, not --counts")
            words = self.max_token_words or None
            train = partial(train_superbpe, transition_size=self.transition_size, max_token_words=words)
        with watch() as watcher:
            return train(
                list(self.inputs) or None,
                self.vocab_size,
                list(self.special_tokens),
                pattern=self.pattern,
                min_frequency=self.min_frequency,
                max_token_length=self.max_token_length,
                weights=self.weights,
                read=self.read_options(),
                num_threads=self.threads,
                progress=watcher,
            )

    def _num_bytes(self) -> int:
        """Of the files, as they are on disk, and of the texts that were counted."""
        from cs336.inputs import expand
        from cs336.tokenizer import CountSummary

        found = (expand(name, format=self.input_format, otherwise="text") for name in self.inputs)
        counted = sum(CountSummary.load(path).num_bytes for path in self.counts)
        return counted + sum(file.size_bytes or 0 for files in found for file in files)


@dataclass(frozen=True, kw_only=True)
class EncodeText:
    """Turn text into ids: a file into a .npy file, or a short text into ids on stdout.

    Attributes:
        input: Text file to encode into --out.
        tokenizer: tokenizer.json, a directory that holds one, or a run directory.
        out: The .npy file to write.
        text: Text to encode, instead of a file; without a file and --text, stdin is read.
        threads: CPU threads; all cores by default. The ids do not depend on it.
        json: Print the result as JSON.
    """

    input: Positional[Path | None] = None
    tokenizer: Path
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    text: str | None = None
    threads: int | None = None
    json: bool = False

    def run(self) -> int:
        """Encode."""
        if self.input is None:
            return self._encode_text()
        if self.out is None or self.text is not None:
            raise UsageError("a file is encoded into a file: give --out FILE.npy and no --text")
        return self._encode_file(self.input, self.out)

    def _encode_text(self) -> int:
        from cs336.tokenizer import Tokenizer

        if self.out is not None:
            raise UsageError("--out takes the ids of a file: give the text file to encode")
        tokenizer = Tokenizer.load(self.tokenizer)
        text = _read_stdin() if self.text is None else self.text
        ids = tokenizer.encode(text, num_threads=self.threads)
        if self.json:
            print_result({"ids": ids}, as_json=True)
        else:
            sys.stdout.write(" ".join(map(str, ids)) + "\n")
        return ExitCode.OK

    def _encode_file(self, source: Path, out: Path) -> int:
        from cs336.tokenizer import Tokenizer

        _check_parent(out)
        tokenizer = Tokenizer.load(self.tokenizer)
        begin = time.perf_counter()
        with watch() as watcher:
            stats = tokenizer.encode_file(source, out, num_threads=self.threads, progress=watcher)
        elapsed_s = time.perf_counter() - begin
        values = {"out": str(out), **dataclasses.asdict(stats), "bytes_per_token": stats.bytes_per_token}
        print_result(values | {"elapsed_s": elapsed_s}, as_json=self.json)
        return ExitCode.OK


@dataclass(frozen=True, kw_only=True)
class DecodeIds:
    """Turn ids into text, on stdout or into a file.

    Attributes:
        input: .npy file of ids; without it and --ids, stdin is read as numbers between white space.
        tokenizer: tokenizer.json, a directory that holds one, or a run directory.
        ids: Ids to decode, instead of a file.
        out: File for the text, instead of stdout.
        json: Print the result as JSON.
    """

    input: Positional[Path | None] = None
    tokenizer: Path
    ids: tuple[int, ...] | None = None
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    json: bool = False

    def run(self) -> int:
        """Decode; the bytes go out as they are, so that encoding and decoding a file gives the same file."""
        from cs336 import _bpe
        from cs336.tokenizer import Tokenizer

        if self.input is not None and self.ids is not None:
            raise UsageError("give a file of ids or --ids, not both")
        tokenizer = Tokenizer.load(self.tokenizer)
        content = tokenizer.decode_bytes(self._read_ids())
        if self.out is not None:
            _bpe.write_file(self.out, content)
            print_result({"out": str(self.out), "num_bytes": len(content)}, as_json=self.json)
        elif self.json:
            print_result({"text": content.decode(errors="replace")}, as_json=True)
        else:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        return ExitCode.OK

    def _read_ids(self) -> list[int]:
        from cs336._npy import open_npy

        if self.ids is not None:
            return list(self.ids)
        if self.input is None:
            words = sys.stdin.read().split()
            strange = next((word for word in words if not word.isdecimal()), None)
            if strange is not None:
                raise ValueError(f"ids must be whole numbers between white space, got {strange!r}")
            return [int(word) for word in words]
        array = open_npy(self.input)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(f"{self.input} must hold a one-dimensional array of whole numbers")
        return array  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True)
class ConvertTokenizer:
    """Write a tokenizer in another format.

    Attributes:
        source: tokenizer.json, a .tiktoken file, or a directory with vocab.json and merges.txt.
        out: File to write: .json or .tiktoken; with --to gpt2, a directory for vocab.json and merges.txt.
        to: The format, where the name of --out does not tell.
        pattern: Pattern to use instead of the one that the source tells; needed for most .tiktoken files.
        special_tokens: Special tokens in addition to those that the source tells.
        json: Print the result as JSON.
    """

    source: Positional[Path]
    out: Positional[Path]
    to: Format | None = None
    pattern: str | None = None
    special_tokens: tuple[str, ...] = ()
    json: bool = False

    def run(self) -> int:
        """Load, save and say what the new file leaves out."""
        from cs336.tokenizer import Tokenizer

        _check_parent(self.out)
        target = self.to or _format_of(self.out)
        tokenizer = Tokenizer.load(self.source, pattern=self.pattern, special_tokens=self.special_tokens)
        tokenizer.save(self.out, format=target)
        values = {
            "out": str(self.out),
            "format": target,
            "vocab_size": tokenizer.vocab_size,
            "num_merges": len(tokenizer.merges),
            "sha256": tokenizer.sha256,
        }
        if target != "tokenizer.json":
            values["left_out_pattern"] = tokenizer.pattern
            values["left_out_special_tokens"] = tokenizer.special_tokens
        print_result(values, as_json=self.json)
        return ExitCode.OK


@dataclass(frozen=True, kw_only=True)
class TokenizerGroup:
    """Train a tokenizer, count for one, encode text with it, decode ids, look at it, convert it."""

    verb: (
        Annotated[TrainTokenizer, tyro.conf.subcommand("train")]
        | Annotated[CountPretokens, tyro.conf.subcommand("count")]
        | Annotated[EncodeText, tyro.conf.subcommand("encode")]
        | Annotated[DecodeIds, tyro.conf.subcommand("decode")]
        | Annotated[InspectTokenizer, tyro.conf.subcommand("inspect")]
        | Annotated[ConvertTokenizer, tyro.conf.subcommand("convert")]
    )

    def run(self) -> int:
        """Run the verb."""
        return self.verb.run()


def _format_of(out: Path) -> Format:
    if out.suffix == ".tiktoken":
        return "tiktoken"
    if out.suffix == ".json" or out.is_dir():
        return "tokenizer.json"
    raise UsageError(f"{out} does not tell the format: end it in .json or .tiktoken, or give --to")


def _check_parent(out: Path) -> None:
    """Find out before the work that its result has no place to go to."""
    if not out.resolve().parent.is_dir():
        raise FileNotFoundError(2, "no such directory", str(out.parent))


def _read_stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        strange = f"0x{error.object[error.start]:02x} at position {error.start}"
        raise ValueError(f"stdin is not UTF-8 text, got byte {strange}; convert it first") from error
