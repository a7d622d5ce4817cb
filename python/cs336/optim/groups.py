"""Which parameters decay, and which are orthogonalised."""

from collections.abc import Iterable
from typing import Any

from torch import nn


def parameter_groups(named_parameters: Iterable[tuple[str, nn.Parameter]], *, with_muon: bool) -> list[dict[str, Any]]:
    """Sort parameters into groups for AdamW or Muon; empty groups are left out.

    Matrices decay; the gains of norms do not, since decay would pull them to 0 and not to 1, where they start. With
    Muon the blocks' matrices are orthogonalised; embedding and head are tables of rows by id, and stay with AdamW.
    """
    blocks: list[nn.Parameter] = []
    tables: list[nn.Parameter] = []
    gains: list[nn.Parameter] = []
    for name, parameter in named_parameters:
        if parameter.ndim < 2:
            gains.append(parameter)
        elif name.startswith("layers."):
            blocks.append(parameter)
        else:
            tables.append(parameter)
    if not with_muon:
        groups: list[dict[str, Any]] = [{"params": blocks + tables}, {"params": gains, "weight_decay": 0.0}]
    else:
        groups = [
            {"params": blocks, "orthogonal": True},
            {"params": tables, "orthogonal": False},
            {"params": gains, "orthogonal": False, "weight_decay": 0.0},
        ]
    return [group for group in groups if group["params"]]
