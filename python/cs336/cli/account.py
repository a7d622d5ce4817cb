"""`cs336 account`."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cs336.cli.display import print_result
from cs336.cli.exit import ExitCode

if TYPE_CHECKING:
    from cs336.model import ModelConfig

_SECONDS_A_DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class Account:
    """Count a model's parameters, FLOPs and bytes by formula, without building it, and the time of training it.

    Attributes:
        config: TOML file of a run; its [model] table is taken.
        vocab_size: Number of ids.
        context_length: Ids in a sequence.
        d_model: Width.
        num_layers: Number of blocks.
        num_heads: Number of attention heads.
        d_ff: Hidden width of the feed-forward network.
        device: Estimate for this device, such as h100; `--device help` lists them with their peaks.
        precision: Which of its rates counts: fp32, tf32, bf16 or fp16.
        mfu: Share of that rate which training reaches.
        tokens: Training tokens, for the time.
        batch_size: Sequences in a step; AdamW's part of the time follows from it.
        handout: Answer the handout's questions about GPT-2 small to XL, of both years, instead.
        json: Print the result as JSON.
    """

    config: Path | None = None
    vocab_size: int | None = None
    context_length: int | None = None
    d_model: int | None = None
    num_layers: int | None = None
    num_heads: int | None = None
    d_ff: int | None = None
    device: str | None = None
    precision: str = "bf16"
    mfu: float = 0.5
    tokens: int | None = None
    batch_size: int = 128
    handout: bool = False
    json: bool = False

    def run(self) -> int:
        """Count and print."""
        if self.handout:
            return _print_handout(as_json=self.json)
        if self.device == "help":
            return _print_devices(as_json=self.json)
        values = _count(self._model())
        if self.device is not None:
            values["on_device"] = self._estimate(self._model(), self.device)
        if self.json:
            print_result(values, as_json=True)
            return ExitCode.OK
        for title, parts in values.items():
            if isinstance(parts, dict) and "total" in parts:
                sys.stdout.write(_shares(title, parts))
        plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
        print_result(plain | values.get("on_device", {}), as_json=False)
        return ExitCode.OK

    def _model(self) -> "ModelConfig":
        from cs336.config import load_model_config

        shape = ("vocab_size", "context_length", "d_model", "num_layers", "num_heads", "d_ff")
        changes = {name: getattr(self, name) for name in shape if getattr(self, name) is not None}
        if "d_model" in changes and "d_ff" not in changes:
            changes["d_ff"] = None  # follows the width
        return dataclasses.replace(load_model_config(self.config), **changes)

    def _estimate(self, model: "ModelConfig", name: str) -> dict[str, Any]:
        from cs336.accounting import (
            count_parameters,
            find_device,
            largest_batch,
            saved_activations,
            training_s,
        )

        for option, value in (("tokens", self.tokens), ("batch_size", self.batch_size)):
            if value is not None and value < 1:
                raise ValueError(f"{option} must be at least 1, got {value}")
        device = find_device(name)
        peak = device.peak_flops(self.precision)
        step_s = training_s(model, num_sequences=self.batch_size, num_steps=1, flops_per_s=peak, mfu=self.mfu)
        tokens_per_s = self.batch_size * model.context_length / step_s
        value_bytes = 2 if self.precision in ("bf16", "fp16") else 4
        return {
            "device": device.name,
            "precision": self.precision,
            "peak_flops_per_s": peak,
            "peak_from": device.source,
            "mfu": self.mfu,
            "memory_bytes": device.memory_bytes,
            "largest_batch": largest_batch(
                count_parameters(model).total,
                saved_activations(model),
                memory_bytes=device.memory_bytes,
                bytes_per_value=value_bytes,
            ),
            "tokens_per_s": tokens_per_s,
            "training_tokens": self.tokens,
            "training_s": None if self.tokens is None else self.tokens / tokens_per_s,
            "training_days": None if self.tokens is None else self.tokens / tokens_per_s / _SECONDS_A_DAY,
        }


def _count(model: "ModelConfig") -> dict[str, Any]:
    from cs336.accounting import (
        count_parameters,
        forward_flops,
        kv_cache_bytes,
        saved_activations,
        training_flops_per_token,
        training_state_bytes,
    )

    parameters, flops, activations = count_parameters(model), forward_flops(model), saved_activations(model)
    activation_bytes = {name: 4 * count for name, count in dataclasses.asdict(activations).items()}
    return {
        "model": dataclasses.asdict(model),
        "parameters": dataclasses.asdict(parameters) | {"total": parameters.total},
        "forward_flops_per_sequence": dataclasses.asdict(flops) | {"total": flops.total},
        "fp32_activation_bytes_per_sequence": activation_bytes | {"total": 4 * activations.total},
        "training_flops_per_token": training_flops_per_token(model),
        "fp32_weight_bytes": 4 * parameters.total,
        "fp32_training_state_bytes": training_state_bytes(parameters.total),
        "fp32_kv_cache_bytes_per_sequence": kv_cache_bytes(model),
    }


def _print_handout(*, as_json: bool) -> int:
    from cs336.accounting.handout import SIZES, YEARS, answers

    tables = {year: [answers(size, year) for size in SIZES] for year in YEARS}
    if as_json:
        print_result({"handout": [answer for rows in tables.values() for answer in rows]}, as_json=True)
        return ExitCode.OK
    for year, rows in tables.items():
        question = rows[0]["training"]
        sys.stdout.write(
            f"GPT-2 in the handout of {year} (d_ff {rows[-1]['d_ff']:,} at XL), context 1,024, fp32; largest batch in "
            f"{rows[0]['memory_bytes'] / 1e9:g} GB;\ndays for {question['steps']:,} steps of "
            f"{question['batch_size']:,} sequences on {question['device']} in {question['precision']} "
            f"at {question['mfu']:.0%} MFU\n\n"
        )
        sys.stdout.write(_table(_handout_rows(rows)) + "\n" + _table(_handout_shares(rows)) + "\n")
    return ExitCode.OK


def _handout_rows(answers: Sequence[Mapping[str, Any]]) -> list[Sequence[str]]:
    from cs336.accounting.handout import LONG_CONTEXT

    header = ("", "parameters", "TFLOP", f"at {LONG_CONTEXT:,}", "weights GB", "activations GB", "batch", "days")
    body = [
        (
            answer["model"],
            f"{answer['parameters']:,}",
            f"{answer['forward_flops']['total'] / 1e12:.3f}",
            f"{answer[f'forward_flops_at_{LONG_CONTEXT}']['total'] / 1e12:.1f}",
            f"{answer['fp32_weight_bytes'] / 1e9:.2f}",
            f"{answer['activation_bytes_per_sequence'] / 1e9:.2f}",
            f"{answer['largest_batch']}",
            f"{answer['training_days']:,.0f}",
        )
        for answer in answers
    ]
    return [header, *body]


def _handout_shares(answers: Sequence[Mapping[str, Any]]) -> list[Sequence[str]]:
    """Say where the FLOPs go, as the model and as the context grow."""
    from cs336.accounting.handout import LONG_CONTEXT

    parts = [part for part in answers[0]["forward_flops"] if part != "total"]
    rows: list[Sequence[str]] = [("share of the FLOPs", *(part.replace("_", " ") for part in parts))]
    for key, where in (("forward_flops", ""), (f"forward_flops_at_{LONG_CONTEXT}", f" at {LONG_CONTEXT:,}")):
        for answer in answers:
            flops = answer[key]
            rows.append((answer["model"] + where, *(f"{flops[part] / flops['total']:.1%}" for part in parts)))
    return rows


def _print_devices(*, as_json: bool) -> int:
    from cs336.accounting import DEVICES

    if as_json:
        rows = [{**vars(device), "flops_per_s": dict(device.flops_per_s)} for device in DEVICES.values()]
        print_result({"devices": rows}, as_json=True)
        return ExitCode.OK
    precisions = ("fp32", "tf32", "bf16", "fp16")
    header = ("device", *(f"{precision} TFLOP/s" for precision in precisions), "GB", "GB/s", "source")
    body = []
    for device in DEVICES.values():
        rates: dict[str, float] = dict(device.flops_per_s.items())
        body.append(
            (
                device.name,
                *(f"{rates[p] / 1e12:g}" if p in rates else "-" for p in precisions),
                f"{device.memory_bytes / 1e9:g}",
                f"{device.bandwidth_bytes_per_s / 1e9:,g}",
                device.source,
            )
        )
    sys.stdout.write(_table([header, *body], num_left=2))
    return ExitCode.OK


def _shares(title: str, parts: Mapping[str, int]) -> str:
    total = parts["total"]
    rows = [f"  {name.replace('_', ' '):<24}{count:>22,}{count / max(total, 1):>9.1%}" for name, count in parts.items()]
    return "\n".join([title.replace("_", " "), *rows, "", ""])


def _table(rows: Sequence[Sequence[str]], *, num_left: int = 1) -> str:
    """Align columns: the first to the left, the last too if num_left is 2, and all others to the right."""
    last = len(rows[0]) - 1
    widths = [max(len(row[column]) for row in rows) for column in range(last + 1)]

    def cell(column: int, text: str) -> str:
        is_left = column == 0 or (column == last and num_left == 2)
        return text.ljust(widths[column]) if is_left else text.rjust(widths[column])

    return "".join("  ".join(cell(i, text) for i, text in enumerate(row)).rstrip() + "\n" for row in rows)
