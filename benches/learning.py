"""What a recipe learns from the same tokens: ours, nanoGPT's, and the textbook's, each at its own best rate.

    python benches/learning.py --text train.txt --valid valid.txt [--tokens 131072] [--seeds 3] [--nanogpt PATH]

Same tokenizer, same width, depth, heads and context, same number of tokens, same held-out text, whole. For each recipe
a grid of rates, a factor of two apart, is extended until the best is not at its end; the best is then run from every
seed. Reported: nats per token and bits per byte of the held-out text, mean and spread over the seeds. What differs is
printed with the result. nanoGPT is its own model.py and optimizer with `--nanogpt PATH` of a checkout, else our control
of them (see nanogpt_control.py).
"""

import argparse
import dataclasses
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nanogpt_control
import numpy as np
import torch
from torch import nn

from cs336.config import DataConfig, OptimConfig, ScheduleConfig, TrainConfig
from cs336.data import get_batch
from cs336.model import ModelConfig
from cs336.tokenizer import Tokenizer, train_bpe
from cs336.train import bits_per_byte, evaluate
from cs336.train.learner import Learner, open_dataset

SEPARATOR = "<|endoftext|>"
RECIPES = {
    "ours": "RMSNorm, RoPE, SwiGLU, QK-norm, projections from zero; Muon for the blocks, AdamW (0.9, 0.95) for the "
    "rest, decay 0.1 on matrices; warm-up 4 %, linear to zero; windows without replacement",
    "ours, AdamW": "the same with AdamW for all",
    "nanogpt": "LayerNorm, learned positions, GELU, tied table; AdamW (0.9, 0.95), decay 0.1 on matrices; warm-up 4 %, "
    "cosine to a tenth; windows with replacement",
    "textbook": "RMSNorm, RoPE, SwiGLU; AdamW (0.9, 0.999), decay 0.01; warm-up 4 %, cosine to a tenth; windows with "
    "replacement",
}
FIRST_RATES = {"ours": 1.6e-2, "ours, AdamW": 1.6e-2, "nanogpt": 8e-3, "textbook": 8e-3}


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as workdir:
        base, bytes_per_token = prepare(options, Path(workdir))
        results = {name: study(name, base, options) for name in options.only or RECIPES}
        if options.out is not None:
            write(results, base, bytes_per_token, options)
    print(f"\n{describe(base, options)}\n\n" + "\n".join(table(results, bytes_per_token)))
    for name in results:
        print(f"\n{name}: {RECIPES[name]}. Rates: {results[name]['rates']}")


def write(
    results: dict[str, dict[str, Any]], base: TrainConfig, bytes_per_token: float, options: argparse.Namespace
) -> None:
    """Leave the table and all figures behind."""
    options.out.mkdir(parents=True, exist_ok=True)
    lines = [describe(base, options), "", *table(results, bytes_per_token)]
    (options.out / "learning.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (options.out / "learning.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"written: {options.out / 'learning'}.md, .json", file=sys.stderr)


def prepare(options: argparse.Namespace, workdir: Path) -> tuple[TrainConfig, float]:
    """Train the tokenizer on the training text, encode both texts, and say what all recipes share."""
    vocab, merges = train_bpe(options.text, options.vocab_size, [SEPARATOR])
    tokenizer = Tokenizer(vocab, merges, [SEPARATOR])
    for name, path in (("train", options.text), ("valid", options.valid)):
        tokenizer.encode_file(path, workdir / f"{name}.npy")
    valid = np.load(workdir / "valid.npy")[: options.valid_tokens]
    np.save(workdir / "valid.npy", valid)
    sizes = np.array([0 if i in tokenizer.special_tokens.values() else len(vocab[i]) for i in range(len(vocab))])
    base = TrainConfig(
        data=DataConfig(train=str(workdir / "train.npy"), valid=str(workdir / "valid.npy")),
        model=ModelConfig(
            vocab_size=tokenizer.vocab_size,
            context_length=options.context,
            d_model=options.width,
            num_layers=options.layers,
            num_heads=options.heads,
            d_ff=None,
            attention="sdpa",
        ),
        batch_size=options.batch,
        tokens=options.tokens,
        precision="fp32",
        compile=False,
        device="cpu",
    )
    return base, float(sizes[valid[1:]].mean())


def study(name: str, base: TrainConfig, options: argparse.Namespace) -> dict[str, Any]:
    """Find the recipe's best rate from the first seed, then run that from every seed."""

    def run(lr: float, seed: int) -> float:
        if name == "nanogpt":
            return run_nanogpt(base, lr, seed, checkout=options.nanogpt)
        return run_ours(name, base, lr, seed)

    losses: dict[float, float] = {}

    def loss_at(lr: float) -> float:
        if lr not in losses:
            began = time.perf_counter()
            losses[lr] = run(lr, 0)
            print(f"{name}: rate {lr:.1e}: {losses[lr]:.4f} ({time.perf_counter() - began:.0f} s)", file=sys.stderr)
        return losses[lr]

    best = extend(FIRST_RATES[name], loss_at)
    of_seeds = [loss_at(best), *(run(best, seed) for seed in range(1, options.seeds))]
    rates = {f"{lr:.1e}": round(loss, 4) for lr, loss in sorted(losses.items())}
    return {"best_rate": best, "rates": rates, "losses": of_seeds}


