"""An `Inspection` as one HTML page: no scripts, nothing to load, light and dark, for a phone, a desk and paper."""

from collections.abc import Iterable, Sequence
from html import escape

from cs336.tokenizer.inspection import Inspection, Overlap, TextFacts, Token, VocabularyFacts, spell, spell_listed

# Neighbouring tokens get different ones of so many colours.
NUM_COLOURS = 5

_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d22; --faint: #6a6a75; --paper: #fdfdfb; --line: #d9d9d4; --bar: #4a7fb5;
  --bar2: #c98a3b; --c0: #fde3a7; --c1: #c9e8c5; --c2: #c7dcf7; --c3: #f6cfd6; --c4: #e0d3f5; --special: #2b2b33;
  --special-ink: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ea; --faint: #9c9ca8; --paper: #17171b; --line: #35353d;
  --bar: #5d95cf; --bar2: #d69a4f; --c0: #5a4712; --c1: #22492a; --c2: #22406a; --c3: #5f2a38; --c4: #443063;
  --special: #e8e8ea; --special-ink: #17171b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.25rem 1rem 3rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .35rem; overflow-wrap: anywhere; }
p { margin: .35rem 0; } .faint { color: var(--faint); font-size: .9rem; }
code, .tokens { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
code { font-size: .9em; overflow-wrap: anywhere; white-space: pre-wrap; }
.facts { display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin: .75rem 0; padding: 0; }
.facts div { display: flex; flex-direction: column; } .facts dt { color: var(--faint); font-size: .85rem; }
.facts dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; font-size: .85rem; color: var(--faint); }
th, td { padding: .2rem .75rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.wide { width: 45%; vertical-align: middle; padding-right: 0; }
.bar { height: .7rem; min-width: 1px; border-radius: 2px; background: var(--bar); }
.bar.second { background: var(--bar2); margin-top: 2px; }
.key { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; background: var(--bar); }
.key.second { background: var(--bar2); }
.name { white-space: nowrap; margin-right: .75rem; }
.tokens { font-size: .9rem; line-height: 1.75; white-space: pre-wrap; overflow-wrap: anywhere; margin: .5rem 0; }
.tokens span { padding: .1em 0; border-radius: 3px; box-decoration-break: clone; -webkit-box-decoration-break: clone; }
.t0 { background: var(--c0); } .t1 { background: var(--c1); } .t2 { background: var(--c2); }
.t3 { background: var(--c3); } .t4 { background: var(--c4); }
.tokens .special { background: var(--special); color: var(--special-ink); padding: .1em .3em; }
#ids:checked ~ .tokens span::after { content: attr(data-id); font-size: .65em; vertical-align: sub; opacity: .7;
  padding: 0 .25em; }
.list code { display: inline-block; margin: 0 .35rem .35rem 0; padding: 0 .3rem; border: 1px solid var(--line);
  border-radius: 3px; }
.spectrum { display: flex; align-items: flex-end; gap: 1px; height: 7rem; margin: .5rem 0 0;
  border-bottom: 1px solid var(--line); }
