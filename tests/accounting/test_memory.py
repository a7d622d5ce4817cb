import dataclasses

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from cs336.accounting import (
    Activations,
    count_parameters,
    handout_activations,
    kv_cache_bytes,
    largest_batch,
    saved_activations,
    training_state_bytes,
)
from cs336.model import ModelConfig, TransformerLM
from cs336.optim import AdamW
from cs336.train import cross_entropy

TINY = ModelConfig(vocab_size=70, context_length=24, d_model=16, num_layers=3, num_heads=4, d_ff=40)
VARIANTS = [
    {},
    {"attention": "plain"},
    {"attention": "plain", "position": "none"},
    {"norm": "none"},
    {"norm_position": "post"},
    {"position": "none"},
    {"ffn": "silu"},
    {"qk_norm": True},
    {"tie_embeddings": True},
    {"logit_softcap": 15.0},
]


def saved_bytes(model, ids):
    """Return the bytes of all storages that the backward pass will need, weights and tables excepted."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers(), ids)}
    kept = []
    with saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        cross_entropy(model(ids), torch.zeros_like(ids))
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    return sum(size_bytes for address, size_bytes in storages.items() if address not in own)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_saved_activations_are_what_autograd_keeps(changes, batch):
    config = dataclasses.replace(TINY, **changes)
    ids = torch.zeros(batch, 24, dtype=torch.long)
    masks = config.num_layers * 24 * 24 if config.attention == "plain" else 0
    targets = 8 * ids.numel()
    expected = 4 * batch * saved_activations(config).total + masks + targets
    assert saved_bytes(TransformerLM(config), ids) == expected


def test_training_state_is_what_adamw_really_holds():
    model = TransformerLM(TINY)
    optimizer = AdamW(model.parameters())
    model(torch.zeros(1, 4, dtype=torch.long)).sum().backward()
    optimizer.step()
    held = [tensor for state in optimizer.state.values() for tensor in (state["m"], state["v"])]
    held += [tensor for weight in model.parameters() for tensor in (weight, weight.grad)]
    assert training_state_bytes(count_parameters(TINY).total) == sum(tensor.nbytes for tensor in held)


@pytest.mark.parametrize(("gate", "hidden"), [(False, 2), (True, 4)])
def test_handout_activations_are_its_list_of_components(gate, hidden):
    L, T, d, h, d_ff, V = 3, 24, 16, 4, 40, 70
    block = 2 * T * d + 3 * T * d + h * T * T + h * T * T + T * d + T * d + hidden * T * d_ff + T * d
    assert handout_activations(TINY, gate=gate).total == L * block + T * d + 2 * T * V
    # the formula that the answers to the handout of 2025 agree on, where d_ff = 4 d
    wide = dataclasses.replace(TINY, d_ff=64)
    assert handout_activations(wide, gate=False).total == L * (16 * T * d + 2 * h * T * T) + T * d + 2 * T * V


def test_parts_without_norms_or_gate_cost_nothing():
    assert handout_activations(dataclasses.replace(TINY, norm="none")).norms == 0
    silu = dataclasses.replace(TINY, ffn="silu")
    assert handout_activations(silu) == handout_activations(silu, gate=False)


def test_the_largest_batch_fits_and_the_next_does_not():
    activations = Activations(norms=1, attention_projections=2, attention_scores=3, feed_forward=4, lm_head=5)
    state, sequence = training_state_bytes(100), 4 * 15
    for num_sequences in (1, 7):
        memory_bytes = state + num_sequences * sequence
        assert largest_batch(100, activations, memory_bytes=memory_bytes) == num_sequences
        assert largest_batch(100, activations, memory_bytes=memory_bytes - 1) == num_sequences - 1
    assert largest_batch(100, activations, memory_bytes=10) == 0


def test_a_kv_cache_holds_a_key_and_a_value_for_each_id():
    assert kv_cache_bytes(TINY, num_rows=2) == 2 * 2 * 3 * 24 * 16 * 4
    assert kv_cache_bytes(TINY, bytes_per_value=2) == kv_cache_bytes(TINY) // 2
