"""A training step's speed: ours lever by lever, beside nanoGPT's and a textbook's, in one run.

    python benches/train_step.py                     # the base model, 16 x 256 tokens a step, on this machine's CPU
    python benches/train_step.py --preset h200       # both models of the targets, 128 x 256 tokens, on one GPU
    python benches/train_step.py --preset tiny       # seconds, to see that everything runs
    python benches/train_step.py --nanogpt PATH      # nanoGPT itself, from a checkout, in place of our control of it
    python benches/train_step.py --repeats 3         # all in turn, three times: where the machine's speed wanders

Each contender trains in a process of its own, all on the same ids. Ours and the textbook's start from the same weights
and read the same batches, and their losses are compared before any time is reported: a lever may change speed and
memory, and the loss by rounding only. nanoGPT's model is another one of the same shape (see nanogpt_control.py; or give
`--nanogpt PATH` of a checkout and its own model.py is run): its first loss must be that of a uniform guess, and it must
fall.

    tokens/s = num_steps * batch_size * context_length / seconds        the median of several rounds
    FLOP/token = 3 * forward FLOPs (cs336.accounting)                   backward counts twice, recomputation nothing
    MFU = tokens/s * FLOP/token / peak                                  peak: cs336.accounting.devices, this very card's
"""

import argparse
import dataclasses
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nanogpt_control
import numpy as np
import products
import side_by_side
import torch

from cs336.accounting import count_parameters, recognise_device, training_flops_per_token
from cs336.config import DataConfig, OptimConfig, ScheduleConfig, TrainConfig
from cs336.model import ModelConfig
from cs336.optim import AdamW
from cs336.train.device import cpu_threads, default_num_threads
from cs336.train.learner import Learner, open_dataset

LOG_EVERY = 10  # as nanoGPT: the loss is read off the device at every tenth step


@dataclass(frozen=True)
class Preset:
    """A shape, and how long to measure it."""

    vocab_size: int
    batch_size: int
    device: str
    num_layers: int = 4
    num_heads: int = 16
    d_model: int = 512
    d_ff: int = 1344
    context_length: int = 256
    num_rounds: int = 3
    num_steps: int = 1
    target: float | None = None


PRESETS = {
    "cpu": [Preset(10_048, 16, "cpu")],
    "h200": [
        Preset(10_000, 128, "cuda", num_rounds=5, num_steps=40, target=2.0e6),
        Preset(32_000, 128, "cuda", num_rounds=5, num_steps=40, target=1.3e6),
    ],
    "tiny": [Preset(211, 4, "cpu", num_layers=1, num_heads=2, d_model=32, d_ff=64, context_length=16)],
}
TEXTBOOK: dict[str, Any] = {"precision": "fp32", "compile": False, "loss_chunk_size": None}
# Each line adds to those above it.
LEVERS: dict[str, dict[str, Any]] = {
    "foreach AdamW, fused attention": {"attention": "sdpa"},
    "+ bf16 over fp32 weights": {"precision": "bf16"},
    "+ loss in chunks": {"loss_chunk_size": "auto"},
    "+ compiled step and optimizer": {"compile": True},
}
PRODUCTS = "the matrix products of a step, alone"
NANOGPT = {"nanoGPT as shipped": False, "nanoGPT patched: bf16, compiled": True}


def contenders(options: argparse.Namespace, preset: Preset) -> list[str]:
    names = ["textbook", *LEVERS]
    if preset.device == "cuda":
        names += ["+ CUDA graphs", "nanoGPT as shipped"]  # on a GPU it is bf16 and compiled as it is
    else:
        names += NANOGPT
    names.append(PRODUCTS)
    return [name for name in names if options.only is None or any(word in name for word in options.only)]


