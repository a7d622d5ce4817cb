import base64
import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from cs336.config import DataConfig
from cs336.experiments.executors import InTurn
from cs336.experiments.recipe import load_recipe
from cs336.experiments.report import write_report
from cs336.experiments.report.document import Document, Section, Table
from cs336.experiments.report.figures import clock_text, losses_shown
from cs336.experiments.report.markdown import as_markdown
from cs336.experiments.report.page import as_page
from cs336.experiments.report.studies import gather
from cs336.experiments.report.whole import Sheet
from cs336.experiments.sweep import plan_sweep, record_sweep, run_sweep
from cs336.train.history import add_note
from cs336.train.loop import train

GRID = '[grid]\n"optim.lr" = [1e-3, 1e-2, 1e30]\n'


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory, data_dir, tiny_text):
    """A sweep with a rate that breaks, and beside it a run of its own."""
    folder = tmp_path_factory.mktemp("reported")
    (folder / "tiny.toml").write_text(tiny_text + GRID)
    recipe = load_recipe(folder / "tiny.toml", overrides=["model.norm=none", "optim.max_grad_norm=none"])
    data = DataConfig(
        train=str(data_dir / "train.npy"), valid=str(data_dir / "valid.npy"), tokenizer=str(data_dir / "tokenizer.json")
    )
    out = folder / "runs" / "rates"
    runs = plan_sweep(recipe, data=data, out=out)
    record_sweep(recipe, out)
    run_sweep(runs, InTurn())
    add_note(runs[0].run_dir, "slow | but <steady>", time="2026-11-28")
    train(dataclasses.replace(runs[0].config, run_dir=str(folder / "runs" / "alone")))
    return folder / "runs"


