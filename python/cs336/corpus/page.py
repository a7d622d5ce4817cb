"""The figures of a corpus as an HTML page, with nothing to load, for a phone, a desk and paper; and as a picture."""

import io
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

from cs336 import _bpe
from cs336._extras import require_extra
from cs336.corpus.figures import Figures, SplitFigures

_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d22; --faint: #62626d; --paper: #fdfdfb; --line: #d9d9d4; --bar: #4a7fb5;
  --bad: #b5564a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ea; --faint: #a2a2ae; --paper: #17171b; --line: #35353d;
  --bar: #5d95cf; --bad: #d07a6e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.25rem 1rem 3rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; } h3 { font-size: 1.05rem; margin: 1.75rem 0 .35rem; }
p { margin: .35rem 0; max-width: 42rem; } .faint { color: var(--faint); font-size: .9rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .75rem 1.5rem;
  margin: .75rem 0; padding: 0; }
.facts dt { color: var(--faint); font-size: .85rem; }
.facts dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; font-size: .85rem; color: var(--faint); }
th, td { padding: .2rem .75rem .2rem 0; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; width: 1%; }
td.label { white-space: nowrap; width: 1%; } td.wide { padding-right: 0; }
.bar { height: .7rem; min-width: 1px; border-radius: 2px; background: var(--bar); } .bad { background: var(--bad); }
.dots { position: relative; height: 10rem; margin: .5rem 0; }
.dots > div { position: absolute; inset: 0 0 0 3.5rem; border-left: 1px solid var(--line); }
.dots b { position: absolute; left: 0; transform: translateY(-50%); font-weight: 400; font-size: .85rem;
  color: var(--faint); font-variant-numeric: tabular-nums; }
.dots i { position: absolute; width: 6px; height: 6px; margin: -3px 0 0 -3px; border-radius: 3px;
  background: var(--bar); }
