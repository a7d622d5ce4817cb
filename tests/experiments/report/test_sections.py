from pathlib import Path

import pytest

from cs336.experiments.generation_study import Writing
from cs336.experiments.report.sections import generation_section, toy_section


def writing(name, sample):
    return Writing(
        name=name, num_texts=2, mean_length=9.0, ended=0.5, repeated=0.1, distinct=0.5, loss=2.0, sample=sample
    )


@pytest.mark.parametrize(
    ("sample", "shown"),
    [
        ("short\n", "short\n"),
        ("#\n" * 100, "\n".join("#" * 24) + " …"),
        ("x" * 2000, "x" * 700 + " …"),
    ],
)
def test_a_long_sample_is_shown_by_its_beginning(sample, shown):
    section = generation_section(Path("run"), [writing("held-out text", ""), writing("greedy", sample)])
    assert section.blocks == (("greedy:", shown),)


def test_every_setting_is_in_the_table_and_the_held_out_text_has_no_sample():
    section = generation_section(Path("run"), [writing("held-out text", "a"), writing("greedy", "b")])
    assert [row[0] for row in section.tables[0].rows] == ["held-out text", "greedy"]
    assert len(section.blocks) == 1
    assert section.words[0] == "Written by run."


def test_the_toy_shows_each_step_at_each_rate():
    table = toy_section().tables[0]
    assert len(table.rows) == 11
    assert all(len(row) == len(table.header) for row in table.rows)
