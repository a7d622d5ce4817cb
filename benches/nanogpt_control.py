"""nanoGPT as a contender: a checkout's own model and optimizer, or a control of the same architecture and recipe.

The control is written anew from nanoGPT's published description:

GPT-2's block with learned positions, LayerNorm and GELU, no biases and no dropout (nanoGPT's defaults for training from
scratch), one table for embedding and head, N(0, 0.02) weights with residual projections smaller by sqrt(2 L), fused
attention; AdamW with betas (0.9, 0.95) and decay 0.1 on whatever has two dimensions, gradients clipped at 1, linear
warm-up and a cosine down to a tenth of the rate; windows drawn with replacement.

Either way the loop is that of its train.py: forward under autocast or not, the next batch fetched, backward, clipping,
the step.
"""

import contextlib
import importlib.util
import io
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cs336.data import get_batch


@dataclass(frozen=True)
class Shape:
    """Of a GPT."""

    vocab_size: int
    context_length: int
    width: int
    num_layers: int
    num_heads: int


class Block(nn.Module):
    """GPT-2's block."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_1, self.norm_2 = (nn.LayerNorm(width, bias=False) for _ in range(2))
        self.attention_in = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.mlp_in = nn.Linear(width, 4 * width, bias=False)
        self.mlp_out = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attention, then the MLP, each on a normalised copy of the residual stream."""
        batch, seq, width = x.shape
        query, key, value = (
            part.view(batch, seq, self.num_heads, -1).transpose(1, 2)
            for part in self.attention_in(self.norm_1(x)).split(width, dim=2)
        )
        heads = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.attention_out(heads.transpose(1, 2).contiguous().view(batch, seq, width))
        return x + self.mlp_out(F.gelu(self.mlp_in(self.norm_2(x))))


class GPT(nn.Module):
    """Ids in; logits and the loss out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, num_layers = shape.width, shape.num_layers
        self.tokens = nn.Embedding(shape.vocab_size, width)
        self.positions = nn.Embedding(shape.context_length, width)
        self.blocks = nn.ModuleList(Block(width, shape.num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, shape.vocab_size, bias=False)
        self.tokens.weight = self.head.weight
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                is_residual = name.endswith(("attention_out.weight", "mlp_out.weight"))
                std = 0.02 / math.sqrt(2 * num_layers) if is_residual else 0.02
                nn.init.normal_(parameter, std=std)

    def forward(self, ids: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the logits, and the mean loss if there are targets."""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        loss = None if targets is None else F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))
        return logits, loss


def build_optimizer(model: nn.Module, lr: float) -> torch.optim.AdamW:
    decayed = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    free = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": free, "weight_decay": 0.0}]
    is_fused = next(model.parameters()).is_cuda  # as shipped: fused on CUDA only
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=is_fused)


def learning_rate(step: int, *, lr: float, warmup_steps: int, num_steps: int) -> float:
    if step < warmup_steps:
        return lr * (step + 1) / (warmup_steps + 1)
    progress = min(1.0, (step - warmup_steps) / (num_steps - warmup_steps))
    return lr * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))


def real_model(checkout: Path, shape: Shape) -> Any:
    """The model of a checkout of nanoGPT."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", checkout / "model.py")
    if spec is None or spec.loader is None or not (checkout / "model.py").exists():
        raise SystemExit(f"{checkout} holds no model.py; give the directory of a nanoGPT checkout")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    config = module.GPTConfig(
        block_size=shape.context_length,
        vocab_size=shape.vocab_size,
        n_layer=shape.num_layers,
        n_head=shape.num_heads,
        n_embd=shape.width,
        dropout=0.0,
        bias=False,
    )
    return module.GPT(config)


def build(shape: Shape, *, lr: float, device: str, checkout: Path | None) -> tuple[Any, torch.optim.Optimizer]:
    """Return a model and its optimizer: nanoGPT's own from a checkout of it, or the control's."""
    if checkout is None:
        control = GPT(shape).to(device)
        return control, build_optimizer(control, lr)
    rates = {"weight_decay": 0.1, "learning_rate": lr, "betas": (0.9, 0.95)}
    with contextlib.redirect_stdout(io.StringIO()):  # it counts its parameters aloud
        model = real_model(checkout, shape).to(device)
        return model, model.configure_optimizers(**rates, device_type=device)


def prepare(
    ids_file: Path, shape: Shape, *, batch_size: int, device: str, is_fast: bool, checkout: Path | None
) -> tuple[Callable[[int], Tensor], dict[str, Any]]:
    """Return a training step, and what a table says about it.

    Args:
        ids_file: What to learn from.
        shape: Of the model.
        batch_size: Sequences a step.
        device: Where it trains.
        is_fast: bf16 under autocast, and compiled: how nanoGPT runs on a GPU, and on a CPU once it is patched.
        checkout: Of nanoGPT; without one the control takes its place.
    """
    torch.manual_seed(0)
    model, optimizer = build(shape, lr=1e-3, device=device, checkout=checkout)
    compiled = torch.compile(model) if is_fast else model
    torch.backends.cuda.matmul.allow_tf32 = True
    ids = np.load(ids_file, mmap_mode="r")
    context = torch.autocast(device, dtype=torch.bfloat16) if is_fast else contextlib.nullcontext()
    batch = get_batch(ids, batch_size, shape.context_length, device)

    def step(index: int) -> Tensor:
        nonlocal batch
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(index, lr=1e-3, warmup_steps=2, num_steps=1000)
        with context:
            _, loss = compiled(*batch)
        batch = get_batch(ids, batch_size, shape.context_length, device)  # prefetched, as it does
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    in_products = sum(
        weight.numel()
        for name, weight in model.named_parameters()
        if weight.ndim == 2 and not any(table in name for table in ("position", "wpe"))
    )
    scores = 12 * shape.num_layers * shape.context_length * shape.width
    facts = {
        "flops_per_token": 6.0 * in_products + scores,
        "precision": "bf16" if is_fast else "fp32",
        "micro_batch_size": batch_size,
        "num_parameters": sum(weight.numel() for weight in model.parameters()),
    }
    return step, facts
