"""The whole pipeline on real input within minutes: text, tokenizer, token files, language model, generated text.

Without `text` the corpus is the source of the running Python's standard library, which every machine has.
"""

import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cs336.accounting import count_parameters
from cs336.config import DataConfig, OptimConfig, ScheduleConfig, TrainConfig
from cs336.experiments.documents import END_OF_TEXT
from cs336.experiments.gathering import standard_library, write_corpus
from cs336.generate import generate
from cs336.model import ModelConfig, TransformerLM
from cs336.tokenizer import Tokenizer, train_bpe
from cs336.train.checkpoint import read_checkpoint
from cs336.train.curves import plot_curves
from cs336.train.device import choose_device, cpu_threads, default_num_threads
from cs336.train.durable import write_file
from cs336.train.learner import measure_tokens_per_s
from cs336.train.loop import train
from cs336.train.progress import TrainResult
from cs336.train.runlog import read_metrics

_SMALLEST_VOCAB = 257
# On two cores of a CPU: seconds to compile the demo's step with an empty cache, and again from it when the run begins;
# how many times as fast the step is then; seconds for a sampled token.
_COMPILE_S = 60.0
_COMPILED_GAIN = 1.23
_MEASURING_SHARE = 0.05  # of the minutes, at most, but for steps that cannot be cut short: the rest is for learning
_SAMPLED_TOKEN_S = 0.006
_MARKER = "demo.json"
_OWN_NAMES = (
    *("train.txt", "valid.txt", "train.npy", "valid.npy", "tokenizer.json", "curve.png", "samples.txt", _MARKER),
    *("run.json", "config.toml", "metrics.jsonl", "notes.log", "checkpoints", ".lock"),
)


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """The demo's settings; the defaults are made for two CPU cores and a few minutes.

    Attributes:
        run_dir: Directory for everything that comes out; an earlier demo in it is replaced.
        text: UTF-8 files to learn from instead of the standard library.
        minutes: Wall clock for the whole demo; what the other stages leave is spent on training.
        steps: Train for so many steps whatever the clock says.
        vocab_size: Ids of the tokenizer, at most.
        context_length: Tokens the model sees at once.
        d_model: Width of the model.
        num_layers: Blocks of the model.
        num_heads: Attention heads.
        batch_size: Sequences a step.
        lr: Highest learning rate.
        valid_share: Share of the documents held out.
        num_samples: How often samples are taken while it learns.
        sample_tokens: Tokens in a sample.
        prompts: What the samples continue; the first one is followed while the model learns.
        compile: Compile the training step; None does so where it pays: with a C++ compiler, from some eight minutes on.
        seed: Determines weights, batches and samples.
        device: auto, cpu or cuda.
    """

    run_dir: str = "runs/demo"
    text: tuple[Path, ...] = ()
    minutes: float = 3.5
    steps: int | None = None
    vocab_size: int = 4096
    context_length: int = 128
    d_model: int = 256
    num_layers: int = 4
    num_heads: int = 4
    batch_size: int = 16
    lr: float = 3e-3
    valid_share: float = 0.02
    num_samples: int = 4
    sample_tokens: int = 120
    prompts: tuple[str, ...] = ("def __init__(self", "class Test", "import os", "    for i in", "if __name__ ==")
    compile: bool | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not (self.minutes > 0 and math.isfinite(self.minutes)):
            raise ValueError(f"minutes must be positive, got {self.minutes}")
        if not 0 < self.valid_share < 1:
            raise ValueError(f"valid_share must be between 0 and 1, got {self.valid_share}")
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")
        if not self.prompts or not all(self.prompts):
            raise ValueError(f"prompts must hold at least one prompt and none that is empty, got {self.prompts}")


