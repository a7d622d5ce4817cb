import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cs336.model import ModelConfig, TransformerLM
from cs336.model.hf import export_hf, from_hf_config, import_hf, to_hf_config
from cs336.tokenizer import Tokenizer

CONFIG = ModelConfig(
    vocab_size=300, context_length=24, d_model=32, num_layers=2, num_heads=4, d_ff=48, rope_theta=500.0, norm_eps=1e-4
)
EQUIVALENT = [{}, {"qk_norm": True}, {"tie_embeddings": True}, {"qk_norm": True, "attention": "sdpa"}]
# fp32 sums in another order; logits are of order 1, and a wrong rotation or norm is off by 0.1.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def build(**changes):
    model = TransformerLM(dataclasses.replace(CONFIG, **changes), generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:  # gains of one would hide a wrong order
                weight.uniform_(0.5, 1.5, generator=generator)
    return model


def draw_ids(*shape):
    return torch.randint(300, shape, generator=torch.Generator().manual_seed(2))


def same_weights(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def edit_config(directory, **changes):
    path = Path(directory, "config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("changes", EQUIVALENT, ids=str)
def test_transformers_computes_the_same_logits(changes, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = build(**changes)
    export_hf(model, tmp_path / "hf")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    assert type(theirs).__name__ == ("Qwen3ForCausalLM" if changes.get("qk_norm") else "LlamaForCausalLM")
    ids = draw_ids(2, 24)
    with torch.no_grad():
        torch.testing.assert_close(model(ids), theirs(ids).logits, **TOLERANCE)


@pytest.mark.parametrize("changes", EQUIVALENT, ids=str)
def test_export_then_import_is_the_same_model_bit_for_bit(changes, tmp_path):
    model = build(**changes)
    export_hf(model, tmp_path / "hf")
    back = import_hf(tmp_path / "hf")
    assert same_weights(model, back)
    default = ModelConfig().attention  # a back-end is no part of a model
    assert back.config == dataclasses.replace(model.config, attention=default)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Llama", {}),
        ("Llama", {"num_key_value_heads": 2}),
        ("Llama", {"num_key_value_heads": 1, "tie_word_embeddings": True}),
        ("Qwen3", {"num_key_value_heads": 2}),
    ],
    ids=str,
)
def test_a_model_of_transformers_is_imported_with_its_logits(kind, settings, tmp_path):
    transformers = pytest.importorskip("transformers")
    shape = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8, "max_position_embeddings": 24}
    config = getattr(transformers, f"{kind}Config")(**shape | settings, rms_norm_eps=1e-5)
    torch.manual_seed(0)
    theirs = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.uniform_(-0.5, 0.5) if weight.ndim > 1 else weight.uniform_(0.5, 1.5)
    theirs.save_pretrained(tmp_path / "hf", max_shard_size="20KB")
    assert (tmp_path / "hf" / "model.safetensors.index.json").exists()  # several shards
    model, ids = import_hf(tmp_path / "hf"), draw_ids(2, 24)
    with torch.no_grad():
        expected = theirs(ids).logits
        torch.testing.assert_close(model(ids), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_the_tokenizer_and_the_end_of_text_go_with_the_model(tmp_path):
    transformers = pytest.importorskip("transformers")
    vocab = {i: bytes([i]) for i in range(256)} | {256: b"<|endoftext|>", 257: b"ab"}
    tokenizer = Tokenizer(vocab, [(b"a", b"b")], ["<|endoftext|>"])
    export_hf(build(), tmp_path / "hf", tokenizer=tokenizer, eos_id=256)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    text = "abc ünïcode<|endoftext|>  ab"
    assert theirs.encode(text) == tokenizer.encode(text)
    assert theirs.decode(tokenizer.encode(text)) == text
    assert (theirs.eos_token_id, theirs.model_max_length) == (256, 24)
    assert Tokenizer.load(tmp_path / "hf" / "tokenizer.json") == tokenizer
    assert transformers.GenerationConfig.from_pretrained(tmp_path / "hf").eos_token_id == 256


def test_weights_can_be_stored_in_half_the_bytes(tmp_path):
    model = build()
    export_hf(model, tmp_path / "hf", dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in load_file(tmp_path / "hf" / "model.safetensors").values()} == {torch.bfloat16}
    back = import_hf(tmp_path / "hf")
    assert same_weights(back, TransformerLM(CONFIG).to(torch.float32)) is False
    assert same_weights(back, model.to(torch.bfloat16).to(torch.float32))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"norm": "none"}, "norm = 'none' has no equivalent among Hugging Face's Llama and Qwen3 models"),
        ({"norm_position": "post"}, "norm_position = 'post'"),
        ({"position": "none"}, "position = 'none'"),
        ({"ffn": "silu"}, "ffn = 'silu'"),
        ({"logit_softcap": 15.0}, "logit_softcap = 15.0"),
    ],
)
def test_a_model_without_an_equivalent_is_refused_and_nothing_written(changes, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        export_hf(build(**changes), tmp_path / "hf")
    assert list(tmp_path.iterdir()) == []


def test_every_model_setting_is_exported_refused_or_no_matter():
    """A new choice in the model must be thought of here."""
    in_config = {"vocab_size", "context_length", "d_model", "num_layers", "num_heads", "d_ff", "rope_theta", "norm_eps"}
    in_config |= {"qk_norm", "tie_embeddings"}
    refused = {"norm", "norm_position", "position", "ffn", "logit_softcap"}
    no_matter = {"attention", "projection_init"}  # how it is computed, how it began
    assert {field.name for field in dataclasses.fields(ModelConfig)} == in_config | refused | no_matter


def test_a_directory_with_files_is_left_alone(tmp_path):
    (tmp_path / "hf").mkdir()
    export_hf(build(), tmp_path / "hf")
    before = (tmp_path / "hf" / "config.json").read_bytes()
    with pytest.raises(FileExistsError, match="choose another directory"):
        export_hf(build(qk_norm=True), tmp_path / "hf")
    assert (tmp_path / "hf" / "config.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_what_lies_beside_the_export_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "hf.tmp").mkdir()
    (tmp_path / "hf.tmp" / "notes.txt").write_text("mine")
    export_hf(build(), tmp_path / "hf")
    assert (tmp_path / "hf.tmp" / "notes.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(ValueError, match="empty is the working directory"):
        export_hf(build(), ".")


def test_a_failure_in_mid_export_leaves_nothing(tmp_path):
    class Failing:
        vocab_size = 1

        def decode(self, ids):
            return ""

        def save(self, path):
            raise OSError(28, "no space left on device")

    with pytest.raises(OSError, match="no space left"):
        export_hf(build(), tmp_path / "hf", tokenizer=Failing())
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_the_model_is_refused(tmp_path):
    vocab = {i: bytes([i]) for i in range(256)} | {256 + i: b"ab" + bytes([i]) for i in range(60)}
    with pytest.raises(ValueError, match="the tokenizer has 316 ids, the model 300"):
        export_hf(build(), tmp_path / "hf", tokenizer=Tokenizer(vocab, []))
    with pytest.raises(ValueError, match=r"dtype must be one of .*, got torch.float64"):
        export_hf(build(), tmp_path / "hf", dtype=torch.float64)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "gpt2"}, "model_type must be one of llama, qwen3, got 'gpt2'"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu' has no equivalent here; expected 'silu'"),
        ({"attention_bias": True}, "attention_bias = True has no equivalent"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2}}, "rope_scaling = .* has no equivalent"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "rope_parameters = .* expected rope_type 'default'"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor must be 1, got 0.5"),
        ({"head_dim": 16}, "head_dim 16 times num_attention_heads 4 must be hidden_size 32"),
        ({"num_key_value_heads": 3}, "must be divisible by num_key_value_heads, got 4 and 3"),
        ({"num_key_value_heads": "2"}, "num_key_value_heads must be an integer of at least 1, got '2'"),
        ({"num_key_value_heads": 0}, "num_key_value_heads must be an integer of at least 1, got 0"),
        ({"rms_norm_eps": "tiny"}, "config.json: rms_norm_eps must be a number, got 'tiny'"),
        ({"rope_parameters": None, "rope_theta": [1]}, r"config.json: rope_theta must be a number, got \[1\]"),
        ({"hidden_size": "32"}, "hidden_size must be an integer of at least 1, got '32'"),
        ({"quantization_config": {}}, "quantization_config = {} has no equivalent"),
        ({"use_sliding_window": True}, "use_sliding_window = True has no equivalent"),
        ({"intermediate_size": 64}, r"must have shape \(32, 64\) by the config, got \(32, 48\)"),
        ({"num_hidden_layers": 3}, "lacks model.layers.2.input_layernorm.weight, .* and 6 more"),
        ({"num_hidden_layers": 1}, "holds model.layers.1.input_layernorm.weight, which has no equivalent"),
        ({"model_type": "qwen3"}, "lacks model.layers.0.self_attn.k_norm.weight"),
    ],
    ids=str,
)
def test_what_we_have_no_equivalent_of_is_not_imported(changes, words, tmp_path):
    export_hf(build(), tmp_path / "hf")
    edit_config(tmp_path / "hf", **changes)
    with pytest.raises(ValueError, match=words):
        import_hf(tmp_path / "hf")


