import json
import math

import pytest
import torch

from cs336.config import DataConfig
from cs336.experiments.generation_study import (
    GenerationConfig,
    Writing,
    _loss,
    cells,
    read_generation,
    repeated_share,
    study_generation,
    words,
)
from cs336.experiments.recipe import load_recipe
from cs336.model import ModelConfig, TransformerLM
from cs336.train.loop import train

SMALL = GenerationConfig(temperatures=(0.0, 1.0), top_ps=(1.0, 0.5), num_texts=3, num_prompt_ids=2, max_new_tokens=12)


@pytest.mark.parametrize(("ids", "share"), [([1, 2, 3], 0.0), ([1] * 8, 0.8), ([1, 2, 3, 4, 5, 6], 0.0)])
def test_the_share_of_repeated_4_grams(ids, share):
    assert repeated_share(ids) == pytest.approx(share)


def test_the_loss_of_a_text_is_the_sum_over_its_own_ids():
    config = ModelConfig(vocab_size=7, context_length=16, d_model=8, num_layers=1, num_heads=2, d_ff=8)
    model = TransformerLM(config, generator=torch.Generator().manual_seed(0))
    prompt, body = [1, 2, 3], [4, 5, 6, 0]
    log_p = model(torch.tensor(prompt + body[:-1])).log_softmax(-1)
    expected = -sum(log_p[2 + index, id_].item() for index, id_ in enumerate(body))
    assert _loss(model, prompt, body) == pytest.approx(expected, rel=1e-5)


def test_every_id_past_the_context_is_counted_once():
    config = ModelConfig(vocab_size=7, context_length=4, d_model=8, num_layers=1, num_heads=2, d_ff=8)
    model = TransformerLM(config)
    torch.nn.init.zeros_(model.lm_head.weight)  # every id costs ln 7, whatever it sees
    for length in range(1, 15):
        assert _loss(model, [1, 2], [3] * length) == pytest.approx(length * math.log(7), rel=1e-5)


def test_settings_are_measured_beside_held_out_text(tiny_recipe, data_dir, tmp_path):
    data = DataConfig(
        train=str(data_dir / "train.npy"), valid=str(data_dir / "valid.npy"), tokenizer=str(data_dir / "tokenizer.json")
    )
    recipe = load_recipe(tiny_recipe(), overrides=["steps=40", "optim.lr=1e-2"])
    config = recipe.config(recipe.variants[0], 0, data=data, run_dir=tmp_path / "run")
    train(config)
    writings = study_generation(tmp_path / "run", SMALL)
    assert [writing.name for writing in writings] == [
        "held-out text",
        "greedy",
        "temperature 1",
        "temperature 1, top-p 0.5",
    ]
    reference, greedy, whole, nucleus = writings
    assert reference.ended == 1.0  # all documents are shorter than the limit
    assert reference.mean_length == pytest.approx(10, abs=8)
    assert greedy.loss < nucleus.loss < whole.loss
    assert read_generation(tmp_path / "run") == writings
    assert json.loads((tmp_path / "run" / "generation.json").read_text())[1]["name"] == "greedy"
    assert len(cells(writings)) == 4
    assert any("Held-out text repeats" in sentence for sentence in words(writings))


def test_endings_are_told_as_a_share_or_as_a_range():
    def writing(name, ended):
        return Writing(
            name=name, num_texts=4, mean_length=9.0, ended=ended, repeated=0.1, distinct=0.5, loss=2.0, sample=""
        )

    same = words([writing("held-out text", 0.0), writing("greedy", 0.0), writing("temperature 1", 0.0)])[-1]
    assert same == "0% of 4 texts a setting end by themselves within the limit; of the held-out ones 0% do."
    some = words([writing("held-out text", 1.0), writing("greedy", 0.0), writing("temperature 1", 0.5)])[-1]
    assert some.startswith("Between 0% and 50% of 4 texts a setting end by themselves")


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no whole checkpoint"):
        study_generation(tmp_path, SMALL)
    with pytest.raises(ValueError, match="num_texts must be at least 1, got 0"):
        GenerationConfig(num_texts=0)
