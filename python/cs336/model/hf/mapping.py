"""Which tensor and which setting is which.

Our block is Llama's: pre-norm, RMSNorm, rotary embeddings, SwiGLU, no biases. With QK-norm it is Qwen3's. Two things
differ:

- We rotate the neighbouring coordinates (2k, 2k + 1) of a head, Hugging Face's code rotates k and k + d_k / 2.
  Reordering the rows of the query and key projections (and the gains of QK-norm) turns one into the other; dot
  products do not see it.
- Llama's grouped-query attention has fewer key and value heads than query heads. Repeating each gives our form,
  exactly.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from cs336.model.config import ModelConfig

_TOP = {"token_embeddings": "model.embed_tokens", "ln_final": "model.norm", "lm_head": "lm_head"}
_IN_LAYER = {
    "ln1": "input_layernorm",
    "attn.q_proj": "self_attn.q_proj",
    "attn.k_proj": "self_attn.k_proj",
    "attn.v_proj": "self_attn.v_proj",
    "attn.output_proj": "self_attn.o_proj",
    "attn.q_norm": "self_attn.q_norm",
    "attn.k_norm": "self_attn.k_norm",
    "ln2": "post_attention_layernorm",
    "ffn.w1": "mlp.gate_proj",
    "ffn.w2": "mlp.down_proj",
    "ffn.w3": "mlp.up_proj",
}
_ROTATED = ("attn.q_proj", "attn.k_proj", "attn.q_norm", "attn.k_norm")
_GROUPED = ("attn.k_proj", "attn.v_proj")
_ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}
_ONLY_EXPORT = {"norm": "rms", "norm_position": "pre", "position": "rope", "ffn": "swiglu", "logit_softcap": None}
"""The settings that a Llama has no choice in."""

_ONLY_IMPORT: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "use_sliding_window": (False, None),
    "rope_scaling": (None,),
    "quantization_config": (None,),
}
"""The settings that we have no choice in, with the values that mean what we do."""


def to_hf_config(
    config: ModelConfig, *, eos_id: int | None = None, dtype: torch.dtype = torch.float32
) -> dict[str, Any]:
    """Return the content of `config.json`.

    Raises:
        ValueError: The model has a part that neither Llama nor Qwen3 has.
    """
    for name, only in _ONLY_EXPORT.items():
        if getattr(config, name) != only:
            raise ValueError(
                f"a model with {name} = {getattr(config, name)!r} has no equivalent among Hugging Face's Llama and "
                f"Qwen3 models, which have {only!r}; it can be used with cs336 only"
            )
    model_type = "qwen3" if config.qk_norm else "llama"
    return {
        "architectures": [_ARCHITECTURES[model_type]],
        "model_type": model_type,
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_heads,
        "head_dim": config.d_head,
        "hidden_act": "silu",
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},  # since transformers 5
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": None,
        "eos_token_id": eos_id,
        "dtype": str(dtype).removeprefix("torch."),
        "use_cache": True,
    }


def from_hf_config(facts: Mapping[str, Any], *, source: str = "config.json") -> tuple[ModelConfig, int]:
    """Return the shape that a `config.json` describes, and its number of key and value heads.

    Raises:
        ValueError: It is not a Llama's or a Qwen3's, a setting is missing, or has a value that we have no equivalent
            of.
    """
    model_type = facts.get("model_type")
    if model_type not in _ARCHITECTURES:
        raise ValueError(f"{source}: model_type must be one of {', '.join(_ARCHITECTURES)}, got {model_type!r}")
    for name, accepted in _ONLY_IMPORT.items():
        if name in facts and facts[name] not in accepted:
            raise ValueError(f"{source}: {name} = {facts[name]!r} has no equivalent here; expected {accepted[0]!r}")
    num_heads, d_model = _integer(facts, "num_attention_heads", source), _integer(facts, "hidden_size", source)
    d_head = _integer(facts, "head_dim", source, otherwise=d_model // num_heads)
    if d_head * num_heads != d_model:
        raise ValueError(
            f"{source}: head_dim {d_head} times num_attention_heads {num_heads} must be hidden_size {d_model}; "
            "wider or narrower heads have no equivalent here"
        )
    num_kv_heads = _integer(facts, "num_key_value_heads", source, otherwise=num_heads)
    if num_heads % num_kv_heads:
        raise ValueError(
            f"{source}: num_attention_heads must be divisible by num_key_value_heads, got {num_heads} "
            f"and {num_kv_heads}"
        )
    config = ModelConfig(
        vocab_size=_integer(facts, "vocab_size", source),
        context_length=_integer(facts, "max_position_embeddings", source),
        d_model=d_model,
        num_layers=_integer(facts, "num_hidden_layers", source),
        num_heads=num_heads,
        d_ff=_integer(facts, "intermediate_size", source),
        rope_theta=_rope_theta(facts, source),
        norm_eps=_number(facts, "rms_norm_eps", source, otherwise=1e-6),
        qk_norm=model_type == "qwen3",
        tie_embeddings=bool(facts.get("tie_word_embeddings", False)),
    )
    return config, num_kv_heads


def to_hf_state(config: ModelConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return Hugging Face's state dict of ours. Tied embeddings are in it once, as its loader wants them."""
    tensors = {}
    for name, tensor in state.items():
        part = _part_of(name)
        if config.tie_embeddings and part == "lm_head":
            continue
        tensors[_hf_name(name)] = _to_halves(tensor, config.d_head) if part in _ROTATED else tensor
    return tensors


