import dataclasses
import io
import json
import sys
from pathlib import Path

import pytest
import torch

from cs336.cli.trained import open_checkpoint
from cs336.model import ModelConfig, TransformerLM
from cs336.optim import AdamW
from cs336.tokenizer import Tokenizer
from cs336.train.checkpoint import write_checkpoint

MODEL = ModelConfig(vocab_size=260, context_length=16, d_model=16, num_layers=1, num_heads=2, d_ff=16)


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch):
    """Leave a run directory with an untrained model in it."""
    monkeypatch.chdir(tmp_path)
    vocab = {i: bytes([i]) for i in range(256)} | {256: b"<|endoftext|>"}
    tokenizer = Tokenizer(vocab, [], ["<|endoftext|>"])
    model = TransformerLM(MODEL, generator=torch.Generator().manual_seed(0))
    write(model, tokenizer)
    tokenizer.save("run/tokenizer.json")
    return model


def write(model, tokenizer, path="run/checkpoints/step_00000007"):
    write_checkpoint(
        path,
        model=model,
        optimizer=AdamW(model.parameters()),
        step=7,
        config={"model": dataclasses.asdict(model.config)},
        state={},
        tokenizer_hash=tokenizer.sha256,
        eos_id=tokenizer.eos_id,
    )


def end_after(model, letter):
    """Make the model end the text after this letter, and go on for ever after any other."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.zero_()
        model.token_embeddings.weight[:, 0] = 1.0
        model.token_embeddings.weight[ord(letter), 0] = -1.0
        model.lm_head.weight[256, 0] = -3.0
        model.lm_head.weight[ord("x"), 0] = 3.0
    write(model, Tokenizer.load("run/tokenizer.json"))


GREEDY = ["generate", "--checkpoint", "run", "--temperature", 0, "--max-new-tokens", 5]


def test_several_prompts_of_several_lengths_come_one_after_the_other(cs336):
    arguments = [*GREEDY, "--prompt", "ab", "--prompt", "cdefg", "--num-samples", 2]
    outcome = cs336(*arguments)
    assert outcome.code == 0, outcome.err
    result = cs336(*arguments, "--json").json
    assert result["prompts"] == ["ab", "ab", "cdefg", "cdefg"]
    texts = [prompt + text for prompt, text in zip(result["prompts"], result["texts"], strict=True)]
    assert outcome.out == "\n\n".join(texts) + "\n"
    assert result["num_tokens"] == 20 == sum(map(len, result["ids"]))
    assert 0 <= result["first_token_s"] <= result["elapsed_s"]


def test_neither_the_cache_nor_a_longer_text_than_the_context_changes_what_is_written(cs336):
    arguments = ["generate", "--checkpoint", "run", "--seed", 1, "--prompt", "ab", "--max-new-tokens", 40, "--json"]
    for extra in ([], ["--slide-by", 5]):
        cached = cs336(*arguments, *extra).json
        assert cached["ids"] == cs336(*arguments, *extra, "--no-cache").json["ids"]
        assert len(cached["ids"][0]) == 40


def test_text_is_written_as_it_comes_and_never_half_a_character(cs336, run, monkeypatch):
    with torch.no_grad():  # after a prompt of x, the three bytes of the euro sign in turn, for ever
        for weight in run.parameters():
            if weight.ndim > 1:
                weight.zero_()
        for place, (now, then) in enumerate([(ord("x"), 0xE2), (0xE2, 0x82), (0x82, 0xAC), (0xAC, 0xE2)]):
            run.token_embeddings.weight[now, place] = run.lm_head.weight[then, place] = 5.0
    write(run, Tokenizer.load("run/tokenizer.json"))
    pieces = []

    class Terminal(io.StringIO):
        def flush(self):
            pieces.append(self.getvalue())

    monkeypatch.setattr(sys, "stdout", Terminal())
    assert cs336(*GREEDY, "--prompt", "x", "--max-new-tokens", 7).code == 0
    distinct = list(dict.fromkeys(pieces))
    assert distinct == ["x", "x€", "x€€", "x€€\ufffd", "x€€\ufffd\n"]


def test_speed_and_checkpoint_go_to_stderr(cs336):
    outcome = cs336(*GREEDY, "--prompt", "ab")
    assert "5 tokens in" in outcome.err
    assert "the first after" in outcome.err
    assert "tokens/s" in outcome.err
    assert "step_00000007" in outcome.err


def test_a_prompt_that_ends_in_a_space_is_pointed_out(cs336):
    assert "the prompt 'ab ' ends in a space" in cs336(*GREEDY, "--prompt", "ab ").err
    assert "warning" not in cs336(*GREEDY, "--prompt", "ab").err
    assert cs336(*GREEDY, "--prompt", "ab ", "--json").json["prompts"] == ["ab "]


def test_an_odd_end_of_text_is_said_with_its_probability(cs336, run):
    end_after(run, "!")
    outcome = cs336(*GREEDY, "--prompt", "ab!", "--num-samples", 2)
    assert outcome.out == "ab!\n\nab!\n"
    assert outcome.err.count("P(end of text) is 1.00 right after the prompt 'ab!'") == 1
    assert cs336(*GREEDY, "--prompt", "ab!", "--json").json["eos_probabilities"][0] > 0.9
    quiet = cs336(*GREEDY, "--prompt", "ab")
    assert quiet.out == "abxxxxx\n"
    assert "P(end of text)" not in quiet.err


def test_a_token_can_be_asked_to_stop(cs336, run):
    end_after(run, "!")
    assert cs336(*GREEDY, "--prompt", "ab", "--stop", "q", "--stop", "x").out == "ab\n"
    assert "P(end of text)" not in cs336(*GREEDY, "--prompt", "ab", "--stop", "x").err  # which was likely, and meant
    outcome = cs336(*GREEDY, "--prompt", "ab", "--stop", "xy")
    assert outcome.code == 1
    assert "stop must be one token of the tokenizer, got 'xy', which is 2" in outcome.err


def test_an_interrupted_text_ends_its_line(cs336, run, monkeypatch):
    hidden, num_calls = TransformerLM.hidden, []

    def interrupted(self, *arguments):
        num_calls.append(1)
        if len(num_calls) == 3:
            raise KeyboardInterrupt
        return hidden(self, *arguments)

    end_after(run, "!")
    monkeypatch.setattr(TransformerLM, "hidden", interrupted)
    outcome = cs336(*GREEDY, "--prompt", "ab")
    assert outcome.code == 130
    assert outcome.out == "abxx\n"


def test_export_and_import_bring_the_same_text_back(cs336):
    exported = cs336("export", "--checkpoint", "run", "--out", "hf", "--json")
    assert exported.code == 0, exported.err
    assert exported.json["architecture"] == "LlamaForCausalLM"
    assert sorted(path.name for path in Path("hf").iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert json.loads(Path("hf/config.json").read_text())["eos_token_id"] == 256
    imported = cs336("import", "--model", "hf", "--run-dir", "again", "--json")
    assert imported.code == 0, imported.err
    for seed in (1, 2):
        arguments = ["--seed", seed, "--prompt", "ab", "--max-new-tokens", 9, "--json"]
        first = cs336("generate", "--checkpoint", "run", *arguments).json
        assert cs336("generate", "--checkpoint", "again", *arguments).json["ids"] == first["ids"]
    for arguments, word in (
        (["export", "--checkpoint", "run", "--out", "hf"], "hf"),
        (["import", "--model", "hf", "--run-dir", "again"], "again"),
    ):
        refused = cs336(*arguments)
        assert refused.code == 1
        assert f"choose another directory: {word}" in refused.err


def test_the_first_of_several_ids_that_end_a_text_is_imported(cs336):
    cs336("export", "--checkpoint", "run", "--out", "hf")
    config = json.loads(Path("hf/config.json").read_text())
    Path("hf/config.json").write_text(json.dumps(config | {"eos_token_id": [7, 256]}))
    assert cs336("import", "--model", "hf", "--run-dir", "again").code == 0
    assert open_checkpoint(Path("again")).eos_id == 7


def test_weights_without_a_readable_tokenizer_are_imported_with_a_warning(cs336):
    cs336("export", "--checkpoint", "run", "--out", "hf")
    Path("hf/tokenizer.json").write_text("{}")
    outcome = cs336("import", "--model", "hf", "--run-dir", "again", "--json")
    assert outcome.code == 0
    assert "imported without a tokenizer" in outcome.err
    assert outcome.json["tokenizer"] is None
    generate = ["generate", "--checkpoint", "again", "--prompt", "ab", "--max-new-tokens", 2]
    assert "holds no tokenizer.json" in cs336(*generate).err
    assert cs336(*generate, "--tokenizer", "run/tokenizer.json").code == 0


def test_a_model_without_an_equivalent_is_one_line(cs336):
    model = TransformerLM(dataclasses.replace(MODEL, norm_position="post"))
    write(model, Tokenizer.load("run/tokenizer.json"))
    outcome = cs336("export", "--checkpoint", "run", "--out", "hf")
    assert outcome.code == 1
    assert "norm_position = 'post' has no equivalent among Hugging Face's" in outcome.err
    assert not Path("hf").exists()