def extend(first: float, loss_at: Callable[[float], float]) -> float:
    """Return the rate whose loss is below that of its half and of its double."""
    best = first
    while True:
        around = min((best / 2, best, best * 2), key=loss_at)
        if around == best:
            return best
        best = around


def run_ours(name: str, base: TrainConfig, lr: float, seed: int) -> float:
    learner = Learner(dataclasses.replace(configure(name, base, lr), seed=seed))
    assert learner.config.data.valid is not None
    dataset = open_dataset(base, base.data.train)
    for step in range(base.num_steps):
        loss, norm = learner.gradients(dataset, step)
        if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
            return math.inf
        learner.update(step)
    return valid_loss(learner.model, base)


def configure(name: str, base: TrainConfig, lr: float) -> TrainConfig:
    warmup_steps = base.num_steps // 25
    if name == "textbook":
        return dataclasses.replace(
            base,
            optim=OptimConfig(lr=lr, betas=(0.9, 0.999), weight_decay=0.01),
            schedule=ScheduleConfig(warmup_steps=warmup_steps, min_lr_ratio=0.1),
            data=dataclasses.replace(base.data, order="random"),
        )
    return dataclasses.replace(
        base,
        model=dataclasses.replace(base.model, qk_norm=True, projection_init="zero"),
        optim=OptimConfig(lr=lr, algorithm="adamw" if name == "ours, AdamW" else "muon"),
        schedule=ScheduleConfig(shape="linear", warmup_steps=warmup_steps, min_lr_ratio=0.0),
    )


def run_nanogpt(base: TrainConfig, lr: float, seed: int, *, checkout: Path | None) -> float:
    torch.manual_seed(seed)
    shape = base.model
    model, optimizer = nanogpt_control.build(
        nanogpt_control.Shape(
            vocab_size=shape.vocab_size,
            context_length=shape.context_length,
            width=shape.d_model,
            num_layers=shape.num_layers,
            num_heads=shape.num_heads,
        ),
        lr=lr,
        device="cpu",
        checkout=checkout,
    )
    ids = np.load(base.data.train, mmap_mode="r")
    for step in range(base.num_steps):
        for group in optimizer.param_groups:
            group["lr"] = nanogpt_control.learning_rate(
                step, lr=lr, warmup_steps=base.num_steps // 25, num_steps=base.num_steps
            )
        inputs, targets = get_batch(ids, base.batch_size, shape.context_length)
        _, loss = model(inputs, targets)
        if not math.isfinite(loss.item()):
            return math.inf
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return valid_loss(_LogitsOnly(model), base)


class _LogitsOnly(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.model(ids, ids)[0]  # without targets nanoGPT gives the logits of the last position only


def valid_loss(model: nn.Module, base: TrainConfig) -> float:
    loss = evaluate(model, np.load(base.data.valid), batch_size=32, context_length=base.model.context_length).loss
    return loss if math.isfinite(loss) else math.inf


def table(results: dict[str, dict[str, Any]], bytes_per_token: float) -> list[str]:
    lines = ["| recipe | best rate | nats/token | bits/byte | over ours |", "|---|---|---|---|---|"]
    ours = statistics.mean(next(iter(results.values()))["losses"])
    for name, result in results.items():
        mean = statistics.mean(result["losses"])
        half = (max(result["losses"]) - min(result["losses"])) / 2
        bits = bits_per_byte(mean, bytes_per_token)
        lines.append(
            f"| {name} | {result['best_rate']:.1e} | {mean:.4f} ± {half:.4f} | {bits:.4f} | {mean - ours:+.4f} |"
        )
    return lines


def describe(base: TrainConfig, options: argparse.Namespace) -> str:
    shape = base.model
    return (
        f"{options.text.name}: {base.num_steps} steps of {base.batch_size} x {shape.context_length} = "
        f"{base.num_steps * base.tokens_per_step:,} tokens, vocabulary {shape.vocab_size}, {shape.num_layers} layers "
        f"of width {shape.d_model}, {options.seeds} seeds; held out: {options.valid.name}"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="UTF-8 text to learn from")
    parser.add_argument("--valid", type=Path, required=True, help="held-out text")
    parser.add_argument("--valid-tokens", type=int, default=50_000, help="tokens of it that are predicted")
    parser.add_argument("--tokens", type=int, default=131_072, help="tokens to train on")
    parser.add_argument("--vocab-size", type=int, default=1024)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=list(RECIPES))
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT, to run its own model and optimizer")
    parser.add_argument("--out", type=Path, help="a directory for the table and all figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