def main() -> None:
    options = arguments()
    if options.worker is not None:
        work(options)
        return
    for index, preset in enumerate(PRESETS[options.preset]):
        if preset.device == "cuda" and not (torch.cuda.is_available() or options.device == "cpu"):
            raise SystemExit("this preset needs a CUDA GPU, and there is none; --device cpu tries it out, slowly")
        with tempfile.TemporaryDirectory() as workdir:
            write_ids(Path(workdir) / "ids.npy", preset)
            runs: dict[str, dict[str, Any]] = {}
            for _ in range(options.repeats):
                for name in contenders(options, preset):
                    runs[name] = joined(runs.get(name), run(name, index, workdir))
        compare_losses(runs, preset)
        report(runs, preset, options)


def run(name: str, index: int, workdir: str) -> dict[str, Any]:
    print(f"running: {name}", file=sys.stderr)
    command = [sys.executable, __file__, *sys.argv[1:], "--worker", name, "--index", str(index), "--workdir", workdir]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        return {"failed": f"exit code {result.returncode}"}
    return json.loads(result.stdout.splitlines()[-1])


def joined(earlier: dict[str, Any] | None, later: dict[str, Any]) -> dict[str, Any]:
    """Put what a contender measured in another turn beside what it measured before.

    Raises:
        SystemExit: It learned something else this time.
    """
    if earlier is None or "failed" in earlier or "failed" in later:
        return later if earlier is None or "failed" in later else earlier
    if "seconds" not in later:  # the products
        return {
            **later,
            "flops_per_s": {key: max(rate, earlier["flops_per_s"][key]) for key, rate in later["flops_per_s"].items()},
        }
    tolerance = 1e-2 if later["precision"] == "bf16" else 1e-3
    if not np.allclose(later["losses"], earlier["losses"], rtol=tolerance, atol=0):
        raise SystemExit(f"a contender has other losses in another turn: {later['losses']} and {earlier['losses']}")
    peak_bytes = max(earlier["peak_bytes"], later["peak_bytes"])
    return {**later, "seconds": earlier["seconds"] + later["seconds"], "peak_bytes": peak_bytes}


def write_ids(path: Path, preset: Preset) -> None:
    """Ids with the frequencies of words (Zipf), so that there is something to learn."""
    ranks = np.random.default_rng(0).zipf(1.2, 400_000) - 1
    np.save(path, (ranks % preset.vocab_size).astype(np.uint16))


def work(options: argparse.Namespace) -> None:
    """One contender in its own process: prints losses, times and memory as JSON."""
    preset = PRESETS[options.preset][options.index]
    device = options.device or preset.device
    threads = options.threads or default_num_threads()
    if options.worker == PRODUCTS:
        with cpu_threads(threads):
            print(json.dumps({"flops_per_s": measure_products(preset, device), "threads": threads}))
        return
    with cpu_threads(threads):
        prepare = prepare_nanogpt if options.worker.startswith("nanoGPT") else prepare_ours
        step, facts = prepare(options, preset, device)
        losses, seconds = measure(step, preset, device)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else side_by_side.peak_bytes()
    print(json.dumps({"losses": losses, "seconds": seconds, "peak_bytes": peak, "threads": threads, **facts}))


def measure(step: Callable[[int], torch.Tensor], preset: Preset, device: str) -> tuple[list[float], list[float]]:
    """Return the losses of the first steps, and the seconds of each round of the later ones."""
    losses = [step(index).item() for index in range(3)]  # these compile and allocate
    seconds = []
    index = len(losses)
    for _ in range(preset.num_rounds):
        synchronise(device)
        begin = time.perf_counter()
        for _ in range(preset.num_steps):
            loss = step(index)
            index += 1
            if index % LOG_EVERY == 0:
                loss.item()
        synchronise(device)
        seconds.append(time.perf_counter() - begin)
    return [*losses, loss.item()], seconds


