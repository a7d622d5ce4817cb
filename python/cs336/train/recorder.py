"""Where the measurements of a run go: its directory, the config's trackers, whoever watches."""

import hashlib
import time
from collections.abc import Callable
from typing import Any

from cs336.config import TrainConfig
from cs336.train.evaluate import Evaluation
from cs336.train.inputs import Inputs
from cs336.train.learner import Learner
from cs336.train.progress import DivergedError
from cs336.train.runlog import Record, RunLog
from cs336.train.trackers import Trackers


class Recorder:
    """Writes records: on the first rank to all places, on the others to none.

    Args:
        config: Of the run.
        log: The run directory.
        is_first: Whether this rank writes.
        step: Where the run goes on.
        elapsed_s: Its wall clock so far.
        on_record: Called with each record.
    """

    def __init__(
        self,
        config: TrainConfig,
        log: RunLog,
        *,
        is_first: bool,
        step: int,
        elapsed_s: float,
        on_record: Callable[[Record], None] | None,
    ) -> None:
        self._config, self._log, self._is_first, self._on_record = config, log, is_first, on_record
        self._trackers = Trackers(config, step=step) if is_first and config.trackers else None
        self._began = time.perf_counter() - elapsed_s

    def elapsed_s(self) -> float:
        """Return the wall clock of the run, over all resumptions."""
        return time.perf_counter() - self._began

    def record(self, kind: str, step: int, **values: Any) -> None:
        """Write one record."""
        if not self._is_first:
            return
        num_tokens, elapsed_s = step * self._config.tokens_per_step, round(self.elapsed_s(), 3)
        record = {"kind": kind, "step": step, "tokens": num_tokens, "elapsed_s": elapsed_s, **values}
        self._log.record(record)
        if self._trackers is not None:
            self._trackers.record(record)
        if self._on_record is not None:
            self._on_record(record)

    def validation(self, step: int, evaluation: Evaluation, *, bits_per_byte: float | None) -> None:
        """Write the loss on the held-out file."""
        values: dict[str, Any] = {"loss": evaluation.loss, "perplexity": evaluation.perplexity}
        if bits_per_byte is not None:
            values["bits_per_byte"] = bits_per_byte
        self.record("valid", step, **values, num_tokens=evaluation.num_tokens)

    def divergence(self, diverged: DivergedError, learner: Learner, inputs: Inputs, *, checkpoint: object) -> None:
        """Write what it takes to meet a divergence again: the step, its learning rate and its batch."""
        batch, _ = learner.batch(inputs.train, diverged.step)
        step, lr = diverged.step + 1, learner.learning_rate(diverged.step)
        self.record(
            "diverged",
            step,
            loss=diverged.loss,
            grad_norm=diverged.grad_norm,
            lr=lr,
            batch={
                "seed": self._config.seed,
                "step": diverged.step,
                "sha256": hashlib.sha256(batch.cpu().numpy().tobytes()).hexdigest(),
            },
        )
        self._log.note(
            f"diverged at step {step}: loss {diverged.loss}, gradient norm {diverged.grad_norm}, "
            f"learning rate {lr:g}; last good checkpoint: {checkpoint or 'none'}"
        )

    def close(self) -> None:
        """Let the trackers finish."""
        if self._trackers is not None:
            self._trackers.close()
