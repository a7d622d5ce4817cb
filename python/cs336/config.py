"""What a training run is made of: the stages' configs composed, read from TOML, overridden, written back.

`TrainConfig` is the whole of it. A run is reproduced by its config and its input files alone, so every run
directory holds one as `config.toml`. Paths in a config are relative to the working directory.
"""

import math
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cs336.model import ModelConfig
from cs336.settings import Reader, changed_keys, check_choices, from_dict, lay_over, read_toml, to_dict, to_toml

__all__ = [
    "DataConfig",
    "OptimConfig",
    "ScheduleConfig",
    "TrainConfig",
    "changed_keys",
    "from_dict",
    "load_config",
    "load_model_config",
    "to_dict",
    "to_toml",
]


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """The optimizer and gradient clipping. Matrices decay, the gains of norms do not.

    Attributes:
        algorithm: adamw, or muon for the blocks' matrices beside AdamW for the rest, at the same rate.
        lr: highest learning rate of the schedule.
        betas: decay rates of the first and second moment.
        eps: added to the root of the second moment.
        weight_decay: decoupled decay per unit of learning rate.
        momentum: decay rate of Muon's momentum.
        max_grad_norm: gradients are scaled down to this global L2 norm; None leaves them as they are.
    """

    algorithm: Literal["adamw", "muon"] = "adamw"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    momentum: float = 0.95
    max_grad_norm: float | None = 1.0

    def __post_init__(self) -> None:
        check_choices(self, prefix="optim.")
        _require(0 < self.lr < math.inf, "optim.lr must be positive and finite", self.lr)
        _require(all(0 <= b < 1 for b in self.betas), "optim.betas must lie in [0, 1)", self.betas)
        _require(0 < self.eps < math.inf, "optim.eps must be positive and finite", self.eps)
        _require(
            0 <= self.weight_decay < math.inf, "optim.weight_decay must be finite and not negative", self.weight_decay
        )
        _require(0 <= self.momentum < 1, "optim.momentum must lie in [0, 1)", self.momentum)
        if self.max_grad_norm is not None:
            _require(self.max_grad_norm > 0, "optim.max_grad_norm must be positive or none", self.max_grad_norm)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Linear warm-up, then from `optim.lr` down to `min_lr_ratio * optim.lr`.

    Attributes:
        shape: the way down: a cosine, a straight line, or wsd: stay at the top, then a straight line.
        warmup_steps: steps of the warm-up; 0 starts at the full rate.
        min_lr_ratio: the last rate as a share of the highest.
        cooldown_ratio: share of the run in which wsd goes down.
        cosine_steps: step at which the last rate is reached; None means the last step of the run.
    """

    shape: Literal["cosine", "linear", "wsd"] = "cosine"
    warmup_steps: int = 0
    min_lr_ratio: float = 0.1
    cooldown_ratio: float = 0.2
    cosine_steps: int | None = None

    def __post_init__(self) -> None:
        check_choices(self, prefix="schedule.")
        _require(self.warmup_steps >= 0, "schedule.warmup_steps must not be negative", self.warmup_steps)
        _require(0 <= self.min_lr_ratio <= 1, "schedule.min_lr_ratio must lie in [0, 1]", self.min_lr_ratio)
        _require(0 < self.cooldown_ratio <= 1, "schedule.cooldown_ratio must lie in (0, 1]", self.cooldown_ratio)
        if self.cosine_steps is not None:
            _require(
                self.cosine_steps > self.warmup_steps,
                f"schedule.cosine_steps must exceed schedule.warmup_steps = {self.warmup_steps}",
                self.cosine_steps,
            )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The token files.

    Attributes:
        train: `.npy` file of training ids, as `cs336 tokenizer encode` writes it, or the directory of a corpus.
        valid: held-out `.npy` file, or a corpus with held-out documents (it may be the same one), read whole at each
            evaluation; None trains without validation.
        tokenizer: the `tokenizer.json` that made the ids; needed for samples and for bits per byte.
        order: permuted reads every window once an epoch, random draws windows with replacement.
        placement: where the training ids are kept: device, host (batches are prefetched), or auto: device if they fit.
    """

    train: str
    valid: str | None = None
    tokenizer: str | None = None
    order: Literal["permuted", "random"] = "permuted"
    placement: Literal["auto", "device", "host"] = "auto"

    def __post_init__(self) -> None:
        check_choices(self, prefix="data.")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole training run.

    Attributes:
        data: token files and tokenizer.
        model: shape of the model.
        optim: optimizer.
        schedule: learning rate over the steps.
        run_dir: directory of the run; everything it writes is in there.
        batch_size: sequences of `model.context_length` tokens in one optimizer step.
        micro_batch_size: sequences worked off at a time; changes memory, not the batch. None: what suits the device.
        loss_chunk_size: positions whose logits are in memory at a time; none takes all at once, auto what suits the
            device. The loss is the same.
        steps: optimizer steps; give either this or `tokens`.
        tokens: training tokens, rounded up to whole steps.
        eval_every: steps between validations over the whole held-out file; the last step is always validated.
        eval_batch_size: sequences per validation batch; None means as many as in training.
        checkpoint_every: steps between checkpoints; the last step always gets one.
        keep_checkpoints: how many of the latest checkpoints stay; the best one stays as well.
        permanent_every: checkpoints at multiples of this many steps stay for good; None lets all but those pass.
        log_every: steps between records of the training loss (their mean is recorded).
        sample_every: steps between samples; None takes none.
        sample_prompts: prompts that are continued at each sample.
        sample_tokens: new tokens in a sample.
        sample_temperature: temperature of the samples.
        seed: determines the initial weights and all batches.
        device: auto takes a CUDA GPU if there is one.
        precision: fp32, or bf16: activations and products in bf16, weights, gradients, norms, softmax and optimizer in
            fp32; auto takes bf16 where the device computes in it.
        compile: compile forward, loss, backward and the optimizer; None does so where the run is long enough.
        cuda_graphs: launch the compiled kernels as one graph; None does so for small micro-batches on one GPU.
        parallel: with several ranks, keep the whole model on each (ddp), or a share of every parameter (fsdp).
        trackers: where measurements go beside metrics.jsonl; each needs the extra of its name.
        num_threads: CPU threads; None means OMP_NUM_THREADS, or else the physical cores this process may use.
    """

    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    run_dir: str = "runs/train"
    batch_size: int = 32
    micro_batch_size: int | None = None
    loss_chunk_size: int | Literal["auto"] | None = "auto"
    steps: int | None = None
    tokens: int | None = None
    eval_every: int = 500
    eval_batch_size: int | None = None
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    permanent_every: int | None = None
    log_every: int = 10
    sample_every: int | None = None
    sample_prompts: tuple[str, ...] = ()
    sample_tokens: int = 128
    sample_temperature: float = 0.8
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool | None = None
    cuda_graphs: bool | None = None
    parallel: Literal["ddp", "fsdp"] = "ddp"
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    num_threads: int | None = None

    def __post_init__(self) -> None:
        check_choices(self)
        for name in (
            *("batch_size", "micro_batch_size", "loss_chunk_size", "steps", "tokens"),
            *("eval_every", "eval_batch_size", "checkpoint_every"),
            *("keep_checkpoints", "permanent_every", "log_every", "sample_every", "sample_tokens", "num_threads"),
        ):
            value = getattr(self, name)
            _require(value is None or value == "auto" or value >= 1, f"{name} must be at least 1", value)
        _require(self.seed >= 0, "seed must not be negative", self.seed)
        _require(self.seed < 2**64, "seed must be below 2**64", self.seed)
        # torch reserves memory for each, and ends the process where it cannot
        _require((self.num_threads or 1) <= 1024, "num_threads must be at most 1024", self.num_threads)
        _require(all(self.sample_prompts), "sample_prompts must not hold an empty prompt", self.sample_prompts)
        _require(math.isfinite(self.sample_temperature), "sample_temperature must be finite", self.sample_temperature)
        if self.sample_every is not None and not self.sample_prompts:
            raise ValueError("sample_every needs something to continue: set sample_prompts, or sample_every to none")
        _require(bool(self.run_dir), "run_dir must not be empty", self.run_dir)
        if (self.steps is None) == (self.tokens is None):
            raise ValueError(f"give either steps or tokens, got steps = {self.steps} and tokens = {self.tokens}")
        warmup_steps = self.schedule.warmup_steps
        if 0 < self.num_steps <= warmup_steps:
            raise ValueError(f"schedule.warmup_steps must be below the {self.num_steps} steps, got {warmup_steps}")

    @property
    def tokens_per_step(self) -> int:
        """Training tokens in one optimizer step."""
        return self.batch_size * self.model.context_length

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the run."""
        if self.steps is not None:
            return self.steps
        assert self.tokens is not None, "__post_init__ holds that steps or tokens is given"
        return -(-self.tokens // self.tokens_per_step)


def load_config(path: str | Path | None = None, *, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a `TrainConfig` from a TOML file and lay `key=value` overrides over it.

    Args:
        path: the TOML file; None starts from the defaults.
        overrides: such as `optim.lr=1e-3`; later ones win. A value is read as TOML, or else as a plain string.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not TOML, a key is unknown or missing, or a value does not fit; names file and key.
    """
    tree: dict[str, Any] = {}
    source = "config"
    if path is not None:
        source = str(path)
        tree = read_toml(Path(path))
    origins: dict[str, str] = {}
    for override in overrides:
        lay_over(tree, override, origins=origins)
    return from_dict(TrainConfig, tree, source=source, origins=origins)


def load_model_config(path: str | Path | None = None) -> ModelConfig:
    """Read the `[model]` table of a TOML file and nothing else of it; the defaults without a file.

    Raises:
        OSError: The file cannot be read.
        ValueError: As `load_config`.
    """
    tree = {} if path is None else read_toml(Path(path))
    reader = Reader(str(path), {})
    return typing.cast("ModelConfig", reader.convert(ModelConfig, tree.get("model", {}), key="model"))


def _require(condition: bool, expectation: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{expectation}, got {value}")
