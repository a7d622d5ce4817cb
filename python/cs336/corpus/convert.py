"""Token files from one layout to another: ours, nanoGPT's, llm.c's, Megatron's and datatrove's."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from cs336.corpus.layouts.checks import Passage
from cs336.corpus.layouts.datatrove import DatatroveSink, DatatroveSource
from cs336.corpus.layouts.llmc import LlmcSink, LlmcSource, is_llmc
from cs336.corpus.layouts.megatron import MAX_NARROW_VOCAB, MegatronSink, MegatronSource, file_names
from cs336.corpus.layouts.nanogpt import NanoGptSink, NanoGptSource
from cs336.corpus.layouts.shards import ShardsSink, ShardsSource
from cs336.corpus.layouts.stream import Block, Meaning, Sink, Source
from cs336.corpus.options import DEFAULT_TOKENS_PER_SHARD
from cs336.shards import SPLITS, Split
from cs336.tokenizer import Tokenizer
from cs336.tokenizer.tokenizer import END_OF_TEXT

Layout = Literal["shards", "nanogpt", "llm.c", "llm.c-llama3", "megatron", "datatrove"]
Progress = Callable[[str, int, int], object]

# Where documents are told apart by the EOS id alone.
_WITHOUT_INDEX = {"nanogpt", "llm.c", "llm.c-llama3"}


@dataclass(frozen=True)
class Converted:
    """What was written.

    Attributes:
        source_layout: the layout that was read.
        layout: the layout that was written.
        paths: the files.
        num_tokens: ids, those that were added among them.
        num_documents: documents.
        num_added_eos: EOS ids that were put at the ends of documents.
        greatest_id: None if there are no ids.
        dtype: of the ids.
    """

    source_layout: Layout
    layout: Layout
    paths: tuple[Path, ...]
    num_tokens: int
    num_documents: int
    num_added_eos: int
    greatest_id: int | None
    dtype: str


def convert(
    source: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    layout: Layout | None = None,
    source_layout: Layout | None = None,
    eos_id: int | None = None,
    vocab_size: int | None = None,
    tokenizer: Tokenizer | Path | str | None = None,
    add_eos: bool = False,
    shard_tokens: int | None = None,
    split: Split = "train",
    progress: Progress | None = None,
) -> Converted:
    """Write tokens in another layout, with the same documents; the memory does not depend on their number.

    Args:
        source: a file (of Megatron's two, either), a directory of shards, or several files that follow one another.
        out: the file to write; for Megatron one of the two or their prefix. What exists is replaced.
        layout: "nanogpt", "llm.c", "llm.c-llama3", "megatron", "datatrove" or "shards"; None: as the name of `out`
            tells. Shards, which are a new directory, need the tokenizer.
        source_layout: likewise for the source; None: as its name and first bytes tell.
        eos_id: the id that ends documents, where the source does not tell; needed for layouts without an index.
        vocab_size: every id must be less; the layouts choose their type of ids by it.
        tokenizer: the tokenizer of the ids, or its file, which tells the size of the vocabulary and, if it has one
            special token or `<|endoftext|>`, the EOS id.
        add_eos: put the EOS id at the end of documents that lack it. Megatron's datasets may.
        shard_tokens: tokens of a shard; for llm.c of a file: `out` becomes NAME_000000.bin and so on.
        split: which split of a directory of shards.
        progress: called as `progress("convert", tokens done, tokens in all)`.

    Raises:
        ValueError: There is no such layout or split, the source is damaged, or the layout cannot hold what is in it:
            an id does not fit its type, or the end of a document would be lost.
        OSError: A file cannot be read or written. Nothing is left under a final name.
    """
    paths = [Path(source)] if isinstance(source, (str, Path)) else [Path(path) for path in source]
    if not paths:
        raise ValueError("there is nothing to convert, expected at least one path")
    out = Path(out)
    for name, value, choices in (
        ("layout", layout, get_args(Layout)),
        ("source_layout", source_layout, get_args(Layout)),
        ("split", split, SPLITS),
    ):
        if value is not None and value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    source_layout = source_layout or detect(paths[0])
    layout = layout or _layout_of(out)
    if tokenizer is not None and not isinstance(tokenizer, Tokenizer):
        tokenizer = Tokenizer.load(tokenizer)
    # A corpus directory tells everything itself.
    told = Meaning(eos_id, vocab_size) if source_layout == "shards" else _meaning(eos_id, vocab_size, tokenizer)
    stream = _open(paths, source_layout, split, told)
    _check_tokenizer(tokenizer, stream)
    dtype = _dtype_for(layout, stream)
    _check_eos(stream.meaning, dtype)
    _check_apart(paths, source_layout, out, layout)
    passage = Passage(
        dtype,
        stream.meaning,
        finds_ends_by_eos=layout in _WITHOUT_INDEX,
        needs_eos=layout in _WITHOUT_INDEX or layout == "shards",
        adds_eos=add_eos,
    )
    if layout == "shards":
        sink: Sink = _shards(out, paths, tokenizer, passage, shard_tokens)
    else:
        sink = _create(out, layout, passage, shard_tokens)
    try:
        num_read = 0
        for block in stream.blocks():
            sink.write(passage.follow(block))
            num_read += len(block.ids)
            if progress is not None:
                progress("convert", num_read, stream.num_tokens)
        written = sink.close()
    except BaseException:
        sink.abandon()
        raise
    return Converted(
        source_layout,
        layout,
        tuple(written),
        passage.num_tokens,
        passage.num_documents,
        passage.num_added_eos,
        passage.greatest_id,
        str(dtype),
    )


def detect(path: Path) -> Layout:
    """Tell the layout of a file by its name and first bytes.

    Raises:
        ValueError: They do not tell.
        OSError: It cannot be read.
    """
    if path.is_dir():
        return "shards"
    if path.suffix == ".ds":
        return "datatrove"
    if path.suffix == ".idx" or (file_names(path)[1].exists() and path.suffix in {"", ".bin"}):
        return "megatron"
    if path.suffix == ".bin":
        return "llm.c" if is_llmc(path) else "nanogpt"
    if not path.exists():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    raise ValueError(f"{path} does not tell its layout; give one of {', '.join(get_args(Layout))}")


def _layout_of(out: Path) -> Layout:
    if out.suffix == ".ds":
        return "datatrove"
    if out.suffix == ".idx":
        return "megatron"
    raise ValueError(f"{out} does not tell the layout to write; give one of {', '.join(get_args(Layout))}")


class _Chain:
    """Sources one after the other.

    Raises:
        ValueError: Their ids mean different things.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        for source in sources[1:]:
            if source.meaning != sources[0].meaning:
                raise ValueError(
                    f"the ids of the sources mean different things: {sources[0].meaning} and {source.meaning}; "
                    "convert each alone"
                )
        self._sources = sources
        self.dtype = np.result_type(*(source.dtype for source in sources))
        self.num_tokens = sum(source.num_tokens for source in sources)
        self.meaning = sources[0].meaning

    def blocks(self) -> Iterator[Block]:
        """Read all from the beginning."""
        for source in self._sources:
            yield from source.blocks()


def _open(paths: Sequence[Path], layout: Layout, split: Split, meaning: Meaning) -> Source:
    if layout == "shards":
        return _Chain([ShardsSource(path, split, meaning) for path in paths])
    if layout == "nanogpt":
        return NanoGptSource(paths, meaning)
    if layout in {"llm.c", "llm.c-llama3"}:
        return LlmcSource(paths, meaning)
    if layout == "megatron":
        return _Chain([MegatronSource(path, meaning) for path in paths])
    return _Chain([DatatroveSource(path, meaning) for path in paths])


def _dtype_for(layout: Layout, stream: Source) -> np.dtype[Any]:
    """Return the type that the layout's own tools would choose."""
    size = stream.meaning.vocab_size
    is_narrow = stream.dtype.itemsize <= 2 if size is None else size <= 1 << 16
    if layout == "megatron":
        is_narrow = is_narrow if size is None else size < MAX_NARROW_VOCAB
        return np.dtype("<u2" if is_narrow else "<i4")
    if layout in {"nanogpt", "llm.c"}:
        return np.dtype("<u2")
    if layout == "llm.c-llama3":
        return np.dtype("<u4")
    return np.dtype("<u2" if is_narrow else "<u4")


def _create(out: Path, layout: Layout, passage: Passage, shard_tokens: int | None) -> Sink:
    if shard_tokens is not None and layout not in {"llm.c", "llm.c-llama3"}:
        raise ValueError(f"shard_tokens is for shards and the layouts of llm.c, got {shard_tokens:,} for {layout}")
    if layout == "nanogpt":
        return NanoGptSink(out)
    if layout == "megatron":
        return MegatronSink(out, passage.dtype)
    if layout == "datatrove":
        return DatatroveSink(out, passage.dtype, tokenizer=passage.meaning.tokenizer)
    return LlmcSink(out, passage.dtype, eos_id=passage.eos_id(), shard_tokens=shard_tokens)


def _meaning(eos_id: int | None, vocab_size: int | None, tokenizer: Tokenizer | None) -> Meaning:
    if tokenizer is None:
        return Meaning(eos_id, vocab_size)
    if vocab_size not in {None, tokenizer.vocab_size}:
        raise ValueError(f"the vocabulary of the tokenizer is {tokenizer.vocab_size}, got {vocab_size}; leave it out")
    specials = tokenizer.special_tokens
    if eos_id is None:
        eos_id = next(iter(specials.values())) if len(specials) == 1 else specials.get(END_OF_TEXT)
    return Meaning(eos_id, tokenizer.vocab_size, tokenizer.sha256)


def _check_tokenizer(tokenizer: Tokenizer | None, stream: Source) -> None:
    if tokenizer is not None and stream.meaning.tokenizer not in {None, tokenizer.sha256}:
        raise ValueError(
            f"the ids were made by a tokenizer with hash {stream.meaning.tokenizer}, not by the one given, with hash "
            f"{tokenizer.sha256}"
        )


def _shards(
    out: Path, sources: Sequence[Path], tokenizer: Tokenizer | None, passage: Passage, shard_tokens: int | None
) -> ShardsSink:
    if tokenizer is None:
        raise ValueError("a corpus directory holds the tokenizer of its ids: give it")
    size = DEFAULT_TOKENS_PER_SHARD if shard_tokens is None else shard_tokens
    return ShardsSink(out, sources, tokenizer, eos_id=passage.eos_id(), tokens_per_shard=size)


def _check_eos(meaning: Meaning, dtype: np.dtype[Any]) -> None:
    most = min(int(np.iinfo(dtype).max), (meaning.vocab_size or 1 << 32) - 1)
    if meaning.eos_id is not None and not 0 <= meaning.eos_id <= most:
        raise ValueError(f"the EOS id must be from 0 to {most:,}, got {meaning.eos_id}")


def _check_apart(paths: Sequence[Path], source_layout: Layout, out: Path, layout: Layout) -> None:
    """Guard the source: it may well be the only copy."""
    sources = {name.resolve() for path in paths for name in _names(path, source_layout)}
    same = sources & {name.resolve() for name in _names(out, layout)}
    if same:
        raise ValueError(f"{same.pop()} would be replaced by what it is converted to; give another name to write to")


def _names(path: Path, layout: Layout) -> tuple[Path, ...]:
    return file_names(path) if layout == "megatron" else (path,)
