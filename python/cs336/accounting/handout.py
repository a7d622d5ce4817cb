"""The handout's GPT-2 models, and its questions about them answered by the formulas.

The shapes are GPT-2's (Radford et al. 2019, table 2) with our SwiGLU. The handout of 2025 takes d_ff = 4 d_model, that
of 2026 the multiple of 64 nearest to 8/3 d_model.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from cs336.accounting.counts import count_parameters, forward_flops, training_s
from cs336.accounting.devices import find_device
from cs336.accounting.memory import handout_activations, largest_batch, training_state_bytes
from cs336.model import ModelConfig

YEARS = (2025, 2026)
LONG_CONTEXT = 16_384
_SECONDS_A_DAY = 86_400
SIZES = ("small", "medium", "large", "xl")
_SHAPES = {"small": (12, 768, 12), "medium": (24, 1024, 16), "large": (36, 1280, 20), "xl": (48, 1600, 25)}


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the handout of one year asks about training time.

    Attributes:
        device: A key of `DEVICES`.
        precision: The rate that counts.
        mfu: Share of it that is reached.
        steps: Optimizer steps.
        batch_size: Sequences in each.
    """

    device: str
    precision: str
    mfu: float = 0.5
    steps: int = 400_000
    batch_size: int = 1024


QUESTIONS = {2025: Question(device="a100", precision="fp32"), 2026: Question(device="h100", precision="tf32")}


def gpt2(size: str, year: int = 2026) -> ModelConfig:
    """Return the handout's GPT-2 of that size: small, medium, large or xl.

    Raises:
        ValueError: No such size or year.
    """
    if size not in _SHAPES:
        raise ValueError(f"size must be one of {', '.join(_SHAPES)}, got {size!r}")
    if year not in YEARS:
        raise ValueError(f"year must be one of {', '.join(map(str, YEARS))}, got {year}")
    num_layers, d_model, num_heads = _SHAPES[size]
    return ModelConfig(
        vocab_size=50_257,
        context_length=1024,
        num_layers=num_layers,
        d_model=d_model,
        num_heads=num_heads,
        d_ff=4 * d_model if year == 2025 else None,
    )


def answers(size: str, year: int, *, memory_bytes: float = 80e9) -> dict[str, Any]:
    """Return what the handout asks about one of its models, as JSON could hold it."""
    config, question = gpt2(size, year), QUESTIONS[year]
    parameters = count_parameters(config).total
    activations = handout_activations(config, gate=year > 2025)
    device = find_device(question.device)
    seconds = training_s(
        config,
        num_sequences=question.steps * question.batch_size,
        num_steps=question.steps,
        flops_per_s=device.peak_flops(question.precision),
        mfu=question.mfu,
    )
    return {
        "model": f"gpt2-{size}",
        "year": year,
        "d_ff": config.d_ff,
        "parameters": parameters,
        "fp32_weight_bytes": 4 * parameters,
        "forward_flops": _by_part(config),
        f"forward_flops_at_{LONG_CONTEXT}": _by_part(dataclasses.replace(config, context_length=LONG_CONTEXT)),
        "training_state_bytes": training_state_bytes(parameters),
        "activation_bytes_per_sequence": 4 * activations.total,
        "memory_bytes": memory_bytes,
        "largest_batch": largest_batch(parameters, activations, memory_bytes=memory_bytes),
        "training": dataclasses.asdict(question),
        "training_days": seconds / _SECONDS_A_DAY,
    }


def _by_part(config: ModelConfig) -> dict[str, int]:
    flops = forward_flops(config)
    return dataclasses.asdict(flops) | {"total": flops.total}
