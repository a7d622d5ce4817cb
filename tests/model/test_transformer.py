import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cs336.model import ModelConfig, PostNormTransformerBlock, RMSNorm, TransformerBlock, TransformerLM

TINY = ModelConfig(vocab_size=50, context_length=12, d_model=16, num_layers=2, num_heads=4, d_ff=24)
VARIANTS = [
    {},
    {"norm": "none"},
    {"norm_position": "post"},
    {"position": "none"},
    {"ffn": "silu"},
    {"attention": "sdpa"},
    {"qk_norm": True},
    {"tie_embeddings": True},
    {"logit_softcap": 3.0},
]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def build(**changes):
    return TransformerLM(dataclasses.replace(TINY, **changes), generator=seeded())


def ids(batch=2, seq=7):
    return torch.randint(50, (batch, seq), generator=seeded(1))


def reference_forward(weights, tokens, config):
    """The whole model in PyTorch's own functions, reading the state dict."""

    def linear(x, name):
        return F.linear(x, weights[f"{name}.weight"])

    def norm(x, name):
        return F.rms_norm(x, (config.d_model,), weights[f"{name}.weight"], eps=1e-5)

    def rotated(x):
        frequencies = config.rope_theta ** (-torch.arange(0, config.d_head, 2) / config.d_head)
        angles = torch.outer(torch.arange(x.shape[-2]), frequencies)
        turned = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.exp(1j * angles)
        return torch.view_as_real(turned).flatten(-2)

    x = F.embedding(tokens, weights["token_embeddings.weight"])
    for layer in range(config.num_layers):
        h = norm(x, f"layers.{layer}.ln1")
        query, key, value = (
            linear(h, f"layers.{layer}.attn.{name}_proj").unflatten(-1, (config.num_heads, -1)).transpose(1, 2)
            for name in "qkv"
        )
        heads = F.scaled_dot_product_attention(rotated(query), rotated(key), value, is_causal=True)
        x = x + linear(heads.transpose(1, 2).flatten(-2), f"layers.{layer}.attn.output_proj")
        h = norm(x, f"layers.{layer}.ln2")
        gated = F.silu(linear(h, f"layers.{layer}.ffn.w1")) * linear(h, f"layers.{layer}.ffn.w3")
        x = x + linear(gated, f"layers.{layer}.ffn.w2")
    return linear(norm(x, "ln_final"), "lm_head")


@pytest.mark.parametrize("attention", ["plain", "sdpa"])
def test_model_equals_its_formula_in_torch(attention):
    model = build(attention=attention)
    with torch.no_grad():
        for norm in model.modules():
            if isinstance(norm, RMSNorm):
                norm.weight.uniform_(0.5, 1.5, generator=seeded(2))
    expected = reference_forward(model.state_dict(), ids(), TINY)
    torch.testing.assert_close(model(ids()), expected, atol=1e-5, rtol=1e-4)  # fp32 through two layers


def test_state_dict_has_the_handout_keys_and_shapes():
    layer = {
        "attn.q_proj.weight": (16, 16),
        "attn.k_proj.weight": (16, 16),
        "attn.v_proj.weight": (16, 16),
        "attn.output_proj.weight": (16, 16),
        "ln1.weight": (16,),
        "ffn.w1.weight": (24, 16),
        "ffn.w2.weight": (16, 24),
        "ffn.w3.weight": (24, 16),
        "ln2.weight": (16,),
    }
    expected = {f"layers.{i}.{name}": shape for i in range(2) for name, shape in layer.items()}
    expected |= {"token_embeddings.weight": (50, 16), "ln_final.weight": (16,), "lm_head.weight": (50, 16)}
    assert {name: tuple(weight.shape) for name, weight in build().state_dict().items()} == expected


