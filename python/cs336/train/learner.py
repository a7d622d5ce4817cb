"""Model and optimizer, and the one thing done with them over and over: an optimizer step."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cs336.config import TrainConfig
from cs336.data import BatchStream, TokenDataset, fits_on, window_order
from cs336.model import TransformerLM
from cs336.optim import (
    AdamW,
    Muon,
    clip_gradients,
    cosine_schedule,
    linear_schedule,
    parameter_groups,
    wsd_schedule,
)
from cs336.tokenizer import Tokenizer
from cs336.train.device import (
    choose_device,
    choose_precision,
    cpu_threads,
    default_num_threads,
    keep_freed_memory,
)
from cs336.train.distributed import ALONE, Ranks
from cs336.train.objective import Objective
from cs336.train.parallel import gathering_gradients, is_sharded, replicate, shard, whole
from cs336.train.plan import is_out_of_memory, largest_divisor, plan_step, warn


class Learner:
    """A model on its way through the steps of a config; steps are counted from 0.

    Of several ranks each computes its rows of the same global batch, and all of them get the same gradients.

    Attributes:
        plan: How a step is carried out on this device; changes if memory runs out in the first one.
        on_notice: Told what a person should know; warns by default.

    Raises:
        ValueError: The config's device is not there, or its batch cannot be shared out among the ranks.
    """

    def __init__(self, config: TrainConfig, *, ranks: Ranks = ALONE) -> None:
        self.config = config
        self.ranks = ranks
        self.rows = ranks.share(config.batch_size)
        self.num_rows = self.rows.stop - self.rows.start
        self.device = choose_device(config.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.precision = choose_precision(config.precision, self.device)
        self.on_notice: Callable[[str], None] = warn
        self.plan = plan_step(config, self.device, precision=self.precision, num_rows=self.num_rows, ranks=ranks)
        self.model = TransformerLM(
            config.model,
            device=self.device,
            compute_dtype=torch.bfloat16 if self.precision == "bf16" else None,
            generator=torch.Generator().manual_seed(_derived_seed(config.seed)),
        )
        self.objective = Objective(self.model, chunk_size=self.plan.loss_chunk_size)
        if ranks.are_several and config.parallel == "fsdp":
            shard(self.objective, self.model, ranks)
        self.optimizer = self._build_optimizer()
        self._parallel: nn.Module = self.objective
        if ranks.are_several and not is_sharded(self.model):
            self._parallel = replicate(self.objective, self.device)
        self._compute_loss = self._build_loss()
        self._stream: tuple[TokenDataset, BatchStream] | None = None
        self._has_fitted = False

    @property
    def micro_batch_size(self) -> int:
        """Sequences worked off at a time."""
        return self.plan.micro_batch_size

    def _build_loss(self) -> Callable[..., Tensor]:
        if not self.plan.compiled:
            return self._parallel
        # a size is compiled for itself: there are one or two, and code for any size is slower
        mode = "reduce-overhead" if self.plan.cuda_graphs else None
        return torch.compile(self._parallel, mode=mode, dynamic=False)

    def _build_optimizer(self) -> AdamW:
        optim = self.config.optim
        is_muon = optim.algorithm == "muon"
        groups = parameter_groups(self.model.named_parameters(), with_muon=is_muon)
        # a compiled update cannot be traced through shares of parameters
        compiled = self.plan.compiled and not is_sharded(self.model)
        if is_muon:
            return Muon(
                groups,
                optim.lr,
                momentum=optim.momentum,
                betas=optim.betas,
                eps=optim.eps,
                weight_decay=optim.weight_decay,
                in_bf16=self.precision == "bf16",
                compiled=compiled,
            )
        return AdamW(
            groups,
            optim.lr,
            betas=optim.betas,
            eps=optim.eps,
            weight_decay=optim.weight_decay,
            foreach=True,
            compiled=compiled,
        )

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step: the first one already moves, the last one has the lowest."""
        schedule = self.config.schedule
        last_step = schedule.cosine_steps or self.config.num_steps
        rates = {"max_lr": self.config.optim.lr, "min_lr": self.config.optim.lr * schedule.min_lr_ratio}
        warmup_steps = schedule.warmup_steps
        match schedule.shape:
            case "cosine":
                return cosine_schedule(step + 1, **rates, warmup_steps=warmup_steps, cosine_steps=last_step)
            case "linear":
                return linear_schedule(step + 1, **rates, warmup_steps=warmup_steps, total_steps=last_step)
            case "wsd":
                start = max(warmup_steps, last_step - round(schedule.cooldown_ratio * last_step))
                return wsd_schedule(
                    step + 1, **rates, warmup_steps=warmup_steps, cooldown_start=start, total_steps=last_step
                )

    def batch(self, dataset: TokenDataset, step: int) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
        """Return a step's whole batch on the host: a function of seed and step alone, so nothing need be saved."""
        return self._open_stream(dataset, torch.device("cpu"), slice(None)).batch(step)

    def gradients(self, dataset: TokenDataset, step: int) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Compute a step's clipped gradients; return its loss and the norm before clipping, still on the device.

        The gradients and their norm are those of the whole batch, the loss is that of this rank's rows. If the first
        step finds no room in memory, it is tried again in smaller micro-batches, with a notice.
        """
        inputs, targets = self._own_stream(dataset).batch(step)
        if not self._has_fitted:
            self.optimizer.allocate()  # or the second step would need more memory than the first
        while True:
            try:
                loss = self._accumulate(inputs, targets)
                break
            except (RuntimeError, MemoryError) as error:
                if self._has_fitted or not is_out_of_memory(error):
                    raise
                self._require_smaller_micro_batch(error)
            self._halve_micro_batch()  # only here: the error's traceback holds on to what was computed
        self._has_fitted = True
        max_norm = self.config.optim.max_grad_norm
        norm = clip_gradients(self.model.parameters(), math.inf if max_norm is None else max_norm)
        return loss, whole(norm)

    def _accumulate(self, inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"]) -> Float[Tensor, ""]:
        """Add up the gradients of the micro-batches, each by its share of the rows."""
        size = self.micro_batch_size
        loss = torch.zeros((), device=self.device)
        parts = list(zip(torch.split(inputs, size), torch.split(targets, size), strict=True))
        for index, (part_inputs, part_targets) in enumerate(parts, start=1):
            with gathering_gradients(self._parallel, now=index == len(parts)):
                part = self._compute_loss(part_inputs, part_targets) * (len(part_inputs) / len(inputs))
                part.backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        return loss

    def _require_smaller_micro_batch(self, error: BaseException) -> None:
        if self.micro_batch_size == 1 or self.ranks.are_several:
            raise RuntimeError(
                f"out of memory with micro-batches of {self.micro_batch_size} sequences; "
                "set a smaller micro_batch_size, or a smaller model or context"
            ) from error

    def _halve_micro_batch(self) -> None:
        """Make room: forget what was begun, and take half as many sequences at a time."""
        earlier, size = self.plan, largest_divisor(self.num_rows, at_most=self.micro_batch_size // 2)
        self.plan = dataclasses.replace(earlier, micro_batch_size=size, cuda_graphs=False)
        if earlier.cuda_graphs:  # which keep the gradients of one micro-batch only
            self._compute_loss = self._build_loss()
        self.on_notice(
            f"out of memory with micro-batches of {earlier.micro_batch_size} sequences: going on with {size}; "
            f"set micro_batch_size={size} to begin there"
        )
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _own_stream(self, dataset: TokenDataset) -> BatchStream:
        if self._stream is None or self._stream[0] is not dataset:
            self._stream = dataset, self._open_stream(dataset, self.device, self.rows)
        return self._stream[1]

    def _open_stream(self, dataset: TokenDataset, device: torch.device, rows: slice) -> BatchStream:
        context_length = self.config.model.context_length
        order = window_order(self.config.data.order, len(dataset), context_length, seed=self.config.seed)
        placement = self.config.data.placement
        is_resident = device == self.device and (
            placement == "device" or (placement == "auto" and fits_on(device, dataset.ids.nbytes))
        )
        return BatchStream(
            dataset,
            order,
            batch_size=self.config.batch_size,
            context_length=context_length,
            device=device,
            rows=rows,
            is_resident=is_resident,
        )

    def update(self, step: int) -> None:
        """Move the weights along the gradients, at the step's learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


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