def measure_products(preset: Preset, device: str) -> dict[str, float]:
    """Return FLOP/s by precision, of all products but those of attention."""
    d, d_ff, num_layers = preset.d_model, preset.d_ff, preset.num_layers
    shapes = {(d, d): 4 * num_layers, (d, d_ff): 2 * num_layers, (d_ff, d): num_layers, (d, preset.vocab_size): 1}
    num_rows = preset.batch_size * preset.context_length
    return {
        precision: products.product_flops_per_s(shapes, num_rows=num_rows, device=device, dtype=dtype)
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def prepare_ours(
    options: argparse.Namespace, preset: Preset, device: str
) -> tuple[Callable[[int], torch.Tensor], dict[str, Any]]:
    settings: dict[str, Any] = dict(TEXTBOOK)
    is_textbook = options.worker == "textbook"
    for name, lever in ({} if is_textbook else {**LEVERS, "+ CUDA graphs": {"cuda_graphs": True}}).items():
        settings.setdefault("cuda_graphs", False)
        settings |= lever
        if name == options.worker:
            break
    model = ModelConfig(
        attention=settings.pop("attention", "plain"),
        **{
            field: getattr(preset, field)
            for field in ("vocab_size", "context_length", "d_model", "num_layers", "num_heads", "d_ff")
        },
    )
    config = TrainConfig(
        data=DataConfig(train=str(Path(options.workdir) / "ids.npy")),
        model=model,
        optim=OptimConfig(lr=1e-3),
        schedule=ScheduleConfig(warmup_steps=2),
        batch_size=preset.batch_size,
        micro_batch_size=options.micro_batch or (preset.batch_size if is_textbook else None),
        steps=1000,
        device=device,
        **settings,
    )
    learner = Learner(config)
    if is_textbook:
        groups = [{key: group[key] for key in ("params", "weight_decay")} for group in learner.optimizer.param_groups]
        learner.optimizer = AdamW(groups, betas=config.optim.betas, eps=config.optim.eps)
    dataset = open_dataset(config, config.data.train)

    def step(index: int) -> torch.Tensor:
        loss, _ = learner.gradients(dataset, index)
        if is_textbook:
            loss.item()  # at every step, before the update
        learner.update(index)
        return loss

    facts = {
        "flops_per_token": training_flops_per_token(model),
        "precision": learner.precision,
        "micro_batch_size": learner.micro_batch_size,
        "num_parameters": count_parameters(model).total,
    }
    return step, facts


def prepare_nanogpt(
    options: argparse.Namespace, preset: Preset, device: str
) -> tuple[Callable[[int], torch.Tensor], dict[str, Any]]:
    return nanogpt_control.prepare(
        Path(options.workdir) / "ids.npy",
        nanogpt_control.Shape(
            **{name: getattr(preset, name) for name in ("vocab_size", "context_length", "num_layers", "num_heads")},
            width=preset.d_model,
        ),
        batch_size=preset.batch_size,
        device=device,
        is_fast=device == "cuda" or NANOGPT[options.worker],
        checkout=options.nanogpt,
    )


def compare_losses(runs: dict[str, dict[str, Any]], preset: Preset) -> None:
    """Stop unless ours all learn the same as the textbook's, and nanoGPT's learns at all.

    Raises:
        SystemExit: They do not.
    """
    reference = runs.get("textbook", {}).get("losses")
    for name, result in runs.items():
        if "failed" in result or name == PRODUCTS:
            continue
        losses = result["losses"]
        if name.startswith("nanoGPT"):
            uniform = math.log(preset.vocab_size)
            if not (abs(losses[0] - uniform) < 0.05 * uniform and losses[-1] < losses[0]):
                raise SystemExit(f"{name} does not learn: {losses}, where a uniform guess loses {uniform:.3f}")
            continue
        tolerance = 1e-2 if result["precision"] == "bf16" else 1e-3
        if reference is not None and not np.allclose(losses, reference, rtol=tolerance, atol=0):
            raise SystemExit(f"{name} has other losses than the textbook: {losses} and {reference}")
    if reference is not None:
        print("losses compared: ours equal the textbook's within rounding", file=sys.stderr)


def report(runs: dict[str, dict[str, Any]], preset: Preset, options: argparse.Namespace) -> None:
    device = options.device or preset.device
    name_of_device = torch.cuda.get_device_name() if device == "cuda" else processor()
    text = "\n".join(table(runs, preset, options, name_of_device))
    print(f"\n{text}")
    if options.out is None:
        return
    options.out.mkdir(parents=True, exist_ok=True)
    name = f"train_step_{device}_{preset.vocab_size}"
    (options.out / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    figures = {"preset": dataclasses.asdict(preset), "device": name_of_device, "runs": runs}
    (options.out / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"written: {options.out / name}.md, .json", file=sys.stderr)


def table(
    runs: dict[str, dict[str, Any]], preset: Preset, options: argparse.Namespace, name_of_device: str
) -> Iterator[str]:
    device = options.device or preset.device
    num_tokens = preset.num_steps * preset.batch_size * preset.context_length
    card = recognise_device(name_of_device) if device == "cuda" else None
    whole = {name: result for name, result in runs.items() if "failed" not in result}
    threads = next((result["threads"] for result in whole.values()), "no")
    yield (
        f"{preset.num_layers} layers, width {preset.d_model}, {preset.num_heads} heads, "
        f"vocabulary {preset.vocab_size}; {preset.batch_size} x {preset.context_length} tokens a step; "
        f"{name_of_device}, {threads} threads, torch {torch.__version__}, Python {platform.python_version()}; "
        f"median (min-max) of {options.repeats} x {preset.num_rounds} rounds of {preset.num_steps} steps"
    )
    yield ""
    yield "| contender | tokens/s | TFLOP/s | MFU | peak MB | last loss | times the lever before | times the first |"
    yield "|---|---|---|---|---|---|---|---|"
    base: float | None = None
    before: float | None = None  # the rate without the last lever; nanoGPT is no lever
    for name, result in runs.items():
        if name == PRODUCTS or name not in whole:
            continue
        rates = [num_tokens / seconds for seconds in result["seconds"]]
        rate = statistics.median(rates)
        base = base or rate
        flops = rate * result["flops_per_token"]
        mfu = f"{flops / card.peak_flops(result['precision']):.1%}" if card is not None else "peak not known"
        is_lever = not name.startswith("nanoGPT")
        gain = f"{rate / before:.2f}" if before is not None and is_lever else ""
        before = rate if is_lever else before
        yield (
            f"| {name} | {rate:,.0f} ({min(rates):,.0f}-{max(rates):,.0f}) | {flops / 1e12:.3f} | {mfu} "
            f"| {result['peak_bytes'] / 1e6:,.0f} | {result['losses'][-1]:.4f} | {gain} | {rate / base:.2f} |"
        )
    yield from (f"| {name} | {runs[name]['failed']} | | | | | | |" for name in runs.keys() - whole.keys())
    yield ""
    if PRODUCTS in whole:
        rates_of = whole[PRODUCTS]["flops_per_s"]
        in_words = ", ".join(f"{rate / 1e12:.3f} TFLOP/s in {precision}" for precision, rate in rates_of.items())
        yield f"{PRODUCTS}: {in_words}"
    if preset.target is not None:
        yield f"target on one H200: {preset.target:,.0f} tokens/s"


def processor() -> str:
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())
    return platform.processor() or platform.machine()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=list(PRESETS), default="cpu")
    parser.add_argument("--only", nargs="*", help="contenders whose name holds one of these words")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="instead of the preset's")
    parser.add_argument("--repeats", type=int, default=1, help="turns that each contender has, each in a new process")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--micro-batch", type=int, help="sequences worked off at a time, for all of ours")
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT, to run its own model.py")
    parser.add_argument("--out", type=Path, help="a directory for the tables and all figures")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--index", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--workdir", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(default_num_threads()))
    main()