def from_hf_state(config: ModelConfig, tensors: Mapping[str, Tensor], *, num_kv_heads: int) -> dict[str, Tensor]:
    """Return our state dict of Hugging Face's, whose names and shapes have been checked."""
    state = {}
    for hf_name, found in tensors.items():
        tensor, name = found, _our_name(hf_name)
        part = _part_of(name)
        if part in _GROUPED:
            tensor = _repeat_heads(tensor, config.d_head, times=config.num_heads // num_kv_heads)
        state[name] = _to_neighbours(tensor, config.d_head) if part in _ROTATED else tensor
    if config.tie_embeddings:
        state["lm_head.weight"] = state["token_embeddings.weight"]
    return state


def hf_shapes(config: ModelConfig, *, num_kv_heads: int) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor that Hugging Face's checkpoint of this model has."""
    d, kv = config.d_model, num_kv_heads * config.d_head
    wide = (config.d_hidden, d)
    in_layer: dict[str, tuple[int, ...]] = dict.fromkeys(("ln1", "ln2"), (d,))
    in_layer |= dict.fromkeys(("attn.q_proj", "attn.output_proj"), (d, d))
    in_layer |= dict.fromkeys(_GROUPED, (kv, d)) | {"ffn.w1": wide, "ffn.w2": wide[::-1], "ffn.w3": wide}
    if config.qk_norm:
        in_layer |= dict.fromkeys(("attn.q_norm", "attn.k_norm"), (config.d_head,))
    shapes = {f"layers.{i}.{part}.weight": shape for i in range(config.num_layers) for part, shape in in_layer.items()}
    shapes |= {"token_embeddings.weight": (config.vocab_size, d), "ln_final.weight": (d,)}
    if not config.tie_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, d)
    return {_hf_name(name): shape for name, shape in shapes.items()}


def _part_of(name: str) -> str:
    return re.sub(r"^layers\.\d+\.", "", name).removesuffix(".weight")


def _hf_name(name: str) -> str:
    part = _part_of(name)
    if part in _TOP:
        return f"{_TOP[part]}.weight"
    return f"model.layers.{name.split('.')[1]}.{_IN_LAYER[part]}.weight"


def _our_name(hf_name: str) -> str:
    stem = hf_name.removesuffix(".weight")
    for ours, theirs in _TOP.items():
        if stem == theirs:
            return f"{ours}.weight"
    _, _, index, part = stem.split(".", 3)
    return f"layers.{index}.{next(ours for ours, theirs in _IN_LAYER.items() if theirs == part)}.weight"


def _to_halves(rows: Shaped[Tensor, "rows *width"], d_head: int) -> Shaped[Tensor, "rows *width"]:
    """Reorder the rows of each head from (2k, 2k + 1) to (k, k + d_head / 2)."""
    return torch.unflatten(rows, 0, (-1, d_head // 2, 2)).transpose(1, 2).flatten(0, 2)


def _to_neighbours(rows: Shaped[Tensor, "rows *width"], d_head: int) -> Shaped[Tensor, "rows *width"]:
    """Undo `_to_halves`."""
    return torch.unflatten(rows, 0, (-1, 2, d_head // 2)).transpose(1, 2).flatten(0, 2)


def _repeat_heads(rows: Shaped[Tensor, "kv width"], d_head: int, *, times: int) -> Shaped[Tensor, "rows width"]:
    return torch.unflatten(rows, 0, (-1, d_head)).repeat_interleave(times, dim=0).flatten(0, 1)


def _integer(facts: Mapping[str, Any], name: str, source: str, *, otherwise: int | None = None) -> int:
    """Read a setting; `otherwise` is for one that may be missing or null."""
    value = facts.get(name)
    if value is None and otherwise is not None:
        return otherwise
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{source}: {name} must be an integer of at least 1, got {value!r}")
    return value


def _number(facts: Mapping[str, Any], name: str, source: str, *, otherwise: float) -> float:
    value = facts.get(name)
    if value is None:
        return otherwise
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{source}: {name} must be a number, got {value!r}")
    return float(value)


def _rope_theta(facts: Mapping[str, Any], source: str) -> float:
    """Read the base, which transformers 5 moved into a table of its own."""
    rope = facts.get("rope_parameters") or {}
    if not isinstance(rope, Mapping) or rope.get("rope_type", "default") != "default":
        raise ValueError(f"{source}: rope_parameters = {rope!r} has no equivalent here; expected rope_type 'default'")
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError(f"{source}: partial_rotary_factor must be 1, got {rope['partial_rotary_factor']!r}")
    return _number(rope, "rope_theta", source, otherwise=_number(facts, "rope_theta", source, otherwise=10_000.0))