.dots hr { position: absolute; left: 0; right: 0; margin: 0; border: 0; border-top: 1px solid var(--bad); }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } h2, h3 { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } tr { break-inside: avoid; } }
"""

# The most shards that are drawn each for itself: more would not be told apart on a phone.
_MAX_DOTS = 300


def render(figures: Figures) -> str:
    """The page, complete."""
    title = f"Corpus {escape(figures.name)}"
    splits = [split for split in figures.splits.values() if split.num_documents]
    sections = "".join([_overview(figures), *map(_split, splits), _rejects(figures)])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{sections}</body>\n</html>\n"
    )


def _facts(values: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in values)
    return f'<dl class="facts">{items}</dl>\n'


def _overview(figures: Figures) -> str:
    num_documents = sum(split.num_documents for split in figures.splits.values())
    num_tokens = sum(split.num_tokens for split in figures.splits.values())
    num_rejected = sum(figures.rejected.values())
    values = [
        ("inputs", f"{figures.num_inputs:,}"),
        ("bytes read", readable(figures.input_bytes)),
        ("records", f"{figures.num_records:,}"),
        ("documents", f"{num_documents:,}"),
        ("rejected", f"{num_rejected:,}"),
        ("tokens", f"{num_tokens:,}"),
    ]
    notes = [
        f"{count:,} {what}"
        for count, what in [
            (figures.empty_documents, "documents without text"),
            (figures.repaired_documents, "documents with replaced bytes that were not UTF-8"),
            (figures.special_tokens, "texts of special tokens within documents"),
        ]
        if count
    ]
    said = f'<p class="faint">Among them {"; ".join(notes)}.</p>\n' if notes else ""
    return f"<section>\n{_facts(values)}{said}</section>\n"


def _split(split: SplitFigures) -> str:
    lengths = split.lengths
    values = [
        ("tokens", f"{split.num_tokens:,}"),
        ("documents", f"{split.num_documents:,}"),
        ("text", readable(split.text_bytes)),
        ("bytes per token", f"{split.text_bytes / max(1, split.num_tokens):.3f}"),
        ("median document", f"{lengths.quantile(0.5):,} tokens"),
        ("one in ten exceeds", f"{lengths.quantile(0.9):,} tokens"),
        ("one in a hundred", f"{lengths.quantile(0.99):,} tokens"),
        ("longest", f"{lengths.longest:,} tokens"),
    ]
    return (
        f"<section>\n<h2>{escape(split.name)}</h2>\n{_facts(values)}"
        f"<h3>Lengths of its documents</h3>\n{_lengths(split)}"
        f"<h3>Bytes per token, shard by shard</h2>\n{_dots(split)}</section>\n"
    )


def _lengths(split: SplitFigures) -> str:
    rows = split.lengths.doublings()
    most = max((count for _, count in rows), default=1)
    body = "".join(
        f'<tr><td class="number">{least:,}</td><td class="number">{count:,}</td>'
        f'<td class="wide"><div class="bar" style="width:{100 * count / most:.2f}%"></div></td></tr>\n'
        for least, count in rows
    )
    return (
        '<table><tr><th class="number">tokens from</th><th class="number">documents</th><th></th></tr>\n'
        f'{body}</table>\n<p class="faint">Each row up to twice as many tokens. A document\'s EOS id counts.</p>\n'
    )


def _dots(split: SplitFigures) -> str:
    values = thinned(split.bytes_per_token)
    mean = split.text_bytes / max(1, split.num_tokens)
    least, most = min([*values, mean]), max([*values, mean])
    spread = max(most - least, mean / 100, 1e-9)

    def top(value: float) -> str:
        return f"top:{50 - (value - (most + least) / 2) / spread * 84:.2f}%"

    dots = "".join(
        f'<i style="left:{(index + 0.5) / len(values):.3%};{top(value)}"></i>' for index, value in enumerate(values)
    )
    marks = "".join(f'<b style="{top(value)}">{value:.3f}</b>' for value in sorted({least, most}))
    more = (
        f" {len(split.bytes_per_token):,} shards; a dot is the mean of neighbours." if len(values) == _MAX_DOTS else ""
    )
    return (
        f'<div class="dots" role="img" aria-label="bytes per token of each shard">{marks}'
        f'<div><hr style="{top(mean)}">{dots}</div></div>\n'
        f'<p class="faint">In the order of the shards; the line is the mean, {mean:.3f}.{more}</p>\n'
    )


def thinned(values: Sequence[float]) -> list[float]:
    """Means of neighbours, so that there are no more than can be told apart."""
    if len(values) <= _MAX_DOTS:
        return list(values)
    bounds = [index * len(values) // _MAX_DOTS for index in range(_MAX_DOTS + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(bounds)]


def _rejects(figures: Figures) -> str:
    num_rejected = sum(figures.rejected.values())
    if not num_rejected:
        return f"<section>\n<h2>Rejected records</h2>\n<p>None of {figures.num_records:,}.</p>\n</section>\n"
    rows = "".join(
        f'<tr><td class="label">{escape(reason)}</td><td class="number">{count:,}</td>'
        f'<td class="wide"><div class="bar bad" style="width:{100 * count / num_rejected:.2f}%"></div></td></tr>\n'
        for reason, count in figures.rejected.most_common()
    )
    share = num_rejected / max(1, figures.num_records)
    return (
        f"<section>\n<h2>Rejected records</h2>\n<p>{num_rejected:,} of {figures.num_records:,} ({share:.4%}).</p>\n"
        f'<table><tr><th>reason</th><th class="number">records</th><th></th></tr>\n{rows}</table>\n</section>\n'
    )


def readable(size_bytes: int) -> str:
    """As people read it: 1.23 GB."""
    value, units = float(size_bytes), ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{size_bytes:,} bytes" if units[0] == "bytes" else f"{value:.3g} {units[0]}"


def draw(figures: Figures, out: Path) -> None:
    """Draw lengths, bytes per token and rejects into a picture (.png, .svg or .pdf).

    Raises:
        ModuleNotFoundError: The extra `train` is missing, which brings matplotlib.
        OSError: The picture cannot be written.
        ValueError: Its suffix names no format.
    """
    require_extra("train", modules=("matplotlib",), needed_by="a picture of a corpus")
    from matplotlib.figure import Figure  # noqa: PLC0415  (an extra)

    figure = Figure(figsize=(8, 9), dpi=150, layout="constrained")  # no pyplot: nothing global, no display needed
    above, middle, below = figure.subplots(3, 1)
    ink, colours = "#334155", {"train": "#4a7fb5", "valid": "#c98a3b"}
    for split in figures.splits.values():
        rows = split.lengths.doublings()
        colour = colours.get(split.name, ink)
        above.plot([least for least, _ in rows], [count for _, count in rows], "o-", label=split.name, color=colour)
        values = thinned(split.bytes_per_token)
        middle.plot(range(len(values)), values, "o", markersize=3, label=split.name, color=colour)
    above.set_xscale("log", base=2)
    above.set_yscale("log")
    above.set(xlabel="tokens of a document, up to twice as many", ylabel="documents")
    above.xaxis.set_major_formatter(lambda length, _: f"{length / 1024:g}k" if length >= 1024 else f"{length:g}")
    middle.set(xlabel="shard", ylabel="bytes per token")
    reasons = figures.rejected.most_common()[::-1]
    below.barh([reason for reason, _ in reasons], [count for _, count in reasons], 0.5, color="#b5564a")
    below.set_ylim(-0.75, max(len(reasons), 4) - 0.25)
    below.set(xlabel=f"rejected records, of {figures.num_records:,}" if reasons else "no record was rejected")
    for axes in (above, middle, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=ink)
    if len(figures.splits) > 1:
        above.legend(frameon=False)
    above.set_title(f"Corpus {figures.name}", loc="left", color=ink, fontweight="bold")
    picture = io.BytesIO()
    figure.savefig(picture, format=out.suffix.removeprefix("."))
    _bpe.write_file(out, picture.getvalue())
