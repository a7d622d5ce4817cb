"""The training loop: token files in, a run directory out.

A run is a pure function of its config and its token files. The batch of a step depends on the seed and the step
alone, so nothing random needs saving, evaluation and samples cannot disturb the training, and a resumed run on a CPU
ends with the bytes of an undisturbed one. What is due between two steps happens in a fixed order (validation, samples,
checkpoint), and a checkpoint knows which of it is done.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch

from cs336.config import TrainConfig
from cs336.data import TokenDataset
from cs336.train.device import cpu_threads, default_num_threads
from cs336.train.distributed import ALONE, Agreement, Ranks
from cs336.train.evaluate import Evaluation, evaluate_on_ranks
from cs336.train.inputs import Inputs
from cs336.train.learner import Learner
from cs336.train.loss import bits_per_byte
from cs336.train.meter import Meter
from cs336.train.plan import warn
from cs336.train.progress import DivergedError, Progress, Status, TrainResult
from cs336.train.recorder import Recorder
from cs336.train.runlog import Record, RunLog, open_log
from cs336.train.samples import take_samples
from cs336.train.shelf import Shelf
from cs336.train.signals import StopRequestedError, StopSignals
from cs336.train.trackers import require_trackers
from cs336.train.watch import Watch

__all__ = ["Status", "TrainResult", "train"]

_GRACE_S = 2.0  # between the terminal's Ctrl-C and the one that torchrun passes on


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    on_record: Callable[[Record], None] | None = None,
    time_limit_s: float | None = None,
    ranks: Ranks = ALONE,
) -> TrainResult:
    """Train a model as the config says, into `config.run_dir`.

    SIGINT, SIGTERM and SIGUSR1 let the step end, save a checkpoint and return `interrupted`. A loss or gradient that is
    not finite ends the run as `diverged`, with a record of step, rate and batch; the last good checkpoint stays.

    Args:
        config: The whole run.
        resume: Go on with the run in `config.run_dir`, if there is one.
        on_record: Called with each record of `metrics.jsonl` as it is written: losses, validations, samples.
        time_limit_s: Stop, validate and save once so much wall clock has gone by.
        ranks: The processes that train together, each of which calls this; `cs336.train.launch.main` finds them.

    Raises:
        ValueError: The data does not fit the model, or the run directory holds another run; nothing was trained.
        OSError: A file cannot be read or written.
        LostRankError: Another process is gone; the run goes on from its last checkpoint when resumed.
    """
    where = _Place()
    with cpu_threads(config.num_threads or default_num_threads()), ranks.naming_losses(where.describe):
        run = _Run(config, on_record=on_record, time_limit_s=time_limit_s, ranks=ranks)
        grace_s = _GRACE_S if ranks.are_several else 0.0
        with open_log(config, resume=resume, ranks=ranks) as log, StopSignals(grace_s=grace_s) as signals:
            where.run = run
            run.start(log)
            try:
                result = run.go_on(signals)
            finally:
                run.close()
            log.end(dataclasses.asdict(result))
    return result


class _Place:
    """How far a run is, in words, for whoever loses a rank."""

    run: "_Run | None" = None

    def describe(self) -> str:
        return "before the first step" if self.run is None else f"after step {self.run.step:,}"


class _Run:
    """One call of `train`. Creating it checks everything that can be checked before anything is written."""

    log: RunLog
    recorder: Recorder

    def __init__(
        self,
        config: TrainConfig,
        *,
        on_record: Callable[[Record], None] | None,
        time_limit_s: float | None,
        ranks: Ranks,
    ) -> None:
        self.config = config
        self.on_record = on_record
        self.time_limit_s = math.inf if time_limit_s is None else time_limit_s
        self.ranks = ranks
        self.agreement = Agreement(ranks)
        require_trackers(config)
        self.inputs = Inputs(config)
        self.learner = Learner(config, ranks=ranks)
        self.meter = Meter(config, self.learner, num_ranks=ranks.world_size)
        self.shelf = Shelf(config, self.learner, tokenizer=self.inputs.tokenizer, ranks=ranks)
        self.step = 0
        self.progress = Progress()
        self.watch = Watch(self.learner.model, ranks)
        self.checkpoint: Path | None = None
        self.saved: tuple[int, int, int] | None = None
        self.stopped_by: int | None = None

    def start(self, log: RunLog) -> None:
        """Write down what is run, and take up the run where its last whole checkpoint left it."""
        self.log = log
        if log.is_resumed:
            self._take_up()
        tokenizer = self.inputs.tokenizer
        device, precision = str(self.learner.device), self.learner.precision
        log.start(
            tokenizer=tokenizer,
            step=self.step,
            device=device,
            precision=precision,
            num_ranks=self.ranks.world_size,
            num_threads=torch.get_num_threads(),
            memory_of=self.meter.memory_of,
            plan=dataclasses.asdict(self.learner.plan),
            num_parameters=sum(parameter.numel() for parameter in self.learner.model.parameters()),
            tokenizer_sha256=None if tokenizer is None else tokenizer.sha256,
            data=self.inputs.facts(),
        )
        verb, ranks = "resumed" if log.is_resumed else "started", self.ranks.world_size
        on_ranks = f", on {ranks} ranks" if ranks > 1 else ""
        log.note(f"{verb} at step {self.step} of {self.config.num_steps} on {device} in {precision}{on_ranks}")
        self.learner.on_notice = self._give_notice
        self.recorder = Recorder(
            self.config,
            log,
            is_first=self.ranks.is_first,
            step=self.step,
            elapsed_s=self.progress.elapsed_s,
            on_record=self.on_record,
        )

    def _give_notice(self, text: str) -> None:
        """Tell people now, and whoever reads the run's notes and how its steps were carried out later."""
        warn(text)
        self.log.note(text)
        self.log.describe(plan=dataclasses.asdict(self.learner.plan))

    def close(self) -> None:
        """Leave nothing under way, however the run ended."""
        self.agreement.close()
        self.recorder.close()

    def go_on(self, signals: StopSignals) -> TrainResult:
        """Take the remaining steps, with what is due between them."""
        try:
            is_whole = self._take_steps(signals)
        except DivergedError as diverged:
            self.recorder.divergence(diverged, self.learner, self.inputs, checkpoint=self.checkpoint)
            return self._result("diverged")
        if not is_whole:
            return self._result("interrupted", signal=self.stopped_by)
        return self._result("finished" if self.step == self.config.num_steps else "out of time")

    def _take_steps(self, signals: StopSignals) -> bool:
        """Return whether the run came to its end, rather than to a signal."""
        try:
            while not self._do_what_is_due(signals):
                self._advance()
        except StopRequestedError:
            self.stopped_by = self.stopped_by or signals.received
            self._save()
            return False
        return True

    def _take_up(self) -> None:
        found = self.shelf.take_up_latest()
        if found is None:
            self.log.rewind(0, done=())
            return
        self.checkpoint, self.step, state = found
        self.inputs.check_same(state["data"])
        self.progress = Progress(**state["progress"])
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
        is_late, stop = self._agree(signals)
        is_over = step == self.config.num_steps or is_late

        def is_due(every: int | None, done: int = -1) -> bool:
            return every is not None and 0 < step != done and (step % every == 0 or is_over)

        if self.inputs.valid is not None and is_due(self.config.eval_every, progress.validated_step):
            self._look_at_weights()
            with self._interruptible(signals):
                evaluation = self._evaluate(self.inputs.valid)
            self._record_validation(evaluation)
        if is_due(self.config.sample_every, progress.sampled_step):
            self._look_at_weights()
            with self._interruptible(signals):
                samples = take_samples(self.config, self.learner.model, self.inputs.tokenizer, ranks=self.ranks)
            self._record_samples(samples)
        if is_due(self.config.checkpoint_every) or is_due(self.config.permanent_every) or progress.best_step == step:
            self._save()
        self.stopped_by = stop if self.ranks.are_several else signals.received
        if self.stopped_by is not None:
            raise StopRequestedError
        return is_over

    def _agree(self, signals: StopSignals) -> tuple[bool, int | None]:
        """Return whether time is up and which signal came, on any rank, the same on all of them."""
        wish = 1 if self.recorder.elapsed_s() >= self.time_limit_s else 0
        if signals.received is not None:
            wish = 1 + signals.received
        agreed = self.agreement.reach(wish)
        return agreed == 1, agreed - 1 if agreed > 1 else None

    def _interruptible(self, signals: StopSignals) -> contextlib.AbstractContextManager[None]:
        """Let a signal cut work short; not where other ranks are in the middle of the same work."""
        return contextlib.nullcontext() if self.ranks.are_several else signals.interruptible()

    def _advance(self) -> None:
        """Take one step; its loss is looked at once that means no waiting for the device."""
        begin = time.perf_counter()
        loss, grad_norm = self.learner.gradients(self.inputs.train, self.step)
        self.watch.add(self.step, loss, grad_norm)
        if self.learner.device.type == "cpu":
            self.watch.look(self.progress)  # nothing to wait for, and a bad gradient never reaches the weights
        self.learner.update(self.step)
        self.step += 1
        is_logged = self.step % self.config.log_every == 0 or self.step == self.config.num_steps
        if is_logged:
            self.watch.look(self.progress)
        self.progress.unrecorded_s += time.perf_counter() - begin
        if is_logged:
            self._record_training()

    def _look_at_weights(self) -> None:
        """Look at the weights before they are used, and first at the losses that led to them.

        To see those is to wait for the steps that a GPU has not done yet: it is their time, not what follows them.
        """
        begin = time.perf_counter()
        self.watch.look(self.progress)
        self.progress.unrecorded_s += time.perf_counter() - begin
        self.watch.look_at_weights(self.progress, step=self.step)

    def _evaluate(self, dataset: TokenDataset) -> Evaluation:
        return evaluate_on_ranks(
            self.learner.objective,
            dataset,
            batch_size=self.config.eval_batch_size or self.learner.micro_batch_size,
            context_length=self.config.model.context_length,
            device=self.learner.device,
            ranks=self.ranks,
        )

    def _record_training(self) -> None:
        losses, seconds = self.progress.take_unrecorded()
        self.recorder.record(
            "train",
            self.step,
            loss=self.progress.train_loss,
            lr=self.learner.learning_rate(self.step - 1),
            grad_norm=self.progress.grad_norm,
            **self.meter.read(num_steps=len(losses), seconds=seconds),
        )

    def _record_validation(self, evaluation: Evaluation) -> None:
        if not math.isfinite(evaluation.loss):
            raise DivergedError(self.step - 1, loss=evaluation.loss, grad_norm=self.progress.grad_norm)
        size = self.inputs.bytes_per_token
        bits = None if size is None else bits_per_byte(evaluation.loss, size)
        self.progress.validate(self.step, loss=evaluation.loss, bits_per_byte=bits)
        self.recorder.validation(self.step, evaluation, bits_per_byte=bits)

    def _record_samples(self, samples: list[tuple[str, str]]) -> None:
        self.progress.sampled_step = self.step
        for prompt, text in samples:
            self.recorder.record("sample", self.step, prompt=prompt, text=text)

    def _save(self) -> None:
        """Write a checkpoint of this point of the run, unless it is there."""
        if self.saved == self._point():
            return
        self._look_at_weights()
        self.progress.elapsed_s = self.recorder.elapsed_s()
        self.log.sync()
        state = {"progress": dataclasses.asdict(self.progress), "data": self.inputs.facts()}
        self.checkpoint = self.shelf.put(self.step, state, best_step=self.progress.best_step)
        self.saved = self._point()

    def _point(self) -> tuple[int, int, int]:
        return self.step, self.progress.validated_step, self.progress.sampled_step

    def _result(self, status: Status, *, signal: int | None = None) -> TrainResult:
        return self.progress.result(
            status,
            run_dir=str(self.log.run_dir),
            step=self.step,
            num_tokens=self.step * self.config.tokens_per_step,
            elapsed_s=self.recorder.elapsed_s(),
            checkpoint=None if self.checkpoint is None else str(self.checkpoint),
            signal=signal,
        )