class Observer(Protocol):
    """Who follows the demo while it runs."""

    def on_stage(self, title: str, /) -> None:
        """A stage begins."""

    def on_notice(self, text: str, /) -> None:
        """Something has gone otherwise than it should, and what is done about it."""

    def on_progress(self, stage: str, done: int, total: int, /) -> None:
        """So much of a tokenizer stage is done."""

    def on_train(self, config: TrainConfig, /) -> AbstractContextManager[Callable[[Mapping[str, Any]], None]]:
        """Training begins; what is returned is called with each of its records."""


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo came to.

    Attributes:
        num_documents: Files of the corpus.
        num_skipped: Files left out because they are empty or not UTF-8.
        num_bytes: Size of the corpus.
        num_tokens: Tokens of the corpus.
        bytes_per_token: Compression of the held-out text.
        vocab_size: Ids of the tokenizer.
        num_parameters: Weights of the model.
        stages_s: Wall clock by stage.
        train: Result of the training.
        samples: Prompts and their continuations by the final model.
        paths: Where everything is.
    """

    num_documents: int
    num_skipped: int
    num_bytes: int
    num_tokens: int
    bytes_per_token: float
    vocab_size: int
    num_parameters: int
    stages_s: dict[str, float]
    train: TrainResult
    samples: list[tuple[str, str]]
    paths: dict[str, str]


@dataclass
class _Clock:
    """Wall clock by stage."""

    now: Callable[[], float]
    began: float = field(init=False)
    stages_s: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.began = self.now()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin = self.now()
        yield
        self.stages_s[name] = self.now() - begin

    def elapsed_s(self) -> float:
        return self.now() - self.began


def run_demo(config: DemoConfig, observer: Observer, *, clock: Callable[[], float] = time.perf_counter) -> DemoResult:
    """Run the whole pipeline into `config.run_dir`.

    Args:
        config: What to run.
        observer: Who follows it.
        clock: Seconds of any origin, which the minutes are counted by.

    Raises:
        ValueError: The settings do not go together, the directory holds something else than a demo, or the text is too
            short to learn from.
        OSError: A file cannot be read or written.
    """
    wall = _Clock(clock)
    run_dir = Path(config.run_dir)
    _check(config)
    _clear(run_dir)
    with wall.stage("corpus"):
        observer.on_stage("collecting " + ("the given text" if config.text else "the standard library's source"))
        corpus = write_corpus(config.text or standard_library(), run_dir, valid_share=config.valid_share)
    with wall.stage("tokenizer"):
        observer.on_stage(f"training a tokenizer on {corpus.num_bytes:,} bytes")
        tokenizer = _train_tokenizer(config, run_dir, observer)
    with wall.stage("encoding"):
        observer.on_stage(f"encoding with {tokenizer.vocab_size:,} tokens")
        stats = [
            tokenizer.encode_file(run_dir / f"{name}.txt", run_dir / f"{name}.npy", progress=observer.on_progress)
            for name in ("train", "valid")
        ]
    with wall.stage("measuring"):
        observer.on_stage("measuring this machine's speed")
        train_config = _plan_training(config, tokenizer, wall, observer, num_valid_tokens=stats[1].num_tokens)
    with wall.stage("training"):
        num_parameters = count_parameters(train_config.model).total
        observer.on_stage(f"training {num_parameters:,} weights for {train_config.num_steps:,} steps")
        time_limit_s = math.inf if config.steps is not None else max(1.0, 0.93 * config.minutes * 60 - wall.elapsed_s())
        with observer.on_train(train_config) as on_record:
            result = train(train_config, on_record=on_record, time_limit_s=time_limit_s)
    with wall.stage("samples"):
        is_whole = result.status in ("finished", "out of time")
        samples = _final_samples(config, result, tokenizer) if is_whole else []
        paths = _write_pictures(run_dir, samples)
    return DemoResult(
        num_documents=corpus.num_documents,
        num_skipped=corpus.num_skipped,
        num_bytes=corpus.num_bytes,
        num_tokens=sum(part.num_tokens for part in stats),
        bytes_per_token=stats[1].bytes_per_token,
        vocab_size=tokenizer.vocab_size,
        num_parameters=num_parameters,
        stages_s=wall.stages_s,
        train=result,
        samples=samples,
        paths=paths,
    )


def _check(config: DemoConfig) -> None:
    """Find what does not fit before an earlier demo is removed and a tokenizer trained.

    Raises:
        ValueError: A setting is out of range, or this machine has no such device.
        OSError: A text cannot be read.
    """
    if config.vocab_size < _SMALLEST_VOCAB:
        raise ValueError(
            f"vocab_size must be at least {_SMALLEST_VOCAB} (256 bytes and {END_OF_TEXT}), got {config.vocab_size}"
        )
    num_steps = 1 if config.steps is None else config.steps
    _train_config(config, vocab_size=config.vocab_size, num_steps=num_steps, compiled=False)
    choose_device(config.device)
    for path in config.text:
        with path.open("rb"):
            pass


def _train_tokenizer(config: DemoConfig, run_dir: Path, observer: Observer) -> Tokenizer:
    vocab, merges = train_bpe(run_dir / "train.txt", config.vocab_size, [END_OF_TEXT], progress=observer.on_progress)
    tokenizer = Tokenizer(vocab, merges, [END_OF_TEXT])
    tokenizer.save(run_dir / "tokenizer.json")
    return tokenizer


def _plan_training(
    config: DemoConfig, tokenizer: Tokenizer, clock: _Clock, observer: Observer, *, num_valid_tokens: int
) -> TrainConfig:
    """Choose the number of steps that fits into the time left, so that the rate has come down when it is over."""

    def plan_of(num_steps: int, *, compiled: bool) -> TrainConfig:
        return _train_config(config, vocab_size=tokenizer.vocab_size, num_steps=num_steps, compiled=compiled)

    if config.steps is not None:
        return plan_of(config.steps, compiled=bool(config.compile))
    begin_s, limit_s = clock.elapsed_s(), _MEASURING_SHARE * config.minutes * 60
    plan, tokens_per_s = _with_fewest_waits(plan_of(1, compiled=False), clock, limit_s=limit_s)
    measuring_s = clock.elapsed_s() - begin_s
    if measuring_s >= limit_s:
        observer.on_notice(_cut_short(plan, tokens_per_s, measuring_s=measuring_s))

    def rest_s() -> float:
        """Return what is left for training proper."""
        # a forward pass costs a third of a step; a sampled token takes a few milliseconds; the rest is files and a plot
        valid_s = 2 * config.num_samples * num_valid_tokens / (3 * tokens_per_s)
        samples_s = (config.num_samples + 1) * config.sample_tokens * _SAMPLED_TOKEN_S
        return 0.95 * (config.minutes * 60 - clock.elapsed_s() - valid_s - samples_s - 2)

    if config.compile or (config.compile is None and _pays_to_compile(rest_s())):
        plan, tokens_per_s = _compiled(plan, tokens_per_s, limit_s=limit_s)
    num_steps = max(20, int(rest_s() * tokens_per_s / plan.tokens_per_step))
    return dataclasses.replace(plan_of(num_steps, compiled=bool(plan.compile)), num_threads=plan.num_threads)


def _with_fewest_waits(plan: TrainConfig, clock: _Clock, *, limit_s: float) -> tuple[TrainConfig, float]:
    """Return a plan with the number of threads that suits this machine as it is now, and its tokens/s.

    Threads wait for one another some hundred times a step: where other programs hold the cores, several can be twenty
    times slower than one (2 cores, load 4). So one is tried first, which is never that slow, and several have what is
    left of the time: on a busy machine, a single step.
    """
    if default_num_threads() == 1 or choose_device(plan.device).type != "cpu":
        return plan, measure_tokens_per_s(plan, time_limit_s=limit_s)
    end_s = clock.elapsed_s() + limit_s
    alone = dataclasses.replace(plan, num_threads=1)
    speed_alone = measure_tokens_per_s(alone, num_steps=2, num_warmup_steps=1, time_limit_s=limit_s / 2)
    speed = measure_tokens_per_s(plan, time_limit_s=max(0.0, end_s - clock.elapsed_s()))
    return (alone, speed_alone) if speed_alone >= speed else (plan, speed)


def _cut_short(plan: TrainConfig, tokens_per_s: float, *, measuring_s: float) -> str:
    """Say that the measurements were not all taken, and what is done with those that were."""
    threads = "one thread" if plan.num_threads == 1 else f"{default_num_threads()} threads"
    where = f" on {threads}" if choose_device(plan.device).type == "cpu" else ""
    return (
        f"measuring was cut off after {measuring_s:.0f} s, as other programs seem to keep this machine busy: going on"
        f"{where} with the best speed seen, {tokens_per_s:,.0f} tokens/s"
    )


def _compiled(plan: TrainConfig, tokens_per_s: float, *, limit_s: float) -> tuple[TrainConfig, float]:
    """Return the plan compiled, and its tokens/s; or as it was, if it cannot be compiled or is not faster then."""
    compiled = dataclasses.replace(plan, compile=True)
    try:
        speed = measure_tokens_per_s(compiled, time_limit_s=limit_s)
    except Exception:  # a compiler can fail in any way; the demo works without one
        return plan, tokens_per_s
    return (compiled, speed) if speed > tokens_per_s else (plan, tokens_per_s)


def _train_config(config: DemoConfig, *, vocab_size: int, num_steps: int, compiled: bool) -> TrainConfig:
    run_dir = Path(config.run_dir)
    sample_every = max(1, math.ceil(num_steps / config.num_samples))
    return TrainConfig(
        data=DataConfig(
            train=str(run_dir / "train.npy"),
            valid=str(run_dir / "valid.npy"),
            tokenizer=str(run_dir / "tokenizer.json"),
        ),
        model=ModelConfig(
            vocab_size=vocab_size,
            context_length=config.context_length,
            d_model=config.d_model,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            d_ff=None,
        ),
        optim=OptimConfig(lr=config.lr),
        schedule=ScheduleConfig(warmup_steps=num_steps // 20, min_lr_ratio=0.01),
        run_dir=config.run_dir,
        batch_size=config.batch_size,
        steps=num_steps,
        eval_every=max(1, math.ceil(num_steps / (2 * config.num_samples))),
        checkpoint_every=num_steps,
        keep_checkpoints=1,
        log_every=max(1, num_steps // 100),
        sample_every=sample_every,
        sample_prompts=config.prompts[:1],
        sample_tokens=config.sample_tokens,
        seed=config.seed,
        device=config.device,  # type: ignore[arg-type]
        compile=compiled,
    )


def _pays_to_compile(rest_s: float) -> bool:
    """Return whether what compiling takes is won back in the time left for training; it needs a C++ compiler, too."""
    is_won_back = (rest_s - _COMPILE_S) * _COMPILED_GAIN > 1.05 * rest_s
    return is_won_back and any(shutil.which(name) is not None for name in ("g++", "clang++"))


def _final_samples(config: DemoConfig, result: TrainResult, tokenizer: Tokenizer) -> list[tuple[str, str]]:
    assert result.checkpoint is not None, "a run that came to its end has saved one"
    checkpoint = read_checkpoint(result.checkpoint, with_optimizer=False)
    model = TransformerLM(ModelConfig(**checkpoint.config["model"]))
    checkpoint.restore(model)
    with cpu_threads(1):
        new_ids = generate(
            model,
            [tokenizer.encode(prompt) for prompt in config.prompts],
            max_new_tokens=config.sample_tokens,
            temperature=0.7,
            top_p=0.95,
            stop_id=tokenizer.eos_id,
            seed=config.seed,
        )
    return [(prompt, tokenizer.decode(ids)) for prompt, ids in zip(config.prompts, new_ids, strict=True)]


def _write_pictures(run_dir: Path, samples: Iterable[tuple[str, str]]) -> dict[str, str]:
    records = read_metrics(run_dir) if (run_dir / "metrics.jsonl").exists() else []
    pieces = [
        f"=== step {record['step']}, while it learned ===\n{record['prompt']}{record['text']}\n"
        for record in records
        if record["kind"] == "sample"
    ]
    pieces += [f"=== the final model ===\n{prompt}{text}\n" for prompt, text in samples]
    write_file(run_dir / "samples.txt", "\n".join(pieces).encode())
    paths = {"run": run_dir, "samples": run_dir / "samples.txt", "tokenizer": run_dir / "tokenizer.json"}
    if any(record["kind"] in ("train", "valid") for record in records):  # not if it was stopped in its first steps
        paths["curve"] = run_dir / "curve.png"
        plot_curves(run_dir, paths["curve"], title="Learning curve")
    return {name: str(path) for name, path in paths.items()}


def _clear(run_dir: Path) -> None:
    """Make room in the run directory: remove an earlier demo's files, and nothing else.

    Raises:
        ValueError: The directory holds something that no demo wrote.
    """
    if run_dir.exists() and any(run_dir.iterdir()) and not (run_dir / _MARKER).exists():
        raise ValueError(f"{run_dir} holds files that are not a demo's; choose an empty directory with --run-dir")
    run_dir.mkdir(parents=True, exist_ok=True)
    for name in _OWN_NAMES:
        path = run_dir / name
        if path.is_dir():
            shutil.rmtree(path)
        elif name != _MARKER:
            path.unlink(missing_ok=True)
    write_file(run_dir / _MARKER, b'{"kind": "demo"}\n')
