"""The training loop: token files in, a run directory out.

A run is a pure function of its config and its token files. The batch of a step depends on the seed and the step
alone, so nothing random needs saving, evaluation and samples cannot disturb the training, and a resumed run on a CPU
ends with the bytes of an undisturbed one. What is due between two steps happens in a fixed order (validation, samples,
checkpoint), and a checkpoint knows which of it is done.
"""

import dataclasses
import hashlib
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cs336.config import TrainConfig, to_dict
from cs336.data import TokenDataset
from cs336.generate import generate_text
from cs336.tokenizer import Tokenizer
from cs336.train.checkpoint import latest_checkpoint, read_checkpoint, write_checkpoint
from cs336.train.device import cpu_threads, default_num_threads
from cs336.train.evaluate import Evaluation, evaluate
from cs336.train.learner import Learner, open_dataset
from cs336.train.loss import bits_per_byte
from cs336.train.runlog import RunLog, now
from cs336.train.signals import StopRequestedError, StopSignals

Record = Mapping[str, Any]
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


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    on_record: Callable[[Record], None] | None = None,
    time_limit_s: float | None = None,
) -> TrainResult:
    """Train a model as the config says, into `config.run_dir`.

    SIGINT and SIGTERM let the step end, save a checkpoint and return `interrupted`. A loss or gradient that is not
    finite ends the run as `diverged`, with a record of step, rate and batch; the last good checkpoint stays.

    Args:
        config: The whole run.
        resume: Go on with the run in `config.run_dir`, if there is one.
        on_record: Called with each record of `metrics.jsonl` as it is written: losses, validations, samples.
        time_limit_s: Stop, validate and save once so much wall clock has gone by.

    Raises:
        ValueError: The data does not fit the model, or the run directory holds another run; nothing was trained.
        OSError: A file cannot be read or written.
    """
    with cpu_threads(config.num_threads or default_num_threads()):
        run = _Run(config, on_record=on_record, time_limit_s=time_limit_s)
        with RunLog(config, resume=resume) as log, StopSignals() as signals:
            run.start(log)
            result = run.go_on(signals)
            log.describe(ended=now(), result=dataclasses.asdict(result))
            log.note(f"{result.status} at step {result.step}")
    return result


class _DivergedError(Exception):
    """A loss, a gradient or a weight is not finite."""

    def __init__(self, step: int, *, loss: float, grad_norm: float) -> None:
        super().__init__(step, loss, grad_norm)
        self.step, self.loss, self.grad_norm = step, loss, grad_norm


@dataclass
class _Progress:
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


