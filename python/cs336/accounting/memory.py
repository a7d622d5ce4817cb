"""What training holds in memory: weights, gradients, moments, activations; and what a key-value cache takes.

Activations are counted twice, for two questions. `handout_activations` lists one tensor for each component that the
handout names, whether or not anybody needs it again: the answer on paper. `saved_activations` is what autograd keeps of
`TransformerLM` run as it is written, which the tests compare with what a real model keeps, byte for byte.
"""

from dataclasses import astuple, dataclass

from cs336.model import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Activations:
    """Number of values kept for the backward pass by part, for one sequence of T ids.

    Attributes:
        norms: Of all blocks, and the last one.
        attention_projections: Queries, keys, values, and what goes into and comes out of the output projection.
        attention_scores: Scores and weights, h T^2 each, if they are written out.
        feed_forward: The hidden layers.
        lm_head: Logits and what the loss makes of them.
    """

    norms: int
    attention_projections: int
    attention_scores: int
    feed_forward: int
    lm_head: int

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return sum(astuple(self))


def handout_activations(config: ModelConfig, *, gate: bool = True) -> Activations:
    """Return the values of one tensor for each component that the handout lists (problem "adamw accounting").

    A block: two RMSNorms 2 T d; queries, keys and values 3 T d; scores h T^2; softmax h T^2; weighted sum T d; output
    projection T d; W1 and SiLU 2 T d_ff, W3 and the product 2 T d_ff more, W2 T d. Then the last RMSNorm T d, the
    logits T V and the cross-entropy T V.

    Args:
        config: The model; its full context is read.
        gate: Count W3 and the product, which the list of 2025 leaves out.
    """
    T, d, num_layers = config.context_length, config.d_model, config.num_layers
    num_hidden = 4 if gate and config.ffn == "swiglu" else 2
    has_norms = config.norm == "rms"
    return Activations(
        norms=(2 * num_layers + 1) * T * d if has_norms else 0,
        attention_projections=num_layers * 5 * T * d,
        attention_scores=num_layers * 2 * config.num_heads * T * T,
        feed_forward=num_layers * (num_hidden * T * config.d_hidden + T * d),
        lm_head=2 * T * config.vocab_size,
    )


def saved_activations(config: ModelConfig) -> Activations:
    """Return the values that autograd keeps of `TransformerLM(config)` and its loss in fp32, run as they are written.

    Each RMSNorm keeps what it reads, and what reads it keeps its result. Attention keeps rotated queries and keys,
    values, and the heads side by side; the fused kernel its result and one logarithm a query, the written-out formula
    the exponentials of the scores, their sums, and the weights. SwiGLU keeps W1 x, W3 x and their gated
    product. The loss keeps the logits, their exponentials and the sums of these. A compiled model keeps less. Not
    counted: the causal masks of written-out attention, which do not grow with the batch.
    """
    T, d, h, num_layers = config.context_length, config.d_model, config.num_heads, config.num_layers
    norm = 2 * T * d if config.norm == "rms" else T * d
    qk_norms = 2 * T * d if config.qk_norm else 0
    is_fused = config.attention == "sdpa"
    # what the kernel returns has the heads side by side already, unless the rotation has laid its input out anew
    is_copied = is_fused and config.position == "rope"
    return Activations(
        norms=(2 * num_layers + 1) * norm + num_layers * qk_norms,
        attention_projections=num_layers * (5 if is_copied else 4) * T * d,
        attention_scores=num_layers * (h * T if is_fused else 2 * h * T * T + h * T),
        feed_forward=num_layers * 3 * T * config.d_hidden,
        lm_head=(2 if config.logit_softcap is None else 3) * T * config.vocab_size + T,
    )


def training_state_bytes(num_parameters: int, *, bytes_per_value: int = 4) -> int:
    """Return the bytes of weights, gradients and AdamW's two moments, without activations."""
    return 4 * bytes_per_value * num_parameters


def largest_batch(
    num_parameters: int, activations: Activations, *, memory_bytes: float, bytes_per_value: int = 4
) -> int:
    """Return how many sequences fit beside the fp32 training state; 0 if not even one does.

    Args:
        num_parameters: Of the model.
        activations: Of one sequence.
        memory_bytes: Of the device.
        bytes_per_value: Of the activations. With 2 this is an estimate: mixed precision keeps a few of them in fp32.
    """
    left = memory_bytes - training_state_bytes(num_parameters)
    return max(0, int(left // (bytes_per_value * activations.total)))


def kv_cache_bytes(config: ModelConfig, *, num_rows: int = 1, bytes_per_value: int = 4) -> int:
    """Return the bytes of the keys and values of full contexts, as `generate` keeps them: 2 L T d a row."""
    return 2 * config.num_layers * config.context_length * config.d_model * num_rows * bytes_per_value
