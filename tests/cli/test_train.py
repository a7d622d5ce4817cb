import json
from pathlib import Path

import numpy as np
import pytest

from cs336.config import load_config
from cs336.tokenizer import Tokenizer

CONFIG = """\
steps = 6
batch_size = 2
log_every = 2
eval_every = 3
checkpoint_every = 3
device = "cpu"
precision = "fp32"
num_threads = 1
run_dir = "run"

[data]
train = "train.npy"
valid = "valid.npy"
tokenizer = "tokenizer.json"

[model]
vocab_size = 257
context_length = 8
d_model = 16
num_layers = 1
num_heads = 2
d_ff = 16
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("train.npy", np.arange(500, dtype=np.uint16) % 256)
    np.save("valid.npy", np.arange(50, dtype=np.uint16) % 256)
    vocab = {i: bytes([i]) for i in range(256)} | {256: b"<|endoftext|>"}
    Tokenizer(vocab, [], ["<|endoftext|>"]).save("tokenizer.json")
    Path("run.toml").write_text(CONFIG)


def refused(outcome, *words, code=1):
    assert outcome.code == code
    errors = [line for line in outcome.err.splitlines() if line.startswith("cs336: error: ")]
    assert len(errors) == 1
    for word in words:
        assert word in errors[0]


def test_train_then_generate(cs336):
    result = cs336("train", "--config", "run.toml", "--set", "optim.lr=1e-3", "--json")
    assert result.code == 0, result.err
    assert result.json["status"] == "finished"
    assert json.loads(Path("run/run.json").read_text())["config"]["optim"]["lr"] == 1e-3
    for checkpoint in ("run", "run/checkpoints/step_00000006"):
        generated = cs336(
            *("generate", "--checkpoint", checkpoint, "--prompt", "ab", "--max-new-tokens", 5, "--seed", 1),
            *("--num-samples", 2, "--top-k", 50, "--top-p", 0.9, "--json"),
        ).json
        assert generated["step"] == 6
        assert len(generated["texts"]) == 2
        assert all(len(ids) <= 5 for ids in generated["ids"])


def test_generate_prints_prompt_and_continuation(cs336):
    cs336("train", "--config", "run.toml")
    outcome = cs336("generate", "--checkpoint", "run", "--prompt", "abc", "--max-new-tokens", 3, "--temperature", 0)
    assert outcome.out.startswith("abc")
    assert "tokens/s" in outcome.err


def test_train_prints_a_readable_result_and_plain_progress(cs336):
    outcome = cs336("train", "--config", "run.toml")
    assert "status" in outcome.out
    assert "finished" in outcome.out
    assert "validation loss" in outcome.err
    assert "\x1b" not in outcome.err


def test_print_config_shows_every_setting_and_can_be_read_back(cs336):
    outcome = cs336("train", "--config", "run.toml", "--set", "optim.betas=[0.8, 0.9]", "--print-config")
    Path("complete.toml").write_text(outcome.out)
    assert load_config("complete.toml") == load_config("run.toml", overrides=["optim.betas=[0.8, 0.9]"])
    assert not Path("run").exists()


def test_resume_takes_the_run_directorys_own_config(cs336):
    assert cs336("train", "--config", "run.toml", "--run-dir", "other").code == 0
    result = cs336("train", "--run-dir", "other", "--resume", "--json")
    assert result.json["step"] == 6


def test_a_run_directory_with_another_run_is_refused(cs336):
    assert cs336("train", "--config", "run.toml").code == 0
    refused(cs336("train", "--config", "run.toml"), "holds this run already", "--resume")
    refused(cs336("train", "--config", "run.toml", "--set", "seed=3", "--resume"), "seed was 0, is 3")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("optim.lrr=1", ["unknown key 'optim.lrr', did you mean 'optim.lr'?"]),
        ("model.num_heads=3", ["d_model must be divisible by num_heads, got 16 and 3"]),
        ("model.vocab_size=100", ["at least the tokenizer's 257, got 100"]),
        ("data.train=gone.npy", ["no such file", "gone.npy"]),
        ("data.train=run.toml", ["run.toml is not a whole .npy file"]),
        ("data.tokenizer=run.toml", ["run.toml"]),
        ("model.context_length=500", ["train.npy must hold more than"]),
        ("device=tpu", ["device must be one of 'auto', 'cpu', 'cuda', got 'tpu'"]),
        ("run_dir=train.npy/x", ["train.npy"]),
    ],
)
def test_a_setting_that_does_not_fit_is_one_line(cs336, setting, words):
    refused(cs336("train", "--config", "run.toml", "--set", setting), *words)
    assert not Path("run").exists()


def test_missing_or_malformed_config_is_one_line(cs336):
    refused(cs336("train", "--config", "gone.toml"), "no such file", "gone.toml")
    refused(cs336("train", "--config", "train.npy"), "train.npy: not a TOML file")
    refused(cs336("train"), "--config", code=2)
    refused(cs336("train", "--set", "steps=3"), "data.train is missing")


def test_a_diverging_run_fails_with_the_remedy(cs336):
    settings = ["optim.lr=1e25", "optim.max_grad_norm=none", "steps=20"]
    outcome = cs336("train", "--config", "run.toml", *(word for s in settings for word in ("--set", s)), "--json")
    refused(outcome, "not finite", "lower optim.lr")
    assert outcome.json["status"] == "diverged"


def test_bad_generation_input_is_one_line(cs336):
    cs336("train", "--config", "run.toml")

    def generate(*arguments, checkpoint="run", prompt="ab"):
        return cs336("generate", "--checkpoint", checkpoint, "--prompt", prompt, "--max-new-tokens", 2, *arguments)

    refused(generate(prompt=""), "the prompt is empty", "<|endoftext|>")
    refused(generate(checkpoint="gone"), "no such run directory", "gone")
    refused(generate(checkpoint="."), "holds no whole checkpoint")
    refused(generate("--top-p", 2), "top_p must be in (0, 1], got 2.0")
    refused(generate("--top-k", 0), "top_k must be at least 1, got 0")
    refused(generate("--num-samples", 0), "num_samples must be at least 1, got 0")
    refused(generate("--device", "frob"), "frob")
    vocab = {i: bytes([i]) for i in range(256)} | {256: b"ab", 257: b"<|endoftext|>"}
    Tokenizer(vocab, [(b"a", b"b")], ["<|endoftext|>"]).save("other.json")
    refused(generate("--tokenizer", "other.json"), "not the tokenizer this model was trained with")
    Path("run/tokenizer.json").unlink()
    refused(generate(), "holds no tokenizer.json", "--tokenizer")
    assert generate("--tokenizer", "tokenizer.json").code == 0


def test_ids_that_the_tokenizer_does_not_have_are_never_drawn(cs336):
    settings = ["model.vocab_size=4096", "sample_every=1", 'sample_prompts=["ab"]', "sample_tokens=8", "steps=2"]
    outcome = cs336("train", "--config", "run.toml", *(word for setting in settings for word in ("--set", setting)))
    assert outcome.code == 0, outcome.err
    generated = cs336("generate", "--checkpoint", "run", "--prompt", "ab", "--max-new-tokens", 20, "--json")
    assert generated.code == 0, generated.err
    assert max(generated.json["ids"][0]) < 257


def test_a_damaged_checkpoint_or_one_of_another_shape_is_one_line(cs336):
    cs336("train", "--config", "run.toml")
    at = Path("run/checkpoints/step_00000006")
    state = json.loads((at / "state.json").read_text())
    (at / "state.json").write_text(json.dumps(state | {"step": 7}))
    refused(cs336("generate", "--checkpoint", at, "--prompt", "a"), "state.json is damaged")
    (at / "state.json").write_text(json.dumps(state))
    (at / "model.safetensors").write_bytes(b"junk")
    refused(cs336("generate", "--checkpoint", at, "--prompt", "a"), "model.safetensors is damaged")


def test_account_counts_the_handouts_model(cs336):
    result = cs336("account", "--json").json
    assert result["parameters"]["total"] == 22_696_448
    table = cs336("account", "--vocab-size", 50257, "--context-length", 1024, "--num-layers", 48, "--d-model", 1600)
    assert table.code == 0
    assert (
        "1,640,452,800"
        in cs336(
            *("account", "--vocab-size", 50257, "--context-length", 1024, "--num-layers", 48, "--d-model", 1600),
            *("--num-heads", 25, "--d-ff", 4288),
        ).out
    )


def test_account_reads_the_model_of_a_run(cs336):
    assert cs336("account", "--config", "run.toml", "--json").json["model"]["d_model"] == 16
    refused(cs336("account", "--d-model", 100, "--num-heads", 3), "d_model must be divisible by num_heads")
    refused(cs336("account", "--config", "gone.toml"), "gone.toml")
    Path("odd.toml").write_text("model = 3\n")
    refused(cs336("account", "--config", "odd.toml"), "odd.toml: model must be a table, got 3 (integer)")