class _Run:
    """One call of `train`. Creating it checks everything that can be checked before anything is written."""

    log: RunLog

    def __init__(
        self, config: TrainConfig, *, on_record: Callable[[Record], None] | None, time_limit_s: float | None
    ) -> None:
        self.config = config
        self.on_record = on_record
        self.time_limit_s = math.inf if time_limit_s is None else time_limit_s
        self.tokenizer = _load_tokenizer(config)
        self.train_data = open_dataset(config, config.data.train, tokenizer=self.tokenizer)
        self.valid_data = (
            None
            if config.data.valid is None
            else open_dataset(config, config.data.valid, split="valid", tokenizer=self.tokenizer)
        )
        self.valid_bytes_per_token = self._bytes_per_token()
        self.learner = Learner(config)
        self.step = 0
        self.progress = _Progress()
        self.unchecked: list[tuple[int, Float[Tensor, ""], Float[Tensor, ""]]] = []
        self.checkpoint: Path | None = None
        self.saved: tuple[int, int, int] | None = None
        self.began = time.perf_counter()

    def start(self, log: RunLog) -> None:
        """Write down what is run, and take up the run where its last whole checkpoint left it."""
        self.log = log
        if log.is_resumed:
            self._take_up()
        if self.tokenizer is not None:
            self.tokenizer.save(log.run_dir / "tokenizer.json")
        device, precision = str(self.learner.device), self.learner.precision
        log.start(
            device=device,
            precision=precision,
            num_threads=torch.get_num_threads(),
            num_parameters=sum(parameter.numel() for parameter in self.learner.model.parameters()),
            tokenizer_sha256=None if self.tokenizer is None else self.tokenizer.sha256,
            data={"train": self._facts(self.train_data), "valid": self._facts(self.valid_data)},
        )
        verb = "resumed" if log.is_resumed else "started"
        log.note(f"{verb} at step {self.step} of {self.config.num_steps} on {device} in {precision}")

    def go_on(self, signals: StopSignals) -> TrainResult:
        """Take the remaining steps, with what is due between them."""
        self.began = time.perf_counter() - self.progress.elapsed_s
        try:
            is_whole = self._take_steps(signals)
        except _DivergedError as diverged:
            self._record_divergence(diverged)
            return self._result("diverged")
        if not is_whole:
            return self._result("interrupted", signal=signals.received)
        return self._result("finished" if self.step == self.config.num_steps else "out of time")

    def _take_steps(self, signals: StopSignals) -> bool:
        """Return whether the run came to its end, rather than to a signal."""
        try:
            while not self._do_what_is_due(signals):
                self._advance()
        except StopRequestedError:
            self._save()
            return False
        return True

    def _take_up(self) -> None:
        path = latest_checkpoint(self.log.run_dir)
        if path is None:
            self.log.rewind(0, done=())
            return
        checkpoint = read_checkpoint(path)
        facts = checkpoint.state["data"]
        for name, dataset in (("train", self.train_data), ("valid", self.valid_data)):
            if facts[name] != self._facts(dataset):
                raise ValueError(
                    f"data.{name} is not the file this run began with ({facts[name]}), got {self._facts(dataset)}; "
                    "bring the file back or choose another run_dir"
                )
        checkpoint.restore(self.learner.model, self.learner.optimizer)
        self.step, self.checkpoint = checkpoint.step, path
        self.progress = _Progress(**checkpoint.state["progress"])
        self.saved = self._point()
        done = {"train"}
        done |= {"valid"} if self.progress.validated_step == self.step else set()
        done |= {"sample"} if self.progress.sampled_step == self.step else set()
        self.log.rewind(self.step, done=done)

    def _do_what_is_due(self, signals: StopSignals) -> bool:
        """Validate, sample and save where this point of the run asks for it; return whether the run is over.

        Raises:
            StopRequestedError: A signal came; what it cut short, a resumed run does again.
        """
        progress, step = self.progress, self.step
        is_over = step == self.config.num_steps or time.perf_counter() - self.began >= self.time_limit_s

        def is_due(every: int | None, done: int = -1) -> bool:
            return every is not None and 0 < step != done and (step % every == 0 or is_over)

        if self.valid_data is not None and is_due(self.config.eval_every, progress.validated_step):
            self._check_finite()
            with signals.interruptible():
                evaluation = self._evaluate(self.valid_data)
            self._record_validation(evaluation)
        if is_due(self.config.sample_every, progress.sampled_step):
            self._check_finite()
            with signals.interruptible():
                samples = [(prompt, self._sample(prompt)) for prompt in self.config.sample_prompts]
            self._record_samples(samples)
        if is_due(self.config.checkpoint_every) or progress.best_step == step:
            self._save()
        if signals.received is not None:
            raise StopRequestedError
        return is_over

    def _advance(self) -> None:
        """Take one step; its loss is looked at once that means no waiting for the device."""
        begin = time.perf_counter()
        loss, grad_norm = self.learner.gradients(self.train_data, self.step)
        self.unchecked.append((self.step, loss, grad_norm))
        if self.learner.device.type == "cpu":
            self._check_losses()  # nothing to wait for, and a bad gradient never reaches the weights
        self.learner.update(self.step)
        self.step += 1
        is_logged = self.step % self.config.log_every == 0 or self.step == self.config.num_steps
        if is_logged:
            self._check_losses()
        self.progress.unrecorded_s += time.perf_counter() - begin
        if is_logged:
            self._record_training()

    def _check_losses(self) -> None:
        """Bring the losses since the last look to the host, and stop at one that is not finite."""
        unchecked, self.unchecked = self.unchecked, []
        if not unchecked:
            return
        losses = torch.stack([loss for _, loss, _ in unchecked]).tolist()
        grad_norms = torch.stack([grad_norm for _, _, grad_norm in unchecked]).tolist()
        for (step, _, _), loss, grad_norm in zip(unchecked, losses, grad_norms, strict=True):
            if not (math.isfinite(loss) and math.isfinite(grad_norm)):
                raise _DivergedError(step, loss=loss, grad_norm=grad_norm)
        self.progress.unrecorded_losses += losses
        self.progress.grad_norm = grad_norms[-1]

    def _check_finite(self) -> None:
        """Stop if the losses so far, or the weights they led to, are no numbers that can be used or saved."""
        self._check_losses()
        if not all(bool(parameter.isfinite().all()) for parameter in self.learner.model.parameters()):
            raise _DivergedError(self.step - 1, loss=math.nan, grad_norm=self.progress.grad_norm)

    def _evaluate(self, dataset: TokenDataset) -> Evaluation:
        with self.learner.autocast():
            return evaluate(
                self.learner.model,
                dataset,
                batch_size=self.config.eval_batch_size or self.config.batch_size,
                context_length=self.config.model.context_length,
                device=self.learner.device,
            )

    def _sample(self, prompt: str) -> str:
        assert self.tokenizer is not None, "_load_tokenizer holds that a run with samples has one"
        # products of a single row are too small to share: a second thread would only be waited for
        with self.learner.autocast(), cpu_threads(1):
            return generate_text(
                self.learner.model,
                self.tokenizer,
                prompt,
                max_new_tokens=self.config.sample_tokens,
                temperature=self.config.sample_temperature,
                stop_id=self.tokenizer.eos_id,
                seed=self.config.seed,
            )

    def _record_training(self) -> None:
        progress = self.progress
        losses, progress.unrecorded_losses = progress.unrecorded_losses, []
        seconds, progress.unrecorded_s = progress.unrecorded_s, 0.0
        progress.trained_s += seconds
        progress.train_loss = math.fsum(losses) / len(losses)
        self._record(
            "train",
            loss=progress.train_loss,
            lr=self.learner.learning_rate(self.step - 1),
            grad_norm=progress.grad_norm,
            tokens_per_s=round(len(losses) * self.config.tokens_per_step / seconds, 1),
        )

    def _record_validation(self, evaluation: Evaluation) -> None:
        progress = self.progress
        if not math.isfinite(evaluation.loss):
            raise _DivergedError(self.step - 1, loss=evaluation.loss, grad_norm=progress.grad_norm)
        progress.validated_step, progress.valid_loss = self.step, evaluation.loss
        if progress.best_valid_loss is None or evaluation.loss < progress.best_valid_loss:
            progress.best_valid_loss, progress.best_step = evaluation.loss, self.step
        values: dict[str, Any] = {"loss": evaluation.loss, "perplexity": evaluation.perplexity}
        if self.valid_bytes_per_token is not None:
            progress.bits_per_byte = bits_per_byte(evaluation.loss, self.valid_bytes_per_token)
            values["bits_per_byte"] = progress.bits_per_byte
        self._record("valid", **values, num_tokens=evaluation.num_tokens)

    def _record_samples(self, samples: list[tuple[str, str]]) -> None:
        self.progress.sampled_step = self.step
        for prompt, text in samples:
            self._record("sample", prompt=prompt, text=text)

    def _record_divergence(self, diverged: _DivergedError) -> None:
        inputs, _ = self.learner.batch(self.train_data, diverged.step)
        batch_sha256 = hashlib.sha256(inputs.cpu().numpy().tobytes()).hexdigest()
        lr = self.learner.learning_rate(diverged.step)
        self._record(
            "diverged",
            step=diverged.step + 1,
            loss=diverged.loss,
            grad_norm=diverged.grad_norm,
            lr=lr,
            batch={"seed": self.config.seed, "step": diverged.step, "sha256": batch_sha256},
        )
        self.log.note(
            f"diverged at step {diverged.step + 1}: loss {diverged.loss}, gradient norm {diverged.grad_norm}, "
            f"learning rate {lr:g}; last good checkpoint: {self.checkpoint or 'none'}"
        )

    def _record(self, kind: str, *, step: int | None = None, **values: Any) -> None:
        step = self.step if step is None else step
        elapsed_s = round(time.perf_counter() - self.began, 3)
        record = {"kind": kind, "step": step, "tokens": step * self.config.tokens_per_step, "elapsed_s": elapsed_s}
        record |= values
        self.log.record(record)
        if self.on_record is not None:
            self.on_record(record)

    def _save(self) -> None:
        """Write a checkpoint of this point of the run, unless it is there."""
        if self.saved == self._point():
            return
        self._check_finite()
        self.progress.elapsed_s = time.perf_counter() - self.began
        self.log.sync()
        path = self.log.run_dir / "checkpoints" / f"step_{self.step:08d}"
        write_checkpoint(
            path,
            model=self.learner.model,
            optimizer=self.learner.optimizer,
            step=self.step,
            config=to_dict(self.config),
            state={
                "progress": dataclasses.asdict(self.progress),
                "data": {"train": self._facts(self.train_data), "valid": self._facts(self.valid_data)},
            },
            tokenizer_hash=None if self.tokenizer is None else self.tokenizer.sha256,
            eos_id=None if self.tokenizer is None else self.tokenizer.eos_id,
        )
        self.checkpoint, self.saved = path, self._point()
        self._drop_old_checkpoints(path.parent)

    def _point(self) -> tuple[int, int, int]:
        return self.step, self.progress.validated_step, self.progress.sampled_step

    def _drop_old_checkpoints(self, directory: Path) -> None:
        """Keep the latest ones up to this step and the one with the lowest validation loss."""
        steps = sorted(int(path.name.removeprefix("step_")) for path in directory.glob("step_" + "[0-9]" * 8))
        past = [step for step in steps if step <= self.step]
        # what lies ahead could not be read when the run was taken up, or it would have been taken up there
        kept = {*past[-self.config.keep_checkpoints :], self.progress.best_step}
        for step in steps:
            if step not in kept:
                shutil.rmtree(directory / f"step_{step:08d}")

    def _bytes_per_token(self) -> float | None:
        """Return the held-out text's bytes per predicted id; special tokens mark its documents and are no text."""
        if self.tokenizer is None or self.valid_data is None:
            return None
        sizes = np.zeros(self.config.model.vocab_size, dtype=np.int64)
        for id_, token in self.tokenizer.vocab.items():
            sizes[id_] = len(token)
        sizes[list(self.tokenizer.special_tokens.values())] = 0
        targets = self.valid_data.ids[1:]
        num_bytes = sum(int(sizes[targets[i : i + _CHUNK]].sum()) for i in range(0, len(targets), _CHUNK))
        return num_bytes / len(targets) if num_bytes else None

    @staticmethod
    def _facts(dataset: TokenDataset | None) -> dict[str, Any] | None:
        """Return what tells one token file from another without reading all of it."""
        if dataset is None:
            return None
        ends = hashlib.sha256(dataset[:_CHUNK].tobytes() + dataset[-_CHUNK:].tobytes()).hexdigest()
        return {"num_tokens": len(dataset), "dtype": str(dataset.ids.dtype), "sha256_of_ends": ends}

    def _result(self, status: Status, *, signal: int | None = None) -> TrainResult:
        progress = self.progress
        num_tokens = self.step * self.config.tokens_per_step
        trained_s = progress.trained_s + progress.unrecorded_s
        return TrainResult(
            status=status,
            run_dir=str(self.log.run_dir),
            step=self.step,
            num_tokens=num_tokens,
            elapsed_s=time.perf_counter() - self.began,
            tokens_per_s=num_tokens / trained_s if trained_s else 0.0,
            train_loss=progress.train_loss,
            valid_loss=progress.valid_loss,
            bits_per_byte=progress.bits_per_byte,
            best_valid_loss=progress.best_valid_loss,
            checkpoint=None if self.checkpoint is None else str(self.checkpoint),
            signal=signal,
        )


_CHUNK = 1 << 20


def _load_tokenizer(config: TrainConfig) -> Tokenizer | None:
    if config.data.tokenizer is None:
        if config.sample_every is not None and config.sample_prompts:
            raise ValueError("samples need the tokenizer: set data.tokenizer, or sample_every to none")
        return None
    tokenizer = Tokenizer.load(config.data.tokenizer)
    if tokenizer.vocab_size > config.model.vocab_size:
        raise ValueError(
            f"model.vocab_size must be at least the tokenizer's {tokenizer.vocab_size}, got {config.model.vocab_size}"
        )
    return tokenizer