@pytest.fixture(scope="module")
def report(runs_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    return write_report([runs_dir], out, title="What & why")


class Tags(HTMLParser):
    """Collects what a page refers to, and whether its elements close in order."""

    VOID = frozenset({"meta", "img", "wbr", "br"})

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_runs_are_gathered_into_their_sweeps_with_the_question_asked(runs_dir):
    studies = {study.folder.name: study for study in gather([runs_dir])}
    assert studies["rates"].question == "Which rate?"
    assert [row.name for row in studies["rates"].rows] == ["lr=0.001", "lr=0.01", "lr=1e+30"]
    assert studies["rates"].varied().keys() == {"optim.lr"}
    assert [row.name for row in studies["runs"].rows] == ["alone"]


def test_the_page_is_whole_and_needs_no_other_file(report):
    page = report["page"].read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert all(source.startswith(("data:image/svg+xml;base64,", "#")) for source in tags.sources)
    assert "What &amp; why" in page
    assert "<steady>" not in page
    pictures = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert len(pictures) == 7  # four of the sweep, three of the single run
    for picture in pictures:
        assert ElementTree.fromstring(base64.b64decode(picture)).tag.endswith("svg")


def test_the_log_holds_every_run_with_code_machine_and_notes(report):
    text = report["markdown"].read_text()
    log = text[text.index("## Experiment log") :].splitlines()
    assert sum("seed-" in line for line in log) == 6
    assert any("slow \\| but <steady>" in line for line in log)
    assert sum("diverged" in line for line in log) == 2


def test_markdown_names_pictures_that_lie_beside_it(report):
    text = report["markdown"].read_text()
    names = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(names) == 7
    assert all((report["markdown"].parent / name).stat().st_size < 40_000 for name in names)
    assert "**lr=0.01**" in text


def test_names_in_pictures_are_whole(report):
    svg = (report["markdown"].parent / "rates-step.svg").read_text()
    assert ">lr=0.01<" in svg
    assert ">lr=0.001 (above)<" in svg  # it learns less than the picture has room for
    assert not re.search(r'x="\d+\.\d{3}', svg)


def test_a_report_of_the_same_runs_has_the_same_bytes(report, runs_dir, tmp_path):
    again = write_report([runs_dir], tmp_path / "again", title="What & why")
    assert again["page"].read_bytes() == report["page"].read_bytes()


def test_text_is_shown_as_it_is_whatever_it_holds():
    section = Section(
        title="Samples", tables=(Table(header=("a",), rows=(("<b>|x",),)),), blocks=(("one:", "```\n<script>\n```"),)
    )
    document = Document(title="T", sections=(section,))
    assert "````text\n```\n<script>\n```\n````" in as_markdown(document)
    page = as_page(document)
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;|x" in page


def test_names_may_break_and_numbers_may_not():
    table = Table(header=("run",), rows=(("runs/lr=1", "1,000", "a,b"),))
    page = as_page(Document(title="T", sections=(Section(title="S", tables=(table,)),)))
    assert "runs/<wbr>lr=<wbr>1" in page
    assert "1,000" in page
    assert "a,<wbr>b" in page


def test_sweeps_of_the_same_name_have_pictures_of_their_own(runs_dir, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(runs_dir / "rates", tmp_path / name / "rates")
    sweep = json.loads((runs_dir / "rates" / "sweep.json").read_text())
    sweep["variants"].append("lr=3")
    (tmp_path / "one" / "rates" / "sweep.json").write_text(json.dumps(sweep))
    text = write_report([tmp_path / "one", tmp_path / "two"], tmp_path / "out")["markdown"].read_text()
    names = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(set(names)) == len(names) == 8
    assert text.count("Not begun: lr=3.") == 1
    for name in ("one", "two"):
        assert f"## Tiny ({tmp_path / name / 'rates'})\n" in text
    (tmp_path / "two" / "rates").rename(tmp_path / "two" / "more")
    titles = [study.title for study in gather([tmp_path / "one", tmp_path / "two"])]
    assert titles == ["Tiny (rates)", "Tiny (more)"]


def test_curves_show_the_better_half_whole_and_of_the_others_what_is_near():
    runs = [(4.0, 6.0), (4.1, 6.2), (4.3, 6.1), (6.5, 7.0), (6.9, 200.0), (8.0, 8.5)]
    bottom, top = losses_shown(runs)
    assert 3.8 < bottom < 4.0
    assert 6.9 < top < 7.1
    assert losses_shown([(2.0, 2.0)]) == pytest.approx((2.0 - 0.0075, 2.15 + 0.0075))


def test_ticks_of_the_wall_clock_are_told_apart():
    ticks = [clock_text(30.0 * step) for step in range(8)]
    assert ticks == ["0 s", "30 s", "60 s", "90 s", "2 min", "2.5 min", "3 min", "3.5 min"]
    assert [clock_text(seconds) for seconds in (600, 5400, 9000)] == ["10 min", "90 min", "2.5 h"]


def test_ends_without_a_way_to_them_are_not_drawn_as_curves(runs_dir, tmp_path):
    shutil.copytree(runs_dir / "rates", tmp_path / "rates")
    for path in (tmp_path / "rates").rglob("metrics.jsonl"):
        lines = [line for line in path.read_text().splitlines() if json.loads(line)["kind"] == "valid"]
        path.write_text("".join(line + "\n" for line in lines[-1:]))
    text = write_report([tmp_path / "rates"], tmp_path / "out")["markdown"].read_text()
    assert re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text) == ["rates-response.svg"]


def test_an_answer_sheet_says_what_a_report_on_it_begins_with(runs_dir, tmp_path):
    copy = tmp_path / "all"
    shutil.copytree(runs_dir, copy)
    Sheet(title="Answers", lead=("On two corpora.",), corpora={"data-1": "stories"}).save(copy)
    text = write_report([copy], tmp_path / "out", lead=("Made by hand.",))["markdown"].read_text()
    assert text.startswith("# Answers\n\nMade by hand.\n\nOn two corpora.\n")
    assert "## SGD on a toy" in text
    (copy / "sheet.json").write_text("[]")
    with pytest.raises(ValueError, match=r"sheet\.json is damaged .*; remove it, or let `cs336 experiments all`"):
        write_report([copy], tmp_path / "out")


def test_what_runs_have_written_stands_under_their_studies_titles(runs_dir, tmp_path):
    values = {"num_texts": 1, "mean_length": 9.0, "ended": 0.5, "repeated": 0.1, "distinct": 0.5, "loss": 2.0}
    names = ("held-out text", "greedy")
    written = json.dumps([values | {"name": name, "sample": "x"} for name in names])
    shutil.copytree(runs_dir, tmp_path / "all")
    (tmp_path / "all" / "alone" / "generation.json").write_text(written)
    text = write_report([tmp_path / "all"], tmp_path / "one")["markdown"].read_text()
    assert "## Generation\n" in text
    (tmp_path / "all" / "rates" / "lr=0.01" / "seed-0" / "generation.json").write_text(written)
    text = write_report([tmp_path / "all"], tmp_path / "two")["markdown"].read_text()
    assert text.count("## Generation (") == 2
    assert "## Generation (Tiny)\n" in text


def test_no_runs_are_an_error_that_says_what_makes_them(tmp_path):
    with pytest.raises(ValueError, match=r"no runs in .*cs336 sweep. make them"):
        write_report([tmp_path], tmp_path / "out")
