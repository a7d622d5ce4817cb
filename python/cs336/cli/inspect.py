"""`cs336 tokenizer inspect`: a vocabulary and what it makes of a text, on the terminal or as a page."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from cs336.cli.display import print_result
from cs336.cli.exit import ExitCode

if TYPE_CHECKING:
    from cs336.tokenizer.inspection import Inspection, Overlap, TextFacts, Token

# More of a text tells little, and takes memory.
MAX_TEXT_BYTES = 16 << 20
NUM_SHOWN_TOKENS = 400
NUM_SHOWN_SCRIPTS = 12
NUM_EXAMPLES = 12
BAR_WIDTH = 24
COLOURS = ("black on #fde3a7", "black on #c9e8c5", "black on #c7dcf7", "black on #f6cfd6", "black on #e0d3f5")
SPECIAL_COLOUR = "bold reverse"


@dataclass(frozen=True, kw_only=True)
class InspectTokenizer:
    """Look at a tokenizer: its tokens, what it makes of a text, what it has in common with another.

    Attributes:
        tokenizer: tokenizer.json, a .tiktoken file, a directory that holds one, or a run directory.
        text: File to encode; "-" reads stdin. Of a large one the first 16 MiB are looked at.
        compare: Another tokenizer, to compare with.
        html: File to write a self-contained page into, instead of printing.
        pattern: Pattern to use instead of the tokenizer's own; needed for most .tiktoken files.
        json: Print the numbers as JSON.
    """

    tokenizer: Positional[Path]
    text: Annotated[str | None, tyro.conf.arg(metavar="FILE|-")] = None
    compare: Path | None = None
    html: Path | None = None
    pattern: str | None = None
    json: bool = False

    def run(self) -> int:
        """Inspect and show."""
        from cs336.tokenizer import Tokenizer
        from cs336.tokenizer.inspection import inspect

        if self.html is not None and not self.html.resolve().parent.is_dir():
            raise FileNotFoundError(2, "no such directory", str(self.html.parent))
        paths = [self.tokenizer] if self.compare is None else [self.tokenizer, self.compare]
        names = _names(paths)
        text = None if self.text is None else _read(self.text)
        tokenizers = {
            name: Tokenizer.load(path, pattern=self.pattern if path == self.tokenizer else None)
            for name, path in zip(names, paths, strict=True)
        }
        found = inspect(tokenizers, text)
        if self.html is not None:
            _write_page(self.html, found)
            print_result({"out": str(self.html), "num_bytes": self.html.stat().st_size}, as_json=self.json)
        elif self.json:
            print_result(_numbers(found), as_json=True)
        else:
            _print(found)
        return ExitCode.OK


def _names(paths: Sequence[Path]) -> list[str]:
    """File names, as far as they tell the tokenizers apart."""
    first, *others = (path.stem if path.is_file() and path.stem != "tokenizer" else str(path) for path in paths)
    if others and others[0] == first:
        return [str(path) for path in paths] if paths[0] != paths[1] else [first, f"{first} again"]
    return [first, *others]


def _read(source: str) -> str:
    if source == "-":
        content = sys.stdin.buffer.read(MAX_TEXT_BYTES + 1)
    else:
        with Path(source).open("rb") as file:
            content = file.read(MAX_TEXT_BYTES + 1)
    is_cut = len(content) > MAX_TEXT_BYTES
    content = content[:MAX_TEXT_BYTES]
    if is_cut:
        sys.stderr.write(f"cs336: looking at the first {MAX_TEXT_BYTES >> 20} MiB of {source}\n")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        if is_cut and error.start > MAX_TEXT_BYTES - 4:  # in the middle of a character
            return content[: error.start].decode()
        raise ValueError(f"{source}: invalid UTF-8 at byte {error.start}; expected UTF-8 text") from error


def _write_page(path: Path, found: "Inspection") -> None:
    from cs336 import _bpe
    from cs336.tokenizer.page import render

    _bpe.write_file(path, render(found).encode())


def _numbers(found: "Inspection") -> dict[str, object]:
    tokenizers = [
        {
            "name": name,
            "vocab_size": facts.vocab_size,
            "num_tokens": facts.num_tokens,
            "num_merges": facts.num_merges,
            "pattern": facts.pattern,
            "special_tokens": dict(facts.special_tokens),
            "num_of_length": facts.num_of_length,
            "num_of_script": facts.num_of_script,
            "longest": [_token_numbers(token) for token in facts.longest],
        }
        for name, facts in zip(found.names, found.vocabularies, strict=True)
    ]
    for numbers, text in zip(tokenizers, found.texts, strict=False):
        scripts = [dataclasses.asdict(s) | {"bytes_per_token": s.bytes_per_token} for s in text.scripts]
        numbers["text"] = {
            "num_characters": text.num_characters,
            "num_bytes": text.num_bytes,
            "num_tokens": text.num_tokens,
            "num_distinct": text.num_distinct,
            "bytes_per_token": text.bytes_per_token,
            "scripts": scripts,
        }
    overlap = found.overlap
    shared = {} if overlap is None else {"overlap": {"num_shared": overlap.num_shared, "num_only": overlap.num_only}}
    return {"tokenizers": tokenizers, **shared}


def _token_numbers(token: "Token") -> dict[str, object]:
    return {"id": token.id, "token": token.content.decode(errors="backslashreplace"), "num_bytes": len(token.content)}


def _print(found: "Inspection") -> None:
    console = Console(highlight=False)
    is_coloured = console.color_system is not None
    for text, name in zip(found.texts, found.names, strict=False):
        console.print(Text(f"tokens of the text by {name}", style="bold"))
        console.print(_coloured(text, is_coloured=is_coloured), soft_wrap=True)
        console.print()
    tables = [_facts_table(found)]
    if found.texts:
        tables.append(_script_table(found))
    if found.overlap is not None:
        tables.append(_overlap_table(found.names, found.overlap))
    for table in (*tables, _longest_table(found)):
        console.print(table)
        console.print()


def _coloured(text: "TextFacts", *, is_coloured: bool) -> Text:
    from cs336.tokenizer.inspection import spell

    shown = Text()
    for index, token in enumerate(text.tokens[:NUM_SHOWN_TOKENS]):
        spelt = spell(token.content).replace("␊", "⏎\n")
        if is_coloured:
            shown.append(spelt, SPECIAL_COLOUR if token.is_special else COLOURS[index % len(COLOURS)])
        else:
            shown.append(spelt + "|")
    rest = text.num_tokens - min(len(text.tokens), NUM_SHOWN_TOKENS)
    if rest:
        shown.append(f"\nand {rest:,} more tokens", "dim")
    return shown


def _facts_table(found: "Inspection") -> Table:
    table = _table("", *found.names)
    each = found.vocabularies
    table.add_row("tokens", *(f"{facts.num_tokens:,}" for facts in each))
    table.add_row("greatest id", *(f"{facts.vocab_size - 1:,}" for facts in each))
    table.add_row("merges", *(f"{facts.num_merges:,}" for facts in each))
    table.add_row("special tokens", *(f"{len(facts.special_tokens):,}" for facts in each))
    table.add_row("pattern", *(Text(facts.pattern, overflow="ellipsis", no_wrap=True) for facts in each))
    if found.texts:
        table.add_section()
        table.add_row("bytes of text", *(f"{text.num_bytes:,}" for text in found.texts))
        table.add_row("its tokens", *(f"{text.num_tokens:,}" for text in found.texts))
        table.add_row("different ones", *(f"{text.num_distinct:,}" for text in found.texts))
        table.add_row("bytes per token", *(f"{text.bytes_per_token:.3f}" for text in found.texts))
    return table


def _script_table(found: "Inspection") -> Table:
    table = _table("bytes per token by script", "of the text", *found.names)
    rates = [{script.script: script.bytes_per_token for script in text.scripts} for text in found.texts]
    greatest = max((rate for each in rates for rate in each.values()), default=1.0)
    if len(rates) == 1:
        table.add_column("")
    for script in found.texts[0].scripts[:NUM_SHOWN_SCRIPTS]:
        of_script = [each.get(script.script, 0.0) for each in rates]
        bar = ["█" * round(BAR_WIDTH * of_script[0] / greatest)] if len(rates) == 1 else []
        share = f"{100 * script.num_bytes / found.texts[0].num_bytes:.1f} %"
        table.add_row(script.script, share, *(f"{rate:.2f}" for rate in of_script), *bar)
    return table


def _overlap_table(names: Sequence[str], overlap: "Overlap") -> Table:
    from cs336.tokenizer.inspection import spell_listed

    table = _table("overlap of the vocabularies", "tokens", "with the lowest ids")
    table.add_row("in both", f"{overlap.num_shared:,}", "")
    for name, size, tokens in zip(names, overlap.num_only, overlap.only, strict=True):
        examples = Text("  ".join(spell_listed(token.content) for token in tokens[:NUM_EXAMPLES]))
        table.add_row(f"only in {name}", f"{size:,}", examples)
    return table


def _longest_table(found: "Inspection") -> Table:
    from cs336.tokenizer.inspection import spell_listed

    table = _table("longest tokens", "bytes", "id")
    for name, facts in zip(found.names, found.vocabularies, strict=True):
        if len(found.names) > 1:
            table.add_section()
            table.add_row(Text(f"of {name}", style="dim"), "", "")
        for token in facts.longest[:NUM_EXAMPLES]:
            spelt = Text(spell_listed(token.content), overflow="ellipsis", no_wrap=True)
            table.add_row(spelt, f"{len(token.content):,}", f"{token.id:,}")
    return table


def _table(*header: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for index, name in enumerate(header):
        is_text = index == 0 or name == "with the lowest ids"
        table.add_column(Text(name), justify="left" if is_text else "right", overflow="fold")
    return table
