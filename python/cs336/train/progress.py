"""How far a run is, and how it ended."""

import math
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["finished", "interrupted", "diverged", "out of time"]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a run ended; `interrupted` and `out of time` can be resumed.

    Attributes:
        status: How it ended; `out of time` if `time_limit_s` was reached.
        run_dir: The run directory.
        step: Optimizer steps taken.
        num_tokens: Tokens trained on.
        elapsed_s: Wall clock over all resumptions.
        tokens_per_s: Training speed without validation, samples and checkpoints.
        train_loss: The last recorded training loss, in nats per token.
        valid_loss: The last validation loss, in nats per token.
        bits_per_byte: The same in bits per byte of text; None without validation or tokenizer.
        best_valid_loss: The lowest validation loss.
        checkpoint: The last whole checkpoint.
        signal: The signal that interrupted the run.
    """

    status: Status
    run_dir: str
    step: int
    num_tokens: int
    elapsed_s: float
    tokens_per_s: float
    train_loss: float | None
    valid_loss: float | None
    bits_per_byte: float | None
    best_valid_loss: float | None
    checkpoint: str | None
    signal: int | None = None


@dataclass
class Progress:
    """What a checkpoint must know beside the weights and the step."""

    elapsed_s: float = 0.0
    trained_s: float = 0.0
    unrecorded_s: float = 0.0
    unrecorded_losses: list[float] = field(default_factory=list)
    train_loss: float | None = None
    grad_norm: float = math.nan
    validated_step: int = 0
    sampled_step: int = 0
    valid_loss: float | None = None
    bits_per_byte: float | None = None
    best_valid_loss: float | None = None
    best_step: int | None = None

    def validate(self, step: int, *, loss: float, bits_per_byte: float | None) -> None:
        """Take in the loss on the held-out file at a step."""
        self.validated_step, self.valid_loss, self.bits_per_byte = step, loss, bits_per_byte
        if self.best_valid_loss is None or loss < self.best_valid_loss:
            self.best_valid_loss, self.best_step = loss, step

    def take_unrecorded(self) -> tuple[list[float], float]:
        """Return the losses since the last record and the seconds they took, and count them as recorded."""
        losses, self.unrecorded_losses = self.unrecorded_losses, []
        seconds, self.unrecorded_s = self.unrecorded_s, 0.0
        self.trained_s += seconds
        self.train_loss = math.fsum(losses) / len(losses)
        return losses, seconds

    def result(
        self,
        status: Status,
        *,
        run_dir: str,
        step: int,
        num_tokens: int,
        elapsed_s: float,
        checkpoint: str | None,
        signal: int | None,
    ) -> TrainResult:
        """Return how the run ended, with what it came to."""
        trained_s = self.trained_s + self.unrecorded_s
        return TrainResult(
            status=status,
            run_dir=run_dir,
            step=step,
            num_tokens=num_tokens,
            elapsed_s=elapsed_s,
            tokens_per_s=num_tokens / trained_s if trained_s else 0.0,
            train_loss=self.train_loss,
            valid_loss=self.valid_loss,
            bits_per_byte=self.bits_per_byte,
            best_valid_loss=self.best_valid_loss,
            checkpoint=checkpoint,
            signal=signal,
        )


class DivergedError(Exception):
    """A loss, a gradient or a weight is not finite; `step` counts the steps before the one that did it."""

    def __init__(self, step: int, *, loss: float, grad_norm: float) -> None:
        super().__init__(step, loss, grad_norm)
        self.step, self.loss, self.grad_norm = step, loss, grad_norm