.spectrum div { flex: 1; min-height: 1px; background: var(--bar); border-radius: 2px 2px 0 0; }
.spectrum div.second { background: var(--bar2); }
.spectrum div.none { background: none; }
.axis { display: flex; justify-content: space-between; }
.share { display: flex; height: 1.5rem; border-radius: 3px; overflow: hidden; margin: .5rem 0; }
.share div { background: var(--bar); } .share .both { background: var(--faint); }
.share .second { background: var(--bar2); }
@media (max-width: 34rem) {
  th, td { padding-right: .5rem; } th.number { white-space: normal; vertical-align: bottom; }
  th:last-child, td:last-child { padding-right: 0; } td.wide { width: 35%; min-width: 6rem; }
  .facts { gap: .5rem 1.25rem; }
}
@media print {
  :root { --ink: #000; --faint: #444; --paper: #fff; --line: #bbb; --bar: #4a7fb5; --bar2: #c98a3b; --c0: #fde3a7;
    --c1: #c9e8c5; --c2: #c7dcf7; --c3: #f6cfd6; --c4: #e0d3f5; --special: #2b2b33; --special-ink: #fff; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { max-width: none; padding: 0; font-size: 10pt; } label, input { display: none; }
  h2, h3 { break-after: avoid; } tr, .spectrum, .share { break-inside: avoid; }
  .tokens span { outline: .3pt solid #999; }
}
"""


def render(inspection: Inspection) -> str:
    """The page, complete."""
    title = " and ".join(inspection.names)
    sections = [
        *(_vocabulary(name, facts) for name, facts in zip(inspection.names, inspection.vocabularies, strict=True)),
        _texts(inspection.names, inspection.texts),
        _overlap(inspection.names, inspection.overlap) if inspection.overlap else "",
        _lengths(inspection),
        _scripts_of_vocabularies(inspection),
        *(_longest(name, facts) for name, facts in zip(inspection.names, inspection.vocabularies, strict=True)),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Tokenizer {escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>Tokenizer {escape(title)}</h1>\n{''.join(sections)}</body>\n</html>\n"
    )


def _facts(values: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in values)
    return f'<dl class="facts">{items}</dl>\n'


def _vocabulary(name: str, facts: VocabularyFacts) -> str:
    specials = sorted(facts.special_tokens.items(), key=lambda item: item[1])
    values = [
        ("tokens", f"{facts.num_tokens:,}"),
        ("ids up to", f"{facts.vocab_size - 1:,}"),
        ("merges", f"{facts.num_merges:,}"),
        ("special tokens", f"{len(specials):,}"),
    ]
    listed = "".join(f"<code>{escape(token)}</code> {id_:,} " for token, id_ in specials[:20])
    more = f"and {len(specials) - 20:,} more" if len(specials) > 20 else ""
    return (
        f"<section>\n<h2>{escape(name)}</h2>\n{_facts(values)}"
        f'<p class="faint">Pattern: <code>{escape(facts.pattern)}</code></p>\n'
        + (f'<p class="faint">Special: {listed}{more}</p>\n' if specials else "")
        + "</section>\n"
    )


def _texts(names: Sequence[str], texts: Sequence[TextFacts]) -> str:
    if not texts:
        return ""
    first = texts[0]
    shown = "".join(_tokens(name, text, is_alone=len(texts) == 1) for name, text in zip(names, texts, strict=True))
    return (
        f"<section>\n<h2>The text</h2>\n<p>{first.num_characters:,} characters, {first.num_bytes:,} bytes.</p>\n"
        f"{_text_table(names, texts)}{_by_script(names, texts)}</section>\n"
        '<section>\n<h2>Its tokens</h2>\n<input type="checkbox" id="ids"> <label for="ids">show ids</label>\n'
        f"{shown}</section>\n"
    )


def _text_table(names: Sequence[str], texts: Sequence[TextFacts]) -> str:
    if len(texts) == 1:
        text = texts[0]
        return _facts(
            [
                ("tokens", f"{text.num_tokens:,}"),
                ("different ones", f"{text.num_distinct:,}"),
                ("bytes per token", f"{text.bytes_per_token:.3f}"),
            ]
        )
    rows = (
        [
            _key(index) + " " + escape(name),
            f"{text.num_tokens:,}",
            f"{text.num_distinct:,}",
            f"{text.bytes_per_token:.3f}",
        ]
        for index, (name, text) in enumerate(zip(names, texts, strict=True))
    )
    return _table(["", "tokens", "different", "bytes per token"], rows)


def _by_script(names: Sequence[str], texts: Sequence[TextFacts]) -> str:
    first, *others = texts
    rates = [{fact.script: fact.bytes_per_token for fact in text.scripts} for text in texts]
    greatest = max((rate for each in rates for rate in each.values()), default=1.0)
    rows = []
    for fact in first.scripts:
        of_script = [each.get(fact.script, 0.0) for each in rates]
        share = fact.num_bytes / first.num_bytes
        bars = "".join(_bar(index, rate / greatest) for index, rate in enumerate(of_script))
        rates_shown = "<br>".join(f"{rate:.2f}" for rate in of_script)
        rows.append([escape(fact.script), f"{100 * share:.1f} %", rates_shown, bars])
    note = "Higher is better. A token counts for a script with its share of bytes."
    keys = (f'<span class="name">{_key(index)} {escape(name)}</span>' for index, name in enumerate(names))
    legend = " ".join(keys) if others else ""
    return f'<h3>Bytes per token by script</h3>\n<p class="faint">{note} {legend}</p>\n' + _table(
        ["script", "of the text", "bytes per token", ""], rows, bars=True
    )


def _tokens(name: str, text: TextFacts, *, is_alone: bool) -> str:
    spans = []
    for index, token in enumerate(text.tokens):
        kind = "special" if token.is_special else f"t{index % NUM_COLOURS}"
        spelt = escape(spell(token.content)).replace("␊", "⏎\n")
        size = len(token.content)
        hint = f"id {token.id}, {size} byte{'s' if size != 1 else ''}"
        spans.append(f'<span class="{kind}" data-id="{token.id}" title="{hint}">{spelt}</span>')
    rest = text.num_tokens - len(text.tokens)
    heading = "" if is_alone else f"<h3>{escape(name)}</h3>\n"
    more = f'<p class="faint">and {rest:,} more tokens</p>\n' if rest else ""
    return f'{heading}<div class="tokens">{"".join(spans)}</div>\n{more}'


def _overlap(names: Sequence[str], overlap: Overlap) -> str:
    first, second = map(escape, names)
    num_first, num_second = overlap.num_only
    total = overlap.num_shared + num_first + num_second
    parts = [("", num_first), ("both", overlap.num_shared), ("second", num_second)]
    shares = "".join(f'<div class="{kind}" style="width:{100 * size / total:.2f}%"></div>' for kind, size in parts)
    examples = "".join(
        f'<h3>Only in {name}</h3>\n<p class="list">{_spelt_list(tokens)}</p>\n'
        for name, tokens in zip((first, second), overlap.only, strict=True)
        if tokens
    )
    values = [
        (f"{_key(0)} only in {first}", f"{num_first:,}"),
        ("in both", f"{overlap.num_shared:,} ({100 * overlap.num_shared / total:.1f} % of all)"),
        (f"{_key(1)} only in {second}", f"{num_second:,}"),
    ]
    note = '<p class="faint">Special tokens aside. Examples are the tokens with the lowest ids.</p>\n'
    return (
        f'<section>\n<h2>Overlap</h2>\n{_facts(values)}<div class="share">{shares}</div>\n{note}{examples}</section>\n'
    )


def _lengths(inspection: Inspection) -> str:
    each = [facts.num_of_length for facts in inspection.vocabularies]
    last = max(map(len, each)) - 1
    num_shown = min(last, 24)
    spectra = []
    for index, counts in enumerate(each):
        shown = [counts[length] if length < len(counts) else 0 for length in range(1, num_shown + 1)]
        shown[-1] += sum(counts[num_shown + 1 :])
        greatest = max(shown)
        name = f"{_key(index)} {escape(inspection.names[index])}" if len(each) > 1 else ""
        bars = "".join(
            f'<div class="{"second" if index else "first"}{"" if count else " none"}" '
            f'style="height:{100 * count / greatest:.1f}%" title="{count:,} tokens of {length} bytes"></div>'
            for length, count in enumerate(shown, 1)
        )
        spectra.append(f'<p class="faint">{name}</p>\n<div class="spectrum">{bars}</div>\n')
    axis = f"<span>1 byte</span><span>{num_shown}{' or more' if last > num_shown else ''}</span>"
    return (
        f"<section>\n<h2>How long the tokens are</h2>\n{''.join(spectra)}"
        f'<div class="axis faint">{axis}</div>\n</section>\n'
    )


def _scripts_of_vocabularies(inspection: Inspection) -> str:
    each = [facts.num_of_script for facts in inspection.vocabularies]
    greatest = max(size for sizes in each for size in sizes.values())
    scripts = sorted({script for sizes in each for script in sizes}, key=lambda s: -max(n.get(s, 0) for n in each))
    rows = []
    for script in scripts[:20]:
        sizes = [counts.get(script, 0) for counts in each]
        bars = "".join(_bar(index, size / greatest) for index, size in enumerate(sizes))
        rows.append([escape(script), "<br>".join(f"{size:,}" for size in sizes), bars])
    return (
        "<section>\n<h2>Scripts of the tokens</h2>\n"
        '<p class="faint">By the first letter of a token, or its first other character.</p>\n'
        + _table(["script", "tokens", ""], rows, bars=True)
        + "</section>\n"
    )


def _longest(name: str, facts: VocabularyFacts) -> str:
    rows = (
        [f"<code>{escape(spell_listed(token.content))}</code>", f"{len(token.content):,}", f"{token.id:,}"]
        for token in facts.longest
    )
    return f"<section>\n<h2>Longest tokens of {escape(name)}</h2>\n{_table(['token', 'bytes', 'id'], rows)}</section>\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], *, bars: bool = False) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        kinds = ["", *["number"] * (len(cells) - 1)]
        if bars:
            kinds[-1] = "wide"
        return "".join(f'<{tag} class="{kind}">{cell}</{tag}>' for kind, cell in zip(kinds, cells, strict=True))

    body = "".join(f"<tr>{line(row, 'td')}</tr>\n" for row in rows)
    return f"<table>\n<thead><tr>{line(header, 'th')}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"


def _bar(index: int, share: float) -> str:
    return f'<div class="bar{" second" if index else ""}" style="width:{100 * share:.1f}%"></div>'


def _key(index: int) -> str:
    return f'<span class="key{" second" if index else ""}"></span>'


def _spelt_list(tokens: Iterable[Token]) -> str:
    return "".join(f"<code>{escape(spell_listed(token.content))}</code>" for token in tokens)
