"""The tokenizer study in words, tables and a picture: every sentence follows from the numbers of the study."""

# ruff: noqa: E402  (the missing extra must be named before matplotlib is imported)
from cs336._extras import require_extra

require_extra("train", modules=("matplotlib",), needed_by=__name__)

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from cs336.experiments.report.document import Picture, Section, Table
from cs336.experiments.report.figures import COLORS, INK, as_svg, blank_figure
from cs336.experiments.report.markdown import longest_run
from cs336.experiments.table import duration_text
from cs336.experiments.tokenizer_facts import Compression, Study, Training
from cs336.experiments.tokenizer_study import PILE_BYTES

_NUM_SCRIPTS = 6
_LEAST_SHARE = 0.001
_NUM_EXAMPLES = 12
_NUM_LONGEST = 5
_BLANK = "␣␊␍␉"  # as `spell_listed` shows white space
_REPEATED = re.compile(r"(.+?)\1+")
_LETTERS = re.compile(r"[^\W\d_]+")
_NAME_CHARACTERS = 16  # of a longest token: a line of 64 dashes tells no more than its beginning and its length


def tokenizer_section(study: Study, *, picture: str = "tokenizers") -> Section:
    """Return all that the study found; `picture` names its figure."""
    return Section(
        title="Tokenizers",
        question="How well does a vocabulary fit its own corpus, and the other, and what does it cost?",
        words=tuple(_words(study)),
        tables=(
            _trainings(study),
            _compressions(study.sampled, f"{study.sampled[0].num_documents} sampled documents"),
            _compressions(study.whole, "whole held-out texts"),
            _scripts(study),
            _throughput(study),
        ),
        pictures=(
            Picture(
                name=picture,
                svg=draw_compression(study),
                caption="Tokenizers: bytes a token of the held-out texts, with 95 % intervals over documents",
            ),
        ),
    )


def _words(study: Study) -> Iterator[str]:
    yield from map(_slower_stage, study.trainings)
    yield from map(_longest, study.trainings)
    yield from _overlap(study)
    yield from _crossings(study)
    yield from _storage(study)


def _trainings(study: Study) -> Table:
    rows = tuple(
        (
            t.corpus,
            f"{t.num_bytes:,}",
            f"{t.vocab_size:,}",
            f"{t.elapsed_s:.2f} s",
            f"{t.stages_s['count']:.2f} s",
            f"{t.stages_s['merge']:.2f} s",
            f"{t.peak_bytes / 1e6:,.0f} MB",
        )
        for t in study.trainings
    )
    header = ("trained on", "bytes", "vocabulary", "time", "of it counting pretokens", "merging pairs", "peak memory")
    return Table(caption="Training", header=header, rows=rows)


def _slower_stage(training: Training) -> str:
    stage = max(training.stages_s, key=lambda name: training.stages_s[name])
    share = training.stages_s[stage] / max(training.elapsed_s, 1e-9)
    what = "counting pretokens" if stage == "count" else "merging pairs"
    return f"Training on {training.corpus} spends most of its time {what}: {share:.0%} of {training.elapsed_s:.2f} s."


def _longest(training: Training) -> str:
    tokens = ", ".join(_shown(token) for token in training.longest[:_NUM_LONGEST])
    kinds = Counter(map(_kind, training.longest))
    said = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return f"The longest tokens of {training.corpus} are {tokens}; of the {len(training.longest)} longest: {said}."


def _kind(token: str) -> str:
    """Return what a spelled token is, in words that follow a number."""
    if not token.strip(_BLANK):
        return "of white space"
    body = token.removeprefix("␣")
    if _REPEATED.fullmatch(body):
        return "of one thing over and over"
    return "of letters alone" if _LETTERS.fullmatch(body) else "of other kinds"


def _shown(token: str) -> str:
    """Return a token as code in Markdown, between more backticks than it has in a row; a long one by its beginning."""
    shown = token if len(token) <= 2 * _NAME_CHARACTERS else f"{token[:_NAME_CHARACTERS]}…"
    fence = "`" * (1 + longest_run(shown, "`"))
    room = " " if "`" in shown else ""
    return f"{fence}{room}{shown}{room}{fence}" + ("" if shown == token else f" ({len(token)} characters)")


def _overlap(study: Study) -> Iterator[str]:
    first, second = (corpus.name for corpus in study.corpora)
    overlap = study.overlap
    smaller = overlap.num_shared + min(overlap.num_only)
    only_first, only_second = overlap.num_only
    yield (
        f"{overlap.num_shared:,} tokens are in both vocabularies, {overlap.num_shared / max(smaller, 1):.0%} of the "
        f"smaller; {only_first:,} are only in that of {first}, {only_second:,} only in that of {second}."
    )
    for name, examples in zip((first, second), overlap.only, strict=True):
        if examples:
            listed = ", ".join(map(_shown, examples[:_NUM_EXAMPLES]))
            yield f"Learned first among those of {name} alone: {listed}."


