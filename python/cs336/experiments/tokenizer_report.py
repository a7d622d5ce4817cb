"""The tokenizer study in words, tables and a picture: every sentence follows from the numbers of the study."""

# ruff: noqa: E402  (the missing extra must be named before matplotlib is imported)
from cs336._extras import require_extra

require_extra("train", modules=("matplotlib",), needed_by=__name__)

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from cs336.experiments.table import duration_text, markdown
from cs336.experiments.tokenizer_study import Compression, Study, Training
from cs336.tokenizer.inspection import spell_listed
from cs336.train.durable import write_file

_COLORS = ("#0f766e", "#c2410c")
_INK = "#334155"
_NUM_SCRIPTS = 6
_LEAST_SHARE = 0.001
_NUM_EXAMPLES = 12


def write_study(study: Study, out: Path) -> list[Path]:
    """Write `study.json`, `study.md` and `compression.svg` into a directory; return their paths.

    Raises:
        OSError: They cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / "study.json", out / "study.md", out / "compression.svg"]
    values = dataclasses.asdict(study)
    write_file(paths[0], (json.dumps(values, indent=2, default=_plain) + "\n").encode())
    write_file(paths[1], study_markdown(study).encode())
    draw_compression(study, paths[2])
    return paths


def _plain(value: object) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def study_markdown(study: Study) -> str:
    """Return the study as Markdown; the picture is expected beside it."""
    parts = [
        "# Tokenizer study\n",
        _corpora(study),
        "## Training\n",
        _trainings(study),
        *(_longest(training) for training in study.trainings),
        "## What the vocabularies have in common\n",
        _overlap(study),
        "## Compression\n",
        "Bytes a token, higher is better; in brackets the 95 % interval over documents.\n",
        markdown(*_compressions(study.sampled, f"{study.sampled[0].num_documents} sampled documents")),
        markdown(*_compressions(study.whole, "whole held-out text")),
        _crossing(study),
        "![bytes a token](compression.svg)\n",
        "### By script\n",
        markdown(*_scripts(study)),
        "## Speed\n",
        markdown(*_throughput(study)),
        "## Storage\n",
        *(_storage(study)),
    ]
    return "\n".join(parts)


def _corpora(study: Study) -> str:
    rows = [
        (c.name, str(c.train.name), str(c.valid.name), f"{t.num_bytes:,}", f"{t.vocab_size:,}")
        for c, t in zip(study.corpora, study.trainings, strict=True)
    ]
    return markdown(("corpus", "training text", "held-out text", "bytes trained on", "vocabulary"), rows)


def _trainings(study: Study) -> str:
    rows = [
        (
            t.corpus,
            f"{t.elapsed_s:.2f} s",
            f"{t.stages_s['count']:.2f} s",
            f"{t.stages_s['merge']:.2f} s",
            f"{t.peak_bytes / 1e6:,.0f} MB",
            _slower_stage(t),
        )
        for t in study.trainings
    ]
    return markdown(("tokenizer", "time", "counting pretokens", "merging pairs", "peak memory", "most time"), rows)


def _slower_stage(training: Training) -> str:
    stage = max(training.stages_s, key=lambda name: training.stages_s[name])
    share = training.stages_s[stage] / max(training.elapsed_s, 1e-9)
    return f"{'counting' if stage == 'count' else 'merging'}, {share:.0%}"


def _longest(training: Training) -> str:
    tokens = ", ".join(f"`{token}`" for token in training.longest)
    count = len(training.longest)
    verdict = (
        "all of them are words, which is what frequent text of this kind repeats"
        if training.num_words == count
        else f"{training.num_words} of these {count} are words; the others are what the corpus repeats beside words: "
        "rules, indentation, one letter over and over, text decoded wrongly"
    )
    return f"The longest tokens of {training.corpus}: {tokens}. {verdict[0].upper()}{verdict[1:]}.\n"


def _overlap(study: Study) -> str:
    first, second = (corpus.name for corpus in study.corpora)
    overlap = study.overlap
    smaller = overlap.num_shared + min(overlap.num_only)
    lines = [
        f"{overlap.num_shared:,} tokens are in both, {overlap.num_shared / max(smaller, 1):.0%} of the smaller "
        f"vocabulary; {overlap.num_only[0]:,} are only in {first}, {overlap.num_only[1]:,} only in {second}.",
    ]
    for name, tokens in zip((first, second), overlap.only, strict=True):
        if tokens:
            examples = ", ".join(f"`{spell_listed(token.content)}`" for token in tokens[:_NUM_EXAMPLES])
            lines.append(f"Learned first among those of {name} alone: {examples}.")
    return "\n".join(lines) + "\n"


def _compressions(found: Sequence[Compression], what: str) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    rows = [
        (f"{c.tokenizer} on {c.text}", f"{c.bytes_per_token:.3f} [{c.low:.3f}, {c.high:.3f}]", f"{c.num_documents:,}")
        for c in found
    ]
    return (f"tokenizer, {what}", "bytes/token", "documents"), rows


def _crossing(study: Study) -> str:
    sentences = []
    for text in (corpus.name for corpus in study.corpora):
        own = next(c for c in study.whole if c.tokenizer == c.text == text)
        other = next(c for c in study.whole if c.tokenizer != text and c.text == text)
        change = other.bytes_per_token / own.bytes_per_token - 1
        sentences.append(
            f"On {text}, the tokenizer of {other.tokenizer} gives {abs(change):.1%} "
            f"{'more' if change > 0 else 'fewer'} bytes a token than {text}'s own."
        )
    return " ".join(sentences) + "\n"


def _scripts(study: Study) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    rows = []
    for pair, facts in study.scripts.items():
        total = sum(fact.num_bytes for fact in facts)
        rows += [
            (pair, fact.script, f"{fact.num_bytes / total:.1%}", f"{fact.bytes_per_token:.2f}")
            for fact in facts[:_NUM_SCRIPTS]
            if fact.num_bytes >= _LEAST_SHARE * total
        ]
    return ("tokenizer and text", "script", "share of bytes", "bytes/token"), rows


def _throughput(study: Study) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    rows = [
        (t.tokenizer, str(t.num_threads), f"{t.bytes_per_s / 1e6:,.0f} MB/s", duration_text(t.pile_s))
        for t in study.throughput
    ]
    return ("tokenizer", "threads", "file to file", "the Pile, 825 GB (h:mm:ss)"), rows


def _storage(study: Study) -> list[str]:
    return [
        f"The greatest id of {s.tokenizer} is {s.greatest_id:,}, "
        + (
            "below 2^16 = 65,536: 16 bits hold every id, 8 would not, and 32 would double the files. "
            if s.dtype == "uint16"
            else "which 16 bits do not hold, so that ids take 32. "
        )
        + f"As {s.dtype} the ids of its own held-out text take {s.bytes_per_text_byte:.2f} bytes for a byte of text.\n"
        for s in study.storage
    ]


def draw_compression(study: Study, out: Path) -> None:
    """Draw bytes a token of each tokenizer on each text, with intervals.

    Raises:
        OSError: The picture cannot be written.
    """
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    names = [corpus.name for corpus in study.corpora]
    for index, name in enumerate(names):
        mine = [next(c for c in study.whole if c.tokenizer == name and c.text == text) for text in names]
        places = [position + (index - 0.5) * 0.36 for position in range(len(names))]
        errors = [
            [c.bytes_per_token - c.low for c in mine],
            [c.high - c.bytes_per_token for c in mine],
        ]
        bars = axes.bar(
            places,
            [c.bytes_per_token for c in mine],
            0.34,
            yerr=errors,
            capsize=4,
            color=_COLORS[index],
            ecolor=_INK,
            label=f"tokenizer of {name}",
        )
        axes.bar_label(bars, [f"{c.bytes_per_token:.2f}" for c in mine], label_type="center", color="white")
    axes.set_xticks(range(len(names)), [f"on {name}" for name in names])
    axes.set_ylabel("bytes a token (higher is better)", color=_INK)
    axes.set_title("Compression of the held-out texts", loc="left", color=_INK, fontweight="bold")
    axes.spines[["right", "top"]].set_visible(False)
    axes.tick_params(colors=_INK)
    axes.margins(y=0.15)
    figure.legend(
        *axes.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2, labelcolor=_INK
    )
    aside = out.with_name(f"{out.stem}.tmp{out.suffix}")
    try:
        figure.savefig(aside, metadata={"Date": None})
        aside.replace(out)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(out)) from error
