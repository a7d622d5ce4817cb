"""Tables, plots and raw figures of a bench, into a directory."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from side_by_side import OURS, Runs, best_peer, machine, summary, table


@dataclass(frozen=True)
class Comparison:
    """One job, done by several tools.

    Attributes:
        title: what was done to what.
        num_bytes: of the input, for the throughput.
        runs: what every process said.
        remarks: lines to stand under the table.
    """

    title: str
    num_bytes: int
    runs: Runs
    remarks: Sequence[str] = field(default_factory=list)

    def markdown(self) -> str:
        summaries = summary(self.runs)
        lines = [f"### {self.title}", "", *table(summaries, self.num_bytes), ""]
        best = best_peer(summaries)
        if best is not None:
            lines += [f"The best peer is {best[0]}: on the first pass ours is {best[1]:.2f} times as fast.", ""]
        lines += [line for remark in self.remarks for line in (remark, "")]
        return "\n".join(lines)


def versions(distributions: dict[str, str]) -> dict[str, str]:
    """The installed version of each tool, by the name under which its package is published."""
    found = {}
    for tool, distribution in distributions.items():
        try:
            found[tool] = f"{distribution} {metadata.version(distribution)}"
        except metadata.PackageNotFoundError:
            continue
    return found


def publish(
    name: str,
    comparisons: Sequence[Comparison],
    distributions: dict[str, str],
    out: Path | None,
    further: Sequence[str] = (),
) -> None:
    """Prints the tables; with a directory, writes them there with the raw figures and a plot.

    Args:
        name: of the files.
        comparisons: what was compared.
        distributions: the packages whose versions to note.
        out: the directory, made if need be.
        further: more Markdown, to follow the tables.
    """
    command = shlex.join(["python", *sys.argv])
    installed = versions(distributions)
    head = f"{machine()}\n\n{', '.join(installed.values())}\n\n    {command}\n"
    text = "\n".join([head, *(one.markdown() for one in comparisons), *further])
    print(text)
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    figures: dict[str, Any] = {
        "machine": machine(),
        "command": command,
        "versions": installed,
        "comparisons": [{**asdict(one), "summary": summary(one.runs)} for one in comparisons],
        "further": list(further),
    }
    (out / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    plot(comparisons, out / name)
    print(f"\nwritten: {out / name}.md, .json, .svg, .png", file=sys.stderr)


def plot(comparisons: Sequence[Comparison], path: Path) -> None:
    """Bars of MB/s on the first pass, over the paler ones of the same text again; a panel for each comparison."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(2, len(comparisons))
    rows = -(-len(comparisons) // columns)
    most = max(sum("first_s" in results[0] for results in one.runs.values()) for one in comparisons)
    figure, grid = pyplot.subplots(
        rows, columns, figsize=(6.2 * columns, rows * (1.05 + 0.27 * most)), squeeze=False, layout="constrained"
    )
    for axes in grid.flat[len(comparisons) :]:
        axes.remove()
    for axes, one in zip(grid.flat, comparisons, strict=False):
        draw(axes, one)
    figure.savefig(path.with_suffix(".svg"))
    figure.savefig(path.with_suffix(".png"), dpi=110)
    pyplot.close(figure)


def draw(axes: Any, one: Comparison) -> None:
    timed = {tool: figures for tool, figures in summary(one.runs).items() if "first_s" in figures}
    tools = sorted(timed, key=lambda tool: timed[tool]["first_s"], reverse=True)
    speeds = [[one.num_bytes / timed[tool][part] / 1e6 for tool in tools] for part in ("first_s", "again_s")]
    colours = ["#c2410c" if tool == OURS else "#475569" for tool in tools]
    labels = [tool if timed[tool]["status"] == "ok" else f"{tool} (wrong)" for tool in tools]
    axes.barh(labels, speeds[1], color=colours, alpha=0.3, height=0.75)
    axes.barh(labels, speeds[0], color=colours, height=0.5)
    for position, (first, again) in enumerate(zip(*speeds, strict=True)):
        axes.annotate(f" {first:.3g}, {again:.3g}", (max(first, again), position), va="center", fontsize=8)
    axes.set_title(one.title.replace(": ", ":\n", 1), fontsize=9, loc="left")
    axes.set_xlabel("MB/s: first pass (dark), same input again (pale)", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
