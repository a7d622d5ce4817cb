"""A training step's speed: ours lever by lever, beside nanoGPT's and a textbook's, in one run.

    python benches/train_step.py                     # the base model, 16 x 256 tokens a step, on this machine's CPU
    python benches/train_step.py --preset h200       # both models of the targets, 128 x 256 tokens, on one GPU
    python benches/train_step.py --preset tiny       # seconds, to see that everything runs

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
import importlib.util
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import side_by_side
import torch

from cs336.accounting import count_parameters, recognise_device, training_flops_per_token
from cs336.config import DataConfig, OptimConfig, ScheduleConfig, TrainConfig
from cs336.data import get_batch
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
    "+ loss in chunks": {"loss_chunk_size": 1024},
    "+ compiled step and optimizer": {"compile": True},
}
NANOGPT = {"nanoGPT as shipped": False, "nanoGPT patched: bf16, compiled": True}


def contenders(options: argparse.Namespace, preset: Preset) -> list[str]:
    names = ["textbook", *LEVERS]
    if preset.device == "cuda":
        names += ["+ CUDA graphs", "nanoGPT as shipped"]  # on a GPU it is bf16 and compiled as it is
    else:
        names += NANOGPT
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
            runs = {name: run(name, index, workdir) for name in contenders(options, preset)}
        compare_losses(runs, preset)
        report(runs, preset, options)


def run(name: str, index: int, workdir: str) -> dict[str, Any]:
    print(f"running: {name}", file=sys.stderr)
    command = [sys.executable, __file__, *sys.argv[1:], "--worker", name, "--index", str(index), "--workdir", workdir]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        return {"failed": f"exit code {result.returncode}"}
    return json.loads(result.stdout.splitlines()[-1])


def write_ids(path: Path, preset: Preset) -> None:
    """Ids with the frequencies of words (Zipf), so that there is something to learn."""
    ranks = np.random.default_rng(0).zipf(1.2, 400_000) - 1
    np.save(path, (ranks % preset.vocab_size).astype(np.uint16))


def work(options: argparse.Namespace) -> None:
    """One contender in its own process: prints losses, times and memory as JSON."""
    preset = PRESETS[options.preset][options.index]
    device = options.device or preset.device
    threads = options.threads or default_num_threads()
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
    import contextlib

    import nanogpt_control

    torch.manual_seed(0)
    is_fast = device == "cuda" or NANOGPT[options.worker]
    if options.nanogpt is None:
        model = nanogpt_control.GPT(
            vocab_size=preset.vocab_size,
            context_length=preset.context_length,
            width=preset.d_model,
            num_layers=preset.num_layers,
            num_heads=preset.num_heads,
        )
    else:
        model = real_nanogpt(options.nanogpt, preset)
    model.to(device)
    optimizer = nanogpt_control.build_optimizer(model, 1e-3)
    compiled = torch.compile(model) if is_fast else model
    torch.backends.cuda.matmul.allow_tf32 = True
    ids = np.load(Path(options.workdir) / "ids.npy", mmap_mode="r")
    context = torch.autocast(device, dtype=torch.bfloat16) if is_fast else contextlib.nullcontext()
    batch = get_batch(ids, preset.batch_size, preset.context_length, device)

    def step(index: int) -> torch.Tensor:
        nonlocal batch
        for group in optimizer.param_groups:
            group["lr"] = nanogpt_control.learning_rate(index, lr=1e-3, warmup_steps=2, num_steps=1000)
        with context:
            _, loss = compiled(*batch)
        batch = get_batch(ids, preset.batch_size, preset.context_length, device)  # prefetched, as it does
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    in_products = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "position" not in name)
    scores = 12 * preset.num_layers * preset.context_length * preset.d_model
    facts = {
        "flops_per_token": 6.0 * in_products + scores,
        "precision": "bf16" if is_fast else "fp32",
        "micro_batch_size": preset.batch_size,
        "num_parameters": sum(p.numel() for p in model.parameters()),
    }
    return step, facts


def real_nanogpt(path: Path, preset: Preset) -> torch.nn.Module:
    """The model of a checkout of nanoGPT."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", path / "model.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} holds no model.py; give the directory of a nanoGPT checkout")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    config = module.GPTConfig(
        block_size=preset.context_length,
        vocab_size=preset.vocab_size,
        n_layer=preset.num_layers,
        n_head=preset.num_heads,
        n_embd=preset.d_model,
        dropout=0.0,
        bias=False,
    )
    return module.GPT(config)


def compare_losses(runs: dict[str, dict[str, Any]], preset: Preset) -> None:
    """Stop unless ours all learn the same as the textbook's, and nanoGPT's learns at all.

    Raises:
        SystemExit: They do not.
    """
    reference = runs.get("textbook", {}).get("losses")
    for name, result in runs.items():
        if "failed" in result:
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
    num_tokens = preset.num_steps * preset.batch_size * preset.context_length
    device = options.device or preset.device
    card = recognise_device(torch.cuda.get_device_name()) if device == "cuda" else None
    name_of_device = torch.cuda.get_device_name() if device == "cuda" else processor()
    threads = next(iter(runs.values())).get("threads")
    print(
        f"\n{preset.num_layers} layers, width {preset.d_model}, {preset.num_heads} heads, "
        f"vocabulary {preset.vocab_size}; {preset.batch_size} x {preset.context_length} tokens a step; "
        f"{name_of_device}, {threads} threads, torch {torch.__version__}, Python {platform.python_version()}; "
        f"median (min-max) of {preset.num_rounds} rounds of {preset.num_steps} steps\n"
    )
    print("| contender | tokens/s | TFLOP/s | MFU | peak MB | loss after the last step | times the textbook |")
    print("|---|---|---|---|---|---|---|")
    base: float | None = None
    for name, result in runs.items():
        if "failed" in result:
            print(f"| {name} | {result['failed']} | | | | | |")
            continue
        rates = [num_tokens / seconds for seconds in result["seconds"]]
        rate = statistics.median(rates)
        base = base or rate
        flops = rate * result["flops_per_token"]
        mfu = f"{flops / card.peak_flops(result['precision']):.1%}" if card is not None else "peak not known"
        print(
            f"| {name} | {rate:,.0f} ({min(rates):,.0f}-{max(rates):,.0f}) | {flops / 1e12:.3f} | {mfu} "
            f"| {result['peak_bytes'] / 1e6:,.0f} | {result['losses'][-1]:.4f} | {rate / base:.2f} |"
        )
    if preset.target is not None:
        print(f"\ntarget on one H200: {preset.target:,.0f} tokens/s")
    if options.json is not None:
        known = json.loads(options.json.read_text()) if options.json.exists() else []
        known.append({"preset": dataclasses.asdict(preset), "device": name_of_device, "runs": runs})
        options.json.write_text(json.dumps(known, indent=1))


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
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--micro-batch", type=int, help="sequences worked off at a time, for all of ours")
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT, to run its own model.py")
    parser.add_argument("--json", type=Path, help="a list to which all figures are added")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--index", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--workdir", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(default_num_threads()))
    main()