def test_default_model_is_the_handouts_tinystories_model():
    model = TransformerLM(ModelConfig(), device="meta")
    assert sum(weight.numel() for weight in model.parameters()) == 22_696_448


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_no_logit_depends_on_a_later_id(changes):
    model = build(**changes)
    embedded = []
    model.token_embeddings.register_forward_hook(lambda module, args, output: embedded.append(output))
    logits = model(ids(batch=1))
    for position in range(7):
        (grad,) = torch.autograd.grad(logits[0, position].sum(), embedded[0], retain_graph=True)
        reached = grad[0].abs().sum(-1) > 0
        assert reached.tolist() == [other <= position for other in range(7)]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_parameter_is_trained(changes):
    model = build(**changes)
    model(ids()).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_rows_of_a_batch_do_not_mix_and_shorter_sequences_agree(changes):
    model = build(**changes)
    tokens = ids(batch=3, seq=12)
    whole = model(tokens)
    torch.testing.assert_close(model(tokens[1:2, :5]), whole[1:2, :5], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("changes", [{"norm_position": "post"}, {"position": "none"}, {"ffn": "silu"}])
def test_ablations_keep_the_number_of_parameters(changes):
    count = sum(weight.numel() for weight in build().parameters())
    assert sum(weight.numel() for weight in build(**changes).parameters()) == count


@pytest.mark.parametrize("changes", [c for c in VARIANTS if c and "attention" not in c], ids=str)
def test_ablations_change_the_function(changes):
    assert not torch.allclose(build()(ids()), build(**changes)(ids()), atol=1e-3)


def test_tied_tables_are_one_parameter_under_both_names():
    model = build(tie_embeddings=True)
    assert model.token_embeddings.weight is model.lm_head.weight
    assert {"token_embeddings.weight", "lm_head.weight"} <= model.state_dict().keys()
    untied = build()
    assert torch.equal(model.lm_head.weight, untied.lm_head.weight)  # initialised as the head
    assert torch.equal(model.layers[0].attn.q_proj.weight, untied.layers[0].attn.q_proj.weight)


def test_zero_projections_leave_the_residual_stream_untouched_at_first_and_learn_all_the_same():
    model, plain = build(projection_init="zero"), build()
    embedded = model.token_embeddings(ids())
    assert torch.equal(model.hidden(ids()), model.ln_final(embedded))
    assert torch.equal(model.layers[0].ffn.w1.weight, plain.layers[0].ffn.w1.weight)
    model(ids()).square().sum().backward()
    assert model.layers[1].ffn.w2.weight.grad.abs().sum() > 0
    assert model.layers[1].attn.output_proj.weight.grad.abs().sum() > 0


def test_qk_norm_bounds_the_scores_whatever_the_weights():
    model = build(qk_norm=True)
    expected = model(ids())
    with torch.no_grad():
        for layer in model.layers:
            layer.attn.q_proj.weight.mul_(100)
            layer.attn.k_proj.weight.mul_(100)
    torch.testing.assert_close(model(ids()), expected, atol=1e-3, rtol=1e-3)  # but for norm_eps
    assert model.state_dict()["layers.0.attn.q_norm.weight"].shape == (4,)


def test_softcap_bounds_the_logits_and_leaves_small_ones():
    logits, capped = build()(ids()), build(logit_softcap=0.5)(ids())
    assert capped.abs().max() < 0.5
    torch.testing.assert_close(capped, 0.5 * torch.tanh(logits / 0.5))


def test_logits_of_hidden_states_are_the_forward_pass():
    model = build(logit_softcap=3.0)
    assert torch.equal(model.logits(model.hidden(ids())), model(ids()))


@pytest.mark.parametrize("attention", ["plain", "sdpa"])
def test_computing_in_bf16_keeps_weights_and_their_gradients_in_fp32(attention):
    config = dataclasses.replace(TINY, attention=attention)
    mixed = TransformerLM(config, compute_dtype=torch.bfloat16, generator=seeded())
    plain = TransformerLM(config, generator=seeded())
    losses = [F.cross_entropy(model(ids()).float().flatten(0, 1), ids().flatten()) for model in (mixed, plain)]
    assert mixed(ids()).dtype == torch.bfloat16
    torch.testing.assert_close(losses[0], losses[1], atol=0.02, rtol=0)  # 8 bits through a few dozen roundings
    losses[0].backward()
    losses[1].backward()
    for (name, one), other in zip(mixed.named_parameters(), plain.parameters(), strict=True):
        assert one.dtype == one.grad.dtype == torch.float32, name
        assert (one.grad - other.grad).norm() < 0.05 * other.grad.norm(), name


def test_without_norm_there_is_none_anywhere():
    model = build(norm="none")
    assert not any("ln" in name for name in model.state_dict())
    assert isinstance(model.ln_final, nn.Identity)


def test_post_norm_normalises_the_sum_after_each_sublayer():
    block = PostNormTransformerBlock(TINY, generator=seeded())
    x = torch.randn(2, 5, 16, generator=seeded(1))
    after_attention = block.ln1(x + block.attn(x))
    torch.testing.assert_close(block(x), block.ln2(after_attention + block.ffn(after_attention)))
    rms = block(x).square().mean(-1).sqrt()
    torch.testing.assert_close(rms, torch.ones_like(rms), atol=1e-4, rtol=0)  # eps is 1e-5


def test_pre_norm_adds_to_an_untouched_residual_stream():
    block = TransformerBlock(TINY, generator=seeded())
    nn.init.zeros_(block.attn.output_proj.weight)
    nn.init.zeros_(block.ffn.w2.weight)
    x = torch.randn(2, 5, 16, generator=seeded(1))
    assert torch.equal(block(x), x)


def test_without_positions_the_order_of_earlier_ids_is_lost_and_with_rope_it_is_not():
    tokens = ids(batch=1)
    swapped = tokens[:, [1, 0, 2, 3, 4, 5, 6]]
    one_layer = {"num_layers": 1}  # with two, the causal mask lets the second layer tell the order
    nope, rope = build(position="none", **one_layer), build(**one_layer)
    torch.testing.assert_close(nope(tokens)[:, 2:], nope(swapped)[:, 2:])
    assert not torch.allclose(rope(tokens)[:, 2:], rope(swapped)[:, 2:], atol=1e-4)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_bf16_model_stays_near_the_fp32_one(changes):
    model = build(**changes)
    half = TransformerLM(model.config, dtype=torch.bfloat16, generator=seeded())
    logits, expected = half(ids()), model(ids())
    assert logits.dtype == torch.bfloat16
    # bf16 keeps 8 bits; through a few dozen roundings about 5 % of the logits' scale. Wrong code is off by 100 %.
    assert (logits.float() - expected).norm() < 0.05 * expected.norm()


def test_one_batch_can_be_learnt_by_heart():
    model, tokens = build(), ids(batch=4, seq=9)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_no_rows_give_no_logits(changes):
    assert build(**changes)(ids(batch=0)).shape == (0, 7, 50)


def test_too_long_a_sequence_is_refused():
    with pytest.raises(ValueError, match="at most context_length 12, got 13"):
        build()(ids(seq=13))


def test_missing_d_ff_is_the_multiple_of_64_nearest_to_eight_thirds_of_the_width():
    widths = {d_model: ModelConfig(d_model=d_model, num_heads=1, d_ff=None).d_ff for d_model in (16, 512, 768, 1600)}
    assert widths == {16: 64, 512: 1344, 768: 2048, 1600: 4288}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 512, "num_heads": 12}, "d_model must be divisible by num_heads, got 512 and 12"),
        ({"d_model": 12, "num_heads": 4}, "must be even for rope, got 12 / 4 = 3"),
        ({"vocab_size": 0}, "vocab_size must be at least 1, got 0"),
        ({"num_heads": 0}, "num_heads must be at least 1, got 0"),
        ({"num_layers": -1}, "num_layers must be at least 0, got -1"),
        ({"rope_theta": 0.0}, "rope_theta must be positive and finite, got 0.0"),
        ({"norm_eps": float("nan")}, "norm_eps must be positive and finite, got nan"),
        ({"norm": "layer"}, "norm must be one of rms, none, got 'layer'"),
        ({"logit_softcap": 0.0}, "logit_softcap must be positive and finite, got 0.0"),
        ({"projection_init": "one"}, "projection_init must be one of normal, zero, got 'one'"),
        ({"attention": "flash"}, "attention must be one of plain, sdpa, got 'flash'"),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changes)


def test_odd_heads_are_fine_without_rope():
    assert build(d_model=12, num_heads=4, position="none")(ids()).shape == (2, 7, 50)