def _compressions(found: Sequence[Compression], what: str) -> Table:
    return Table(
        caption=f"Compression, {what} (higher is better)",
        header=("tokenizer and text", "bytes/token", "95 % interval over documents", "documents", "tokens a document"),
        rows=tuple(
            (
                f"{c.tokenizer} on {c.text}",
                f"{c.bytes_per_token:.3f}",
                f"{c.low:.3f} to {c.high:.3f}",
                f"{c.num_documents:,}",
                f"{c.tokens_per_document:,.0f}",
            )
            for c in found
        ),
    )


def _crossings(study: Study) -> Iterator[str]:
    for text in (corpus.name for corpus in study.corpora):
        own = next(c for c in study.whole if c.tokenizer == c.text == text)
        other = next(c for c in study.whole if c.tokenizer != text and c.text == text)
        change = other.bytes_per_token / own.bytes_per_token - 1
        yield (
            f"On held-out text of {text}, the tokenizer of {other.tokenizer} gives {abs(change):.1%} "
            f"{'more' if change > 0 else 'fewer'} bytes a token than that of {text} itself: "
            f"{own.bytes_per_token / other.bytes_per_token:.2f} times as many tokens."
        )


def _scripts(study: Study) -> Table:
    names = [corpus.name for corpus in study.corpora]
    rows: list[tuple[str, ...]] = []
    for text in names:
        found = [{fact.script: fact for fact in study.scripts[f"{name} on {text}"]} for name in names]
        total = sum(fact.num_bytes for fact in found[0].values())
        for script, fact in itertools.islice(found[0].items(), _NUM_SCRIPTS):
            if fact.num_bytes >= _LEAST_SHARE * total:
                ratios = (f"{each[script].bytes_per_token:.2f}" for each in found)
                rows.append((f"{text}: {script}", f"{fact.num_bytes / total:.1%}", *ratios))
    return Table(
        caption="Bytes a token by script, over the first 4 MB of each held-out text",
        header=("text and script", "share of bytes", *(f"tokenizer of {name}" for name in names)),
        rows=tuple(rows),
    )


def _throughput(study: Study) -> Table:
    return Table(
        caption="Encoding, file to file, and what the Pile would take at this rate",
        header=("tokenizer", "threads", "bytes encoded", "rate", f"{PILE_BYTES / 1e9:,.0f} GB (h:mm:ss)"),
        rows=tuple(
            (
                t.tokenizer,
                str(t.num_threads),
                f"{t.num_bytes:,}",
                f"{t.bytes_per_s / 1e6:,.0f} MB/s",
                duration_text(t.pile_s),
            )
            for t in study.throughput
        ),
    )


def _storage(study: Study) -> Iterator[str]:
    for s in study.storage:
        fits = (
            "below 2^16 = 65,536: uint16 holds every id, 8 bits would not, and 32 would double the files"
            if s.dtype == "uint16"
            else "which 16 bits do not hold, so that ids take 32"
        )
        yield (
            f"The greatest id of {s.tokenizer} is {s.greatest_id:,}, {fits}. "
            f"As {s.dtype} its own held-out text takes {s.bytes_per_text_byte:.2f} bytes for a byte of text."
        )


def draw_compression(study: Study) -> str:
    """Return bytes a token of each tokenizer on each text, with intervals, as SVG."""
    figure, axes = blank_figure()
    names = [corpus.name for corpus in study.corpora]
    for index, name in enumerate(names):
        mine = [next(c for c in study.whole if c.tokenizer == name and c.text == text) for text in names]
        places = [position + (index - 0.5) * 0.36 for position in range(len(names))]
        bars = axes.bar(
            places,
            [c.bytes_per_token for c in mine],
            0.34,
            yerr=[[c.bytes_per_token - c.low for c in mine], [c.high - c.bytes_per_token for c in mine]],
            capsize=4,
            color=COLORS[index],
            ecolor=INK,
            label=f"tokenizer of {name}",
        )
        axes.bar_label(bars, [f"{c.bytes_per_token:.2f}" for c in mine], label_type="center", color="white")
    axes.set_xticks(range(len(names)), [f"on {name}" for name in names])
    axes.set_ylabel("bytes a token")
    axes.margins(y=0.15)
    figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=9, labelcolor=INK)
    return as_svg(figure)
