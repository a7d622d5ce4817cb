"""Model and optimizer, and the one thing done with them over and over: an optimizer step."""

import contextlib
import math
import time
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cs336.config import TrainConfig
from cs336.data import TokenDataset, get_batch
from cs336.model import TransformerLM
from cs336.optim import AdamW, clip_gradients, cosine_schedule
from cs336.tokenizer import Tokenizer
from cs336.train.device import choose_device, choose_precision, cpu_threads, default_num_threads
from cs336.train.loss import cross_entropy


class Learner:
    """A model on its way through the steps of a config; steps are counted from 0.

    Raises:
        ValueError: The config's device is not there.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.device = choose_device(config.device)
        self.precision = choose_precision(config.precision, self.device)
        generator = torch.Generator().manual_seed(_derived_seed(config.seed))
        self.model = TransformerLM(config.model, device=self.device, generator=generator)
        self.optimizer = AdamW(
            self.model.parameters(),
            config.optim.lr,
            betas=config.optim.betas,
            eps=config.optim.eps,
            weight_decay=config.optim.weight_decay,
            foreach=True,
        )
        self._compute_loss = torch.compile(self._loss) if config.compile else self._loss

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return the context in which this run's matrix products are computed."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step: the first one already moves, the last one has the lowest."""
        lr, schedule = self.config.optim.lr, self.config.schedule
        return cosine_schedule(
            step + 1,
            max_lr=lr,
            min_lr=lr * schedule.min_lr_ratio,
            warmup_steps=schedule.warmup_steps,
            cosine_steps=schedule.cosine_steps or self.config.num_steps,
        )

    def batch(self, dataset: TokenDataset, step: int) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
        """Return inputs and targets of a step: a function of seed and step alone, so nothing random needs saving."""
        generator = torch.Generator().manual_seed(_derived_seed(self.config.seed, step))
        context_length = self.config.model.context_length
        return get_batch(dataset, self.config.batch_size, context_length, self.device, generator=generator)

    def gradients(self, dataset: TokenDataset, step: int) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Compute a step's clipped gradients; return its loss and the norm before clipping, still on the device."""
        inputs, targets = self.batch(dataset, step)
        num_parts = self.config.accumulation
        loss = torch.zeros((), device=self.device)
        for part_inputs, part_targets in zip(inputs.chunk(num_parts), targets.chunk(num_parts), strict=True):
            with self.autocast():
                part = self._compute_loss(part_inputs, part_targets) / num_parts
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        max_norm = self.config.optim.max_grad_norm
        return loss, clip_gradients(self.model.parameters(), math.inf if max_norm is None else max_norm)

    def update(self, step: int) -> None:
        """Move the weights along the gradients, at the step's learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _loss(self, inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"]) -> Float[Tensor, ""]:
        return cross_entropy(self.model(inputs), targets)


def open_dataset(
    config: TrainConfig, path: str, *, split: Literal["train", "valid"] = "train", tokenizer: Tokenizer | None = None
) -> TokenDataset:
    """Open a token file, or a split of a corpus, and check that the config's model can learn from it.

    Raises:
        OSError: The file cannot be read.
        ValueError: An id lies outside the model's vocabulary, the corpus was made by another tokenizer, or the file is
            shorter than one sequence.
    """
    dataset = TokenDataset.open(
        path,
        vocab_size=config.model.vocab_size,
        split=split,
        tokenizer_sha256=None if tokenizer is None else tokenizer.sha256,
        eos_id=None if tokenizer is None else tokenizer.eos_id,
    )
    if len(dataset) <= config.model.context_length:
        raise ValueError(
            f"{path} must hold more than model.context_length = {config.model.context_length} ids, got {len(dataset)}; "
            "use more text or a shorter context"
        )
    return dataset


def measure_tokens_per_s(config: TrainConfig, *, num_steps: int = 8, num_warmup_steps: int = 3) -> float:
    """Return the training speed of a config on this machine, from steps whose outcome is thrown away.

    The warm-up steps are not counted: they pay for compilation and for the first allocations.
    """
    with cpu_threads(config.num_threads or default_num_threads()):
        learner = Learner(config)
        dataset = open_dataset(config, config.data.train)
        for step in range(num_warmup_steps + num_steps):
            if step == num_warmup_steps:
                begin = time.perf_counter()
            loss, _ = learner.gradients(dataset, step)
            learner.update(step)
            loss.item()  # waits for the device
        return num_steps * config.tokens_per_step / (time.perf_counter() - begin)


def _derived_seed(*key: int) -> int:
    """Return a seed for a use of its own; neighbouring keys give unrelated streams."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
