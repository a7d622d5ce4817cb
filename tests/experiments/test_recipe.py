import pytest

from cs336.config import DataConfig
from cs336.experiments.recipe import load_recipe, recipe_names

DATA = DataConfig(train="train.npy")


def configs(recipe):
    return {v.name: recipe.config(v, 0, data=DATA, run_dir="x") for v in recipe.variants}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_of_the_package_gives_whole_configs(name):
    recipe = load_recipe(name)
    assert recipe.question
    assert recipe.question.endswith("?")
    assert len(configs(recipe)) == len(recipe.variants)


def test_a_grid_gives_every_combination(tiny_recipe):
    recipe = load_recipe(tiny_recipe('[grid]\n"optim.lr" = [1e-3, 2e-3]\nbatch_size = [4, 8]\n'))
    assert {name: (c.optim.lr, c.batch_size) for name, c in configs(recipe).items()} == {
        "lr=0.001,batch_size=4": (1e-3, 4),
        "lr=0.001,batch_size=8": (1e-3, 8),
        "lr=0.002,batch_size=4": (2e-3, 4),
        "lr=0.002,batch_size=8": (2e-3, 8),
    }


def test_runs_are_listed_one_by_one_and_the_first_is_the_baseline(tiny_recipe):
    recipe = load_recipe(
        tiny_recipe('[[runs]]\nname = "base"\n[[runs]]\nname = "post norm"\nset = { "model.norm_position" = "post" }\n')
    )
    assert [v.name for v in recipe.variants] == ["base", "post-norm"]
    assert configs(recipe)["post-norm"].model.norm_position == "post"
    assert configs(recipe)["base"].model.norm_position == "pre"


def test_overrides_set_or_make_a_grid(tiny_recipe):
    recipe = load_recipe(
        tiny_recipe(), overrides=["optim.lr=1e-3,4e-3", "steps=9", "optim.betas=[0.8, 0.9]"], seeds=[7]
    )
    assert recipe.seeds == (7,)
    found = configs(recipe)
    assert {name: c.optim.lr for name, c in found.items()} == {"lr=1e-3": 1e-3, "lr=4e-3": 4e-3}
    assert {(c.steps, c.optim.betas) for c in found.values()} == {(9, (0.8, 0.9))}


def test_a_setting_follows_another_unless_the_variant_sets_it(tiny_recipe):
    more = '[grid]\nbatch_size = [4, 16]\n[scale]\n"optim.lr" = { with = "batch_size", power = 0.5 }\n'
    recipe = load_recipe(tiny_recipe(more), overrides=["optim.lr=1e-3"])
    assert [c.optim.lr for c in configs(recipe).values()] == pytest.approx([1e-3, 2e-3])
    fixed = load_recipe(tiny_recipe(more), overrides=["optim.lr=1e-3,3e-3"])
    assert [c.optim.lr for c in configs(fixed).values()] == pytest.approx([1e-3, 3e-3, 1e-3, 3e-3])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("[grid]\nx = 3\n", "grid.x must be a list of values, got 3"),
        ('[grid]\n"optim.lr" = []\n', "must be a list of values"),
        ("[other]\nx = 3\n", "unknown key 'other', known keys are grid, question"),
        ('[[runs]]\nname = "a"\n[[runs]]\nname = "a"\n', "two of the .* are called 'a'"),
        ("[[runs]]\nset = { steps = 3 }\n", "has a name"),
        ('[grid]\nsteps = [1]\n[[runs]]\nname = "a"\n', "either a .grid. or"),
        ('[scale]\n"optim.lr" = 2\n', "scale.optim.lr must look like"),
    ],
)
def test_what_is_no_recipe_is_refused_with_its_place(tiny_recipe, more, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(tiny_recipe(more))


def test_unknown_recipes_and_settings_are_refused(tiny_recipe):
    with pytest.raises(
        ValueError, match=r"there is no recipe 'lerning-rate'; name a .toml file, or one of .*learning-rate"
    ):
        load_recipe("lerning-rate")
    recipe = load_recipe(tiny_recipe('[grid]\n"optim.lrr" = [1]\n'))
    with pytest.raises(ValueError, match=r"unknown key 'optim.lrr', did you mean 'optim.lr'"):
        configs(recipe)
    with pytest.raises(ValueError, match="seeds must be different whole numbers"):
        load_recipe(tiny_recipe(), seeds=[1, 1])
