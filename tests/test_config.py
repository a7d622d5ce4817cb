import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs336.config import (
    DataConfig,
    OptimConfig,
    ScheduleConfig,
    TrainConfig,
    changed_keys,
    from_dict,
    load_config,
    to_dict,
    to_toml,
)
from cs336.model import ModelConfig

BASE = '[data]\ntrain = "train.npy"\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def any_config() -> st.SearchStrategy[TrainConfig]:
    text = st.text(st.characters(exclude_categories=["Cs"]))
    small = st.floats(1e-12, 0.99)
    return st.builds(
        TrainConfig,
        data=st.builds(DataConfig, train=text, valid=st.none() | text.filter(lambda t: t != "none")),
        model=st.builds(
            ModelConfig, d_model=st.just(64), num_heads=st.just(4), d_ff=st.integers(1, 99), norm_eps=small
        ),
        optim=st.builds(
            OptimConfig, lr=small, betas=st.tuples(small, small), max_grad_norm=st.none() | st.just(math.inf) | small
        ),
        schedule=st.builds(ScheduleConfig, min_lr_ratio=small, cosine_steps=st.none() | st.integers(1, 10**12)),
        steps=st.integers(1, 2**62),
        sample_prompts=st.lists(text.filter(bool), min_size=1, max_size=3).map(tuple),
        device=st.sampled_from(["auto", "cpu"]),
        compile=st.booleans(),
        sample_every=st.none() | st.integers(1, 5),
    )


@given(any_config())
def test_toml_round_trip_keeps_every_value(config: TrainConfig) -> None:
    import tomllib

    assert from_dict(TrainConfig, tomllib.loads(to_toml(config))) == config


@given(any_config())
def test_dict_round_trip_keeps_every_value(config: TrainConfig) -> None:
    import json

    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_file_values_and_defaults_are_combined(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "steps = 5\n" + BASE + "[model]\nd_model = 64\nnum_heads = 4\n"))
    assert config.model.d_model == 64
    assert config.model.num_layers == ModelConfig().num_layers
    assert config.num_steps == 5


def test_overrides_win_over_the_file_and_later_ones_over_earlier_ones(tmp_path: Path) -> None:
    path = write(tmp_path, "steps = 5\n[optim]\nlr = 1.0\n" + BASE)
    overrides = ["optim.lr=1e-2", "optim.lr=1e-3", "device=cpu", "optim.betas=[0.8, 0.9]", "data.valid=7"]
    config = load_config(path, overrides=overrides)
    assert config.optim.lr == 1e-3
    assert config.optim.betas == (0.8, 0.9)
    assert config.device == "cpu"
    assert config.data.valid == "7"


def test_none_can_be_written_where_a_value_may_be_none(tmp_path: Path) -> None:
    path = write(tmp_path, 'steps = 5\n[optim]\nmax_grad_norm = "none"\n' + BASE)
    assert load_config(path).optim.max_grad_norm is None
    assert load_config(path, overrides=["data.valid=v.npy", "data.valid=none"]).data.valid is None