def measure_tokens_per_s(
    config: TrainConfig,
    *,
    num_steps: int = 8,
    num_warmup_steps: int = 3,
    time_limit_s: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the training speed of a config on this machine, from steps whose outcome is thrown away.

    Args:
        config: The run.
        num_steps: Steps that count.
        num_warmup_steps: Steps before them, which pay for the first allocations; if no other was taken, the fastest of
            them counts.
        time_limit_s: No step begins once so much time has gone by; one is always taken. A compiled step's first call,
            which nothing can cut short, stands before this time and never counts.
        clock: Seconds of any origin.

    Raises:
        OSError: The token file cannot be read.
        ValueError: It does not fit the model.
    """
    with cpu_threads(config.num_threads or default_num_threads()):
        learner = Learner(config)
        dataset = open_dataset(config, config.data.train)

        def timed(step: int) -> float:
            begin = clock()
            loss, _ = learner.gradients(dataset, step)
            learner.update(step)
            loss.item()  # waits for the device
            return clock() - begin

        if learner.plan.compiled:
            timed(0)
        deadline = clock() + time_limit_s
        steps_s = [timed(0)]
        while len(steps_s) < num_warmup_steps + num_steps and clock() < deadline:
            steps_s.append(timed(len(steps_s)))
    counted_s = steps_s[num_warmup_steps:] or [min(steps_s)]
    return len(counted_s) * config.tokens_per_step / math.fsum(counted_s)


def _derived_seed(*key: int) -> int:
    """Return a seed for a use of its own; neighbouring keys give unrelated streams."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
