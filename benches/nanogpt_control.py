"""A control: nanoGPT's architecture, recipe and loop, written anew from its published description.

GPT-2's block with learned positions, LayerNorm and GELU, no biases and no dropout (nanoGPT's defaults for training from
scratch), one table for embedding and head, N(0, 0.02) weights with residual projections smaller by sqrt(2 L), fused
attention; AdamW with betas (0.9, 0.95) and decay 0.1 on whatever has two dimensions, gradients clipped at 1, linear
warm-up and a cosine down to a tenth of the rate; windows drawn with replacement.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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

    def __init__(self, *, vocab_size: int, context_length: int, width: int, num_layers: int, num_heads: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(context_length, width)
        self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, vocab_size, bias=False)
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
