"""`cs336 tokenizer count`, and the arguments that reading has wherever text is counted."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional

from cs336.cli.display import print_result, watch
from cs336.cli.exit import ExitCode, UsageError

if TYPE_CHECKING:
    from cs336.inputs import ReadOptions


@dataclass(frozen=True, kw_only=True)
class ReadArguments:
    """How files are read.

    Attributes:
        input_format: Format of all files; by default their names tell.
        separator: What stands between the documents of text files; without it a text is taken as a whole.
        text_field: The key in JSON lines, or the column of parquet, that holds the text.
        on_bad: What happens to a record that is no document.
        max_bad: With --on-bad skip, one more in a file is an error.
        invalid_utf8: What happens to bytes that are not UTF-8.
    """

    input_format: Literal["text", "jsonl", "parquet"] | None = None
    separator: str | None = None
    text_field: str = "text"
    on_bad: Literal["fail", "skip"] = "fail"
    max_bad: int | None = None
    invalid_utf8: Literal["strict", "replace"] = "strict"

    def read_options(self) -> "ReadOptions":
        """As the library wants them."""
        from cs336.inputs import ReadOptions

        return ReadOptions(
            format=self.input_format,
            separator=self.separator,
            text_field=self.text_field,
            on_bad=self.on_bad,
            max_bad=self.max_bad,
            invalid_utf8=self.invalid_utf8,
        )


@dataclass(frozen=True, kw_only=True)
class CountPretokens(ReadArguments):
    """Count pretokens into a file to train on later, or add up such files.

    A corpus may be counted in parts, on any number of machines: `cs336 tokenizer train --counts A B` gives the same
    vocabulary as training on all of it at once.

    Attributes:
        inputs: Text or JSON lines, plain, .gz or .zst, or parquet: files, directories, patterns or URLs. With --merge,
            files of counts.
        out: The file of counts to write.
        merge: The inputs are files of counts, to be added up.
        special_tokens: Strings that stand for themselves; the text is cut at them.
        pattern: "gpt2", "cl100k", "llama3", "qwen2", "o200k", or a regular expression whose matches are the pretokens.
        memory_mb: About how much memory the tables may take; what is more goes to disk.
        executor: Count each file as a task, by this process or on Ray; what is interrupted goes on where it was.
        threads: CPU threads; all cores by default. The counts do not depend on it.
        json: Print the result as JSON.
    """

    inputs: Positional[tuple[str, ...]]
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    merge: bool = False
    special_tokens: tuple[str, ...] = ("<|endoftext|>",)
    pattern: str = "gpt2"
    memory_mb: int = 1024
    executor: Literal["local", "ray"] | None = None
    threads: int | None = None
    json: bool = False

    def run(self) -> int:
        """Count, and print what is in the file."""
        from cs336.corpus.counting import count_corpus
        from cs336.tokenizer import count_pretokens, merge_counts

        if not self.inputs:
            raise UsageError("give at least one input to count")
        begin = time.perf_counter()
        with watch() as watcher:
            if self.merge:
                summary = merge_counts(self.inputs, self.out, progress=watcher)
            elif self.executor is not None:
                summary = count_corpus(
                    self.inputs,
                    self.out,
                    self.special_tokens,
                    pattern=self.pattern,
                    memory_mb=self.memory_mb,
                    read=self.read_options(),
                    executor=self.executor,
                    num_threads=self.threads,
                    progress=lambda _, done, total: watcher("files", done, total),
                )
            else:
                summary = count_pretokens(
                    self.inputs,
                    self.out,
                    self.special_tokens,
                    pattern=self.pattern,
                    memory_mb=self.memory_mb,
                    read=self.read_options(),
                    num_threads=self.threads,
                    progress=watcher,
                )
        values = {"out": str(self.out), **dataclasses.asdict(summary), "elapsed_s": time.perf_counter() - begin}
        print_result(values, as_json=self.json)
        return ExitCode.OK
