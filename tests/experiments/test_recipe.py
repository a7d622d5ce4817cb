import pytest

from cs336.config import DataConfig
from cs336.experiments.ablations import ablations_of
from cs336.experiments.recipe import load_recipe, preset_names, recipe_names
from cs336.experiments.sweep import plan_sweep

DATA = DataConfig(train="train.npy")


def configs(recipe):
    return {v.name: recipe.config(v, 0, data=DATA, run_dir="x") for v in recipe.variants}


@pytest.mark.parametrize("preset", [None, *preset_names()])
@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_of_the_package_can_be_planned_under_every_preset(name, preset, tmp_path):
    recipe = load_recipe(name, preset=preset)
    assert recipe.question.endswith("?")
    runs = plan_sweep(recipe, data=DATA, out=tmp_path)
    assert len(runs) == len(recipe.variants) * len(recipe.seeds)
    assert len({run.run_dir for run in runs}) == len(runs)


def test_the_recipes_have_the_courses_shape_and_the_preset_gpu_leaves_it():
    for preset in (None, "gpu"):
        base = configs(load_recipe("base", preset=preset))["base"]
        shape = base.model
        assert (shape.num_layers, shape.num_heads, shape.d_model, shape.d_ff, shape.context_length) == (
            *(4, 16, 512, 1344),
            256,
        )
        assert (base.num_steps, base.num_steps * base.tokens_per_step) == (10_000, 327_680_000)


def test_batch_sizes_see_the_same_tokens_at_rates_by_the_square_root():
    found = configs(load_recipe("batch-size"))
    reference, large, probe = (found[name] for name in ("batch_size=128", "batch_size=512", "batch_size=512,lrx0.5"))
    assert large.optim.lr == pytest.approx(2 * reference.optim.lr)
    assert probe.optim.lr == pytest.approx(reference.optim.lr)
    assert large.micro_batch_size == 512
    assert large.schedule.warmup_steps * 4 == reference.schedule.warmup_steps
    steps = configs(load_recipe("batch-size-steps"))
    assert {config.num_steps for config in steps.values()} == {10_000}


def test_a_recipe_extends_another_and_a_preset_is_laid_over_both(tiny_recipe, tmp_path):
    tiny_recipe()
    child = tmp_path / "child.toml"
    child.write_text(
        f'question = "?"\nextends = "{tmp_path / "tiny.toml"}"\n[train]\nbatch_size = 2\n'
        "[presets.smoke]\nseeds = [3, 4]\ntrain = { log_every = 7 }\n"
    )
    recipe = load_recipe(child)
    assert (recipe.train["batch_size"], recipe.train["model"]["d_model"]) == (2, 16)
    small = load_recipe(child, preset="smoke", overrides=["batch_size=5"])
    assert small.seeds == (3, 4)
    assert small.train["log_every"] == 7
    assert small.train["batch_size"] == "5"


def test_ablations_of_a_variant_keep_its_settings_and_multiply_its_rate(tiny_recipe):
    recipe = load_recipe(tiny_recipe('[grid]\n"optim.lr" = [1e-3, 2e-3]\n'))
    found = configs(ablations_of(recipe, variant="lr=0.002"))
    assert found["baseline"].optim.lr == 2e-3
    assert found["post-norm-at-a-lower-rate"].optim.lr == pytest.approx(2e-4)
    assert found["post-norm-at-a-lower-rate"].model.norm_position == "post"
    assert found["no-norm"].model.norm == "none"
    assert found["NoPE"].model.position == "none"
    assert found["SiLU"].model.ffn == "silu"
    assert {config.num_steps for config in found.values()} == {6}


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
        ("[other]\nx = 3\n", "unknown key 'other', known keys are extends, grid"),
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
