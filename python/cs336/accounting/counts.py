"""Parameters and FLOPs by part.

A multiply-add counts as two FLOPs. Only matrix products are counted (the rest is below 1 % at the handout's sizes), and
the half of the attention scores that the causal mask hides is counted too, because a plain implementation computes it.
Source: handout, "Resource accounting"; each formula is checked against a real model in the tests.
"""

from dataclasses import astuple, dataclass

from cs336.model import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Number of parameters by part.

    Attributes:
        token_embeddings: V d; none if the head's table serves for it.
        attention: L 4 d^2; with QK-norm L 2 d_head more.
        feed_forward: L 3 d d_ff (without a gate L 2 d d_hidden).
        norms: (2 L + 1) d.
        lm_head: V d.
    """

    token_embeddings: int
    attention: int
    feed_forward: int
    norms: int
    lm_head: int

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return sum(astuple(self))

    @property
    def non_embedding(self) -> int:
        """All but the input embedding, which takes part in no matrix product."""
        return self.total - self.token_embeddings


@dataclass(frozen=True, kw_only=True)
class Flops:
    """FLOPs by part, for one sequence of T ids.

    Attributes:
        attention_projections: L 8 T d^2: queries, keys, values, output.
        attention_scores: L 4 T^2 d: the products of queries with keys, and of weights with values.
        feed_forward: L 6 T d d_ff (without a gate L 4 T d d_hidden).
        lm_head: 2 T d V.
    """

    attention_projections: int
    attention_scores: int
    feed_forward: int
    lm_head: int

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return sum(astuple(self))


def count_parameters(config: ModelConfig) -> Parameters:
    """Return the number of parameters of `TransformerLM(config)`."""
    d, num_layers = config.d_model, config.num_layers
    return Parameters(
        token_embeddings=0 if config.tie_embeddings else config.vocab_size * d,
        attention=num_layers * (4 * d * d + (2 * config.d_head if config.qk_norm else 0)),
        feed_forward=num_layers * _num_ffn_matrices(config) * d * config.d_hidden,
        norms=(2 * num_layers + 1) * d if config.norm == "rms" else 0,
        lm_head=config.vocab_size * d,
    )


def forward_flops(config: ModelConfig, *, seq: int | None = None) -> Flops:
    """Return the FLOPs of the forward pass over one sequence, of the full context length by default.

    Raises:
        ValueError: seq is below one or above the context length.
    """
    T = config.context_length if seq is None else seq
    if not 1 <= T <= config.context_length:
        raise ValueError(f"seq must be from 1 to context_length {config.context_length}, got {T}")
    d, num_layers = config.d_model, config.num_layers
    return Flops(
        attention_projections=num_layers * 8 * T * d * d,
        attention_scores=num_layers * 4 * T * T * d,
        feed_forward=num_layers * 2 * _num_ffn_matrices(config) * T * d * config.d_hidden,
        lm_head=2 * T * d * config.vocab_size,
    )


def training_flops_per_token(config: ModelConfig) -> float:
    """Return the FLOPs of forward and backward a token, at full context; the backward pass costs twice the forward."""
    return 3 * forward_flops(config).total / config.context_length


def adamw_flops(num_parameters: int) -> int:
    """Return the FLOPs of one AdamW step: about 14 a parameter (decay 2, m 3, v 4, update 5), whatever the batch."""
    return 14 * num_parameters


def training_s(
    config: ModelConfig, *, num_sequences: int, num_steps: int, flops_per_s: float, mfu: float = 1.0
) -> float:
    """Return the seconds that training takes: 3 forward passes' FLOPs for each sequence, and AdamW's for each step.

    Args:
        config: The model; sequences have its full context.
        num_sequences: In the whole run.
        num_steps: Optimizer steps in the whole run.
        flops_per_s: The device's peak.
        mfu: Model FLOPs utilisation, the share of the peak that is reached.

    Raises:
        ValueError: The MFU is not in (0, 1].
    """
    if not 0 < mfu <= 1:
        raise ValueError(f"mfu must be in (0, 1], got {mfu}")
    flops = 3 * forward_flops(config).total * num_sequences + adamw_flops(count_parameters(config).total) * num_steps
    return flops / (flops_per_s * mfu)


def _num_ffn_matrices(config: ModelConfig) -> int:
    return 3 if config.ffn == "swiglu" else 2
