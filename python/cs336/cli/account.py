"""`cs336 account`."""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

from cs336.cli.display import print_result
from cs336.cli.exit import ExitCode


@dataclass(frozen=True, kw_only=True)
class Account:
    """Count a model's parameters, FLOPs and bytes by formula, without building it.

    Attributes:
        config: TOML file of a run; its [model] table is taken.
        vocab_size: Number of ids.
        context_length: Ids in a sequence.
        d_model: Width.
        num_layers: Number of blocks.
        num_heads: Number of attention heads.
        d_ff: Hidden width of the feed-forward network.
        json: Print the result as JSON.
    """

    config: Path | None = None
    vocab_size: int | None = None
    context_length: int | None = None
    d_model: int | None = None
    num_layers: int | None = None
    num_heads: int | None = None
    d_ff: int | None = None
    json: bool = False

    def run(self) -> int:
        """Count and print."""
        from cs336.accounting import count_parameters, forward_flops, training_flops_per_token, training_state_bytes
        from cs336.config import load_model_config

        shape = ("vocab_size", "context_length", "d_model", "num_layers", "num_heads", "d_ff")
        changes = {name: getattr(self, name) for name in shape if getattr(self, name) is not None}
        if "d_model" in changes and "d_ff" not in changes:
            changes["d_ff"] = None  # follows the width
        model = dataclasses.replace(load_model_config(self.config), **changes)
        parameters, flops = count_parameters(model), forward_flops(model)
        values = {
            "model": dataclasses.asdict(model),
            "parameters": dataclasses.asdict(parameters) | {"total": parameters.total},
            "forward_flops_per_sequence": dataclasses.asdict(flops) | {"total": flops.total},
            "training_flops_per_token": training_flops_per_token(model),
            "fp32_training_state_bytes": training_state_bytes(parameters.total),
        }
        if self.json:
            print_result(values, as_json=True)
            return ExitCode.OK
        for title, parts in values.items():
            if isinstance(parts, dict) and title != "model":
                sys.stdout.write(_table(title, parts))
        print_result({key: value for key, value in values.items() if not isinstance(value, dict)}, as_json=False)
        return ExitCode.OK


def _table(title: str, parts: dict[str, int]) -> str:
    total = parts["total"]
    rows = [f"  {name.replace('_', ' '):<24}{count:>22,}{count / max(total, 1):>9.1%}" for name, count in parts.items()]
    return "\n".join([title.replace("_", " "), *rows, "", ""])