def test_tokens_are_rounded_up_to_whole_steps() -> None:
    config = TrainConfig(data=DataConfig(train="x"), model=ModelConfig(context_length=8), batch_size=4, tokens=65)
    assert config.num_steps == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[optim]\nlrr = 1.0\n", r"run.toml: unknown key 'optim.lrr', did you mean 'optim.lr'\?"),
        ("[optimm]\nlr = 1.0\n", r"run.toml: unknown key 'optimm', did you mean 'optim'\?"),
        ("[model]\nxyzzy = 1\n", r"unknown key 'model.xyzzy', known keys are model.vocab_size, "),
        ('[optim]\nlr = "fast"\n', r"run.toml: optim.lr must be a number, got 'fast' \(string\)"),
        ("batch_size = 1.5\n", r"batch_size must be a whole number, got 1.5 \(float\)"),
        ("batch_size = true\n", r"batch_size must be a whole number, got True \(boolean\)"),
        ("compile = 1\n", r"compile must be true or false.*, got 1 \(integer\)"),
        ("optim = 3\n", r"optim must be a table, got 3"),
        ("[optim]\nbetas = [0.9]\n", r"optim.betas must be a list of 2 numbers, got \[0.9\]"),
        ('sample_prompts = "def"\n', r"sample_prompts must be a list of strings, got 'def'"),
        ('device = "gpu"\n', r"device must be one of 'auto', 'cpu', 'cuda', got 'gpu'"),
        ("[optim]\nlr = -1.0\n", r"run.toml: optim.lr must be positive and finite, got -1.0"),
        ("[model]\nd_model = 512\nnum_heads = 12\n", r"d_model must be divisible by num_heads, got 512 and 12"),
        ("batch_size = 0\n", r"batch_size must be at least 1, got 0"),
        ("micro_batch_size = 0\n", r"micro_batch_size must be at least 1, got 0"),
        ("[optim]\nmomentum = 1.0\n", r"optim.momentum must lie in \[0, 1\), got 1.0"),
        ("[schedule]\ncooldown_ratio = 0.0\n", r"schedule.cooldown_ratio must lie in \(0, 1\], got 0.0"),
        ('[schedule]\nshape = "step"\n', r"schedule.shape must be one of 'cosine', 'linear', 'wsd', got 'step'"),
        ("[schedule]\nwarmup_steps = 9\n", r"schedule.warmup_steps must be below the 5 steps, got 9"),
        ("tokens = 5\n", r"give either steps or tokens, got steps = 5 and tokens = 5"),
        ("seed = 18446744073709551616\n", r"seed must be below 2\*\*64, got 18446744073709551616"),
        ("num_threads = 100000000\n", r"num_threads must be at most 1024, got 100000000"),
        ('sample_every = 1\nsample_prompts = ["a", ""]\n', r"sample_prompts must not hold an empty prompt"),
        ("sample_every = 1\n", r"sample_every needs something to continue: set sample_prompts"),
        ("sample_temperature = inf\n", r"sample_temperature must be finite, got inf"),
        ("[optim]\neps = inf\n", r"optim.eps must be positive and finite, got inf"),
        ("[optim]\nweight_decay = inf\n", r"optim.weight_decay must be finite and not negative, got inf"),
        ("lr = = 1\n", r"run.toml: not a TOML file: "),
    ],
)
def test_what_does_not_fit_is_refused_with_file_key_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_config(write(tmp_path, "steps = 5\n" + text + BASE))


def test_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run.toml: data.train is missing; set it to a string"):
        load_config(write(tmp_path, "steps = 5\n"))
    with pytest.raises(ValueError, match=r"give either steps or tokens"):
        load_config(write(tmp_path, BASE))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lrr=1", r"--set optim.lrr=1: unknown key 'optim.lrr', did you mean 'optim.lr'\?"),
        ("optim.lr=fast", r"--set optim.lr=fast: optim.lr must be a number, got 'fast'"),
        ("optim", r"an override must look like key=value"),
        ("steps.more=1", r"--set steps.more=1: steps is a value, not a table"),
        ("model=3", r"--set model=3: model must be a table, got 3 \(integer\)"),
    ],
)
def test_an_override_that_does_not_fit_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_config(write(tmp_path, "steps = 5\n" + BASE), overrides=[override])


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"not a TOML file"):
        load_config(path)
    with pytest.raises(FileNotFoundError):
        load_config(tmp_path / "missing.toml")


def test_changed_keys_names_old_and_new_values() -> None:
    old = TrainConfig(data=DataConfig(train="a"), steps=1)
    new = TrainConfig(data=DataConfig(train="a"), steps=1, optim=OptimConfig(lr=1.0))
    assert changed_keys(old, new) == {"optim.lr": (1e-3, 1.0)}
    assert changed_keys(old, old) == {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OptimConfig(algorithm="sgd"), "optim.algorithm must be one of adamw, muon, got 'sgd'"),
        (lambda: ScheduleConfig(shape="step"), "schedule.shape must be one of cosine, linear, wsd, got 'step'"),
        (lambda: DataConfig(train="a.npy", order="sorted"), "data.order must be one of permuted, random, got 'sorted'"),
        (lambda: DataConfig(train="a.npy", placement=None), "data.placement must be one of .*, got None"),
        (lambda: TrainConfig(data=DataConfig(train="a.npy"), steps=1, precision="fp8"), "precision must be one of"),
    ],
)
def test_a_choice_that_there_is_not_is_refused_from_python_too(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_may_be_left_out_or_be_of_another_type_is_not_a_choice_alone():
    for chunk in (None, 5, "auto"):
        TrainConfig(data=DataConfig(train="a.npy"), steps=1, loss_chunk_size=chunk)
