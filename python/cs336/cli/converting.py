"""`cs336 corpus convert`, `report` and `slurm`."""

import dataclasses
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from cs336.cli.display import print_result, watch
from cs336.cli.exit import ExitCode, UsageError

_Layout = Literal["shards", "nanogpt", "llm.c", "llm.c-llama3", "megatron", "datatrove"]


@dataclass(frozen=True, kw_only=True)
class ConvertTokens:
    """Write tokens in another layout: ours, nanoGPT's, llm.c's, Megatron's or datatrove's; nothing is lost or it fails.

    Attributes:
        sources: A file, a corpus directory, or several files that follow one another.
        out: The file to write; for Megatron one of its two, or their prefix; a directory for shards.
        to: The layout to write, where the name of --out does not tell.
        source_layout: The layout that is read, where the names do not tell.
        eos_id: The id that ends documents, where the source does not tell.
        vocab_size: Every id must be less, where the source does not tell.
        tokenizer: A tokenizer file, which tells both; needed to write shards.
        add_eos: Put the EOS id at the end of documents that lack it.
        shard_tokens: Tokens of a file, for the layouts of llm.c and for shards.
        split: The split of a corpus directory.
        json: Print the result as JSON.
    """

    sources: Positional[tuple[Path, ...]]
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    to: _Layout | None = None
    source_layout: _Layout | None = None
    eos_id: int | None = None
    vocab_size: int | None = None
    tokenizer: Path | None = None
    add_eos: bool = False
    shard_tokens: int | None = None
    split: Literal["train", "valid"] = "train"
    json: bool = False

    def run(self) -> int:
        """Convert, and print what was written."""
        from cs336.corpus.convert import convert

        if not self.sources:
            raise UsageError("give at least one file or directory to convert")
        begin = time.perf_counter()
        with watch() as watcher:
            done = convert(
                self.sources,
                self.out,
                layout=self.to,
                source_layout=self.source_layout,
                eos_id=self.eos_id,
                vocab_size=self.vocab_size,
                tokenizer=self.tokenizer,
                add_eos=self.add_eos,
                shard_tokens=self.shard_tokens,
                split=self.split,
                progress=watcher,
            )
        values = {**dataclasses.asdict(done), "paths": [str(path) for path in done.paths]}
        print_result(values | {"elapsed_s": time.perf_counter() - begin}, as_json=self.json)
        return ExitCode.OK


@dataclass(frozen=True, kw_only=True)
class PrintSlurm:
    """Print a script for `sbatch --array`, whose jobs each do a share of a planned corpus."""

    def run(self) -> int:
        """Print it."""
        from importlib.resources import files

        sys.stdout.write((files("cs336.corpus") / "array.sbatch").read_text(encoding="utf-8"))
        return ExitCode.OK


@dataclass(frozen=True, kw_only=True)
class ReportCorpus:
    """Show a finished corpus: lengths of documents, bytes per token, what was rejected and why.

    Attributes:
        corpus: The corpus directory.
        out: The page to write (.html), or the picture (.png, .svg, .pdf; needs the extra `train`).
    """

    corpus: Positional[Path]
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]

    def run(self) -> int:
        """Gather the figures and write the page or the picture."""
        from cs336 import _bpe
        from cs336.corpus.figures import gather
        from cs336.corpus.page import draw, render

        figures = gather(self.corpus)
        if self.out.suffix in {".html", ".htm"}:
            _bpe.write_file(self.out, render(figures).encode())
        else:
            draw(figures, self.out)
        print_result({"out": str(self.out)}, as_json=False)
        return ExitCode.OK
