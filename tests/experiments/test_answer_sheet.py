import dataclasses

import pytest

from cs336.experiments.answer_sheet import SWEEPS, AnswerSheet, SheetConfig
from cs336.experiments.corpora import default_files, texts_of
from cs336.experiments.executors import InTurn
from cs336.experiments.recipe import load_recipe


@pytest.mark.slow
def test_one_call_goes_from_corpus_to_report_and_a_second_finds_all_done(tmp_path):
    config = SheetConfig(preset="smoke", out=tmp_path / "all")
    begun = []

    class Counting(InTurn):
        def __call__(self, runs):
            begun.extend(run.run_dir for run in runs)
            super().__call__(runs)

    first = AnswerSheet(config=config, execute=Counting()).run()
    text = first["markdown"].read_text()
    headlines = {line[3:] for line in text.splitlines() if line.startswith("## ")}
    titles = {load_recipe(name).title for name in SWEEPS}
    assert headlines == titles | {"Tokenizers", "SGD on a toy", "The corpora compared", "Generation", "Experiment log"}
    assert len(begun) == len(set(begun)) > 20
    begun.clear()
    again = AnswerSheet(config=config, execute=Counting()).run()
    assert begun == []
    assert again["markdown"].read_text() == text


def test_a_corpus_is_made_once_and_keeps_within_its_limit(tmp_path):
    name, files = default_files(0)
    assert name == "standard library"
    texts = texts_of(name, files, tmp_path / "text", limit_bytes=100_000)
    sizes = [path.stat().st_size for path in (texts.train, texts.valid)]
    assert 20_000 < sum(sizes) < 110_000
    assert min(sizes) > 0
    before = texts.train.stat().st_mtime_ns
    assert texts_of(name, files, tmp_path / "text", limit_bytes=100_000) == texts
    assert texts.train.stat().st_mtime_ns == before


def test_what_does_not_go_together_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no sweep 'lr' here; name some of learning-rate, batch-size"):
        SheetConfig(preset="cpu", out=tmp_path, sweeps=("lr",))
    with pytest.raises(ValueError, match="minutes must be positive, got 0"):
        dataclasses.replace(SheetConfig(preset="cpu", out=tmp_path), minutes=0)
    with pytest.raises(ValueError, match="goes with one training text, got 2"):
        texts_of("x", [tmp_path / "a", tmp_path / "b"], tmp_path, valid=tmp_path / "c")
