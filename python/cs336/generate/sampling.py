"""How the next id is drawn from the logits: greedily, or at random within bounds."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cs336.model import softmax


def next_id_probabilities(
    logits: Float[Tensor, "*batch vocab"], *, temperature: float, top_k: int | None = None, top_p: float | None = None
) -> Float[Tensor, "*batch vocab"]:
    """Return the distribution that `generate` draws the next id from, in fp64.

    Raises:
        ValueError: The temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    logits = logits.double()
    # The greatest becomes 0 before the division, so that no temperature is too small.
    mass = softmax((logits - logits.amax(-1, keepdim=True)) / temperature, dim=-1)
    if top_k is None and top_p is None:
        return mass
    ranked, ids = mass.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        ranked[..., top_k:] = 0
        ranked = ranked / ranked.sum(-1, keepdim=True)
    if top_p is not None and top_p < 1:
        mass_before = ranked.cumsum(-1) - ranked
        ranked = torch.where(mass_before < top_p, ranked, 0)
    return torch.zeros_like(mass).scatter(-1, ids, ranked / ranked.sum(-1, keepdim=True))


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Draws the next id of each row; the attributes are `generate`'s, `streams` is the source of each row's draws."""

    temperature: float
    top_k: int | None
    top_p: float | None
    streams: list[torch.Generator]

    def __post_init__(self) -> None:
        if not math.isfinite(self.temperature):
            raise ValueError(f"temperature must be finite, got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")

    def draw(self, logits: Float[Tensor, "rows vocab"], rows: list[int]) -> list[int]:
        """Draw an id for each of these rows, whose logits are on the CPU."""
        if self.temperature <= 0:
            return logits.argmax(-1).tolist()
        mass = next_id_probabilities(logits, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)
        return [
            int(torch.multinomial(row_mass, 1, generator=self.streams[row]))
            for row, row_mass in zip(rows, mass, strict=True)
        ]


def random_streams(num_streams: int, source: torch.Generator | None) -> list[torch.Generator]:
    """Seed one generator a row; a stream does not depend on how many follow it."""
    seeds = torch.randint(2**63 - 1, (num_streams,), generator=source).tolist()
    return [torch.Generator().manual_seed(seed) for seed in seeds]