def test_older_configs_hold_theta_beside_the_rest():
    facts = to_hf_config(CONFIG)
    del facts["rope_parameters"]
    assert from_hf_config(facts) == (CONFIG, 4)
    del facts["rope_theta"], facts["num_key_value_heads"], facts["head_dim"]
    assert from_hf_config(facts) == (dataclasses.replace(CONFIG, rope_theta=10_000.0), 4)


def test_frequencies_listed_by_old_checkpoints_are_passed_over(tmp_path):
    model = build()
    export_hf(model, tmp_path / "hf")
    weights = tmp_path / "hf" / "model.safetensors"
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}
    save_file(load_file(weights) | extra, weights)
    assert same_weights(model, import_hf(tmp_path / "hf"))


def test_damaged_and_missing_files_are_named(tmp_path):
    export_hf(build(), tmp_path / "hf")
    weights, index = tmp_path / "hf" / "model.safetensors", tmp_path / "hf" / "model.safetensors.index.json"
    content = weights.read_bytes()
    weights.write_bytes(content[:1000])
    with pytest.raises(ValueError, match=r"model.safetensors is damaged or no safetensors file"):
        import_hf(tmp_path / "hf")
    weights.unlink()
    (tmp_path / "hf" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"pytorch_model.bin is a pickle, which is not read"):
        import_hf(tmp_path / "hf")
    (tmp_path / "hf" / "shard.safetensors").write_bytes(content)
    for weight_map, words in (
        ({"model.norm.weight": "../shard.safetensors"}, "a shard must be a file beside it, got '../shard"),
        ({"model.norm.bias": "shard.safetensors"}, "lacks model.norm.bias, which the index says it holds"),
        (3, "weight_map must be a table of file names, got 3"),
    ):
        index.write_text(json.dumps({"weight_map": weight_map}))
        with pytest.raises(ValueError, match=words):
            import_hf(tmp_path / "hf")
    (tmp_path / "hf" / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config.json must hold a JSON object, got a list"):
        import_hf(tmp_path / "hf")
    (tmp_path / "hf" / "config.json").unlink()
    with pytest.raises(FileNotFoundError):
        import_hf(tmp_path / "hf")
