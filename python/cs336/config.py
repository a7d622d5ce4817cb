"""What a training run is made of: the stages' configs composed, read from TOML, overridden, written back.

`TrainConfig` is the whole of it. A run is reproduced by its config and its input files alone, so every run
directory holds one as `config.toml`. Paths in a config are relative to the working directory.
"""

import dataclasses
import difflib
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from cs336.model import ModelConfig

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW and gradient clipping.

    Attributes:
        lr: highest learning rate of the schedule.
        betas: decay rates of the first and second moment.
        eps: added to the root of the second moment.
        weight_decay: decoupled decay per unit of learning rate.
        max_grad_norm: gradients are scaled down to this global L2 norm; None leaves them as they are.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    max_grad_norm: float | None = 1.0

    def __post_init__(self) -> None:
        _require(0 < self.lr < math.inf, "optim.lr must be positive and finite", self.lr)
        _require(all(0 <= b < 1 for b in self.betas), "optim.betas must lie in [0, 1)", self.betas)
        _require(0 < self.eps < math.inf, "optim.eps must be positive and finite", self.eps)
        _require(
            0 <= self.weight_decay < math.inf, "optim.weight_decay must be finite and not negative", self.weight_decay
        )
        if self.max_grad_norm is not None:
            _require(self.max_grad_norm > 0, "optim.max_grad_norm must be positive or none", self.max_grad_norm)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Linear warm-up, then a cosine from `optim.lr` down to `min_lr_ratio * optim.lr`.

    Attributes:
        warmup_steps: steps of the warm-up; 0 starts at the full rate.
        min_lr_ratio: the last rate as a share of the highest.
        cosine_steps: step at which the last rate is reached; None means the last step of the run.
    """

    warmup_steps: int = 0
    min_lr_ratio: float = 0.1
    cosine_steps: int | None = None

    def __post_init__(self) -> None:
        _require(self.warmup_steps >= 0, "schedule.warmup_steps must not be negative", self.warmup_steps)
        _require(0 <= self.min_lr_ratio <= 1, "schedule.min_lr_ratio must lie in [0, 1]", self.min_lr_ratio)
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
        train: `.npy` file of training ids, as `cs336 tokenizer encode` writes it.
        valid: held-out `.npy` file, read whole at each evaluation; None trains without validation.
        tokenizer: the `tokenizer.json` that made the ids; needed for samples and for bits per byte.
    """

    train: str
    valid: str | None = None
    tokenizer: str | None = None


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
        accumulation: micro-batches in which a step's batch is worked off; changes memory, not the batch.
        steps: optimizer steps; give either this or `tokens`.
        tokens: training tokens, rounded up to whole steps.
        eval_every: steps between validations over the whole held-out file; the last step is always validated.
        eval_batch_size: sequences per validation batch; None means `batch_size`.
        checkpoint_every: steps between checkpoints; the last step always gets one.
        keep_checkpoints: how many of the latest checkpoints stay; the best one stays as well.
        log_every: steps between records of the training loss (their mean is recorded).
        sample_every: steps between samples; None takes none.
        sample_prompts: prompts that are continued at each sample.
        sample_tokens: new tokens in a sample.
        sample_temperature: temperature of the samples.
        seed: determines the initial weights and all batches.
        device: auto takes a CUDA GPU if there is one.
        precision: fp32, or bf16 autocast over fp32 weights; auto takes bf16 where the device computes in it.
        compile: compile the forward pass and the loss.
        num_threads: CPU threads; None means OMP_NUM_THREADS, or else the physical cores this process may use.
    """

    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    run_dir: str = "runs/train"
    batch_size: int = 32
    accumulation: int = 1
    steps: int | None = None
    tokens: int | None = None
    eval_every: int = 500
    eval_batch_size: int | None = None
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    log_every: int = 10
    sample_every: int | None = None
    sample_prompts: tuple[str, ...] = ()
    sample_tokens: int = 128
    sample_temperature: float = 0.8
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    num_threads: int | None = None

    def __post_init__(self) -> None:
        for name in (
            *("batch_size", "accumulation", "steps", "tokens", "eval_every", "eval_batch_size", "checkpoint_every"),
            *("keep_checkpoints", "log_every", "sample_every", "sample_tokens", "num_threads"),
        ):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"{name} must be at least 1", value)
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
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"batch_size must be divisible by accumulation, got {self.batch_size} and {self.accumulation}"
            )
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
        tree = _read_toml(Path(path))
    origins: dict[str, str] = {}
    for override in overrides:
        _lay_over(tree, override, origins=origins)
    return from_dict(TrainConfig, tree, source=source, origins=origins)


def load_model_config(path: str | Path | None = None) -> ModelConfig:
    """Read the `[model]` table of a TOML file and nothing else of it; the defaults without a file.

    Raises:
        OSError: The file cannot be read.
        ValueError: As `load_config`.
    """
    tree = {} if path is None else _read_toml(Path(path))
    reader = _Reader(str(path), {})
    return typing.cast("ModelConfig", reader.convert(ModelConfig, tree.get("model", {}), key="model"))


def from_dict(
    cls: type[T], tree: Mapping[str, Any], *, source: str = "config", origins: Mapping[str, str] | None = None
) -> T:
    """Build a config dataclass from nested mappings, as TOML or JSON holds them.

    Args:
        cls: the dataclass.
        tree: its values; the string "none" stands for None where a value may be None, since TOML has no null.
        source: where the values come from, for messages.
        origins: dotted keys that come from elsewhere, and from where.

    Raises:
        ValueError: unknown or missing key, wrong type, or a value that the dataclass refuses.
    """
    return _Reader(source, origins or {}).build(cls, tree, prefix="")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config dataclass as nested dicts of JSON values; `from_dict` takes it back."""
    return {
        f.name: to_dict(value)
        if dataclasses.is_dataclass(value)
        else list(value)
        if isinstance(value, tuple)
        else value
        for f in dataclasses.fields(config)
        for value in (getattr(config, f.name),)
    }


def to_toml(config: Any) -> str:
    """Return a config dataclass as TOML; `load_config` takes it back."""
    return "\n".join(_toml_table(config, prefix=""))


def changed_keys(old: Any, new: Any) -> dict[str, tuple[Any, Any]]:
    """Return the dotted keys in which two configs of one type differ, each with its old and new value."""
    old_values, new_values = _flatten(to_dict(old)), _flatten(to_dict(new))
    return {key: (old_values[key], new_values[key]) for key in old_values if old_values[key] != new_values[key]}


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    return list(value) if isinstance(value, tuple) else value


def _require(condition: bool, expectation: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{expectation}, got {value}")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from error


def _lay_over(tree: dict[str, Any], override: str, *, origins: dict[str, str]) -> None:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ValueError(f"an override must look like key=value (such as optim.lr=1e-3), got {override!r}")
    *parents, last = key.split(".")
    node = tree
    for name in parents:
        child = node.setdefault(name, {})
        if not isinstance(child, dict):
            raise ValueError(f"--set {override}: {name} is a value, not a table of values")
        node = child
    node[last] = _Text(text.strip())
    origins[key] = f"--set {override}"


class _Text(str):
    """An override's value, whose type is known only once its field is."""

    __slots__ = ()

    def parse(self, hint: Any) -> Any:
        if self == "none" and type(None) in _options(hint):
            return None
        try:
            value = tomllib.loads(f"value = {self}")["value"]
        except tomllib.TOMLDecodeError:
            return str(self)
        return str(self) if str in _options(hint) and not isinstance(value, str) else value


class _Reader:
    """Turns nested mappings into dataclasses, and whatever does not fit into messages with source and key."""

    def __init__(self, source: str, origins: Mapping[str, str]) -> None:
        self.source = source
        self.origins = origins

    def build(self, cls: type[T], tree: Mapping[str, Any], *, prefix: str) -> T:
        fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        hints = typing.get_type_hints(cls)
        for name in tree:
            if name not in fields:
                raise self._unknown(name, list(fields), prefix=prefix)
        values: dict[str, Any] = {}
        for name, f in fields.items():
            if name in tree:
                values[name] = self.convert(hints[name], tree[name], key=prefix + name)
            elif dataclasses.is_dataclass(hints[name]) and _has_required(hints[name]):
                values[name] = self.build(typing.cast("type[Any]", hints[name]), {}, prefix=f"{prefix}{name}.")
            elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
                raise ValueError(f"{self.source}: {prefix}{name} is missing; set it to {_wanted(hints[name])}")
        try:
            return cls(**values)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{self.source}: {error}") from error

    def _unknown(self, name: str, known: list[str], *, prefix: str) -> ValueError:
        key = prefix + name
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {prefix + close[0]!r}?" if close else f"known keys are {prefix}{', '.join(known)}"
        origin = next((text for k, text in self.origins.items() if k == key or k.startswith(key + ".")), self.source)
        return ValueError(f"{origin}: unknown key {key!r}, {hint}")

    def convert(self, hint: Any, value: Any, *, key: str) -> Any:
        if isinstance(value, _Text):
            value = value.parse(hint)
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise self._misfit(hint, value, key)
            return self.build(typing.cast("type[Any]", hint), value, prefix=f"{key}.")
        fitting = _fit(hint, value)
        if fitting is _MISFIT:
            raise self._misfit(hint, value, key)
        return fitting

    def _misfit(self, hint: Any, value: Any, key: str) -> ValueError:
        origin = self.origins.get(key, self.source)
        return ValueError(f"{origin}: {key} must be {_wanted(hint)}, got {value!r} ({_toml_type(value)})")


_MISFIT = object()


def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _fit(hint: Any, value: Any) -> Any:
    """Return the value as the type asked for, or `_MISFIT`: whole numbers pass as floats, nothing else is coerced."""
    for option in _options(hint):
        origin = typing.get_origin(option)
        if option is type(None):
            if value is None or (value == "none" and str not in _options(hint)):
                return None
        elif option is float:
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
        elif option in (int, str, bool):
            if type(value) is option:
                return value
        elif origin is Literal:
            if value in typing.get_args(option) and isinstance(value, str):
                return value
        elif origin is tuple:
            fitting = _fit_tuple(typing.get_args(option), value)
            if fitting is not _MISFIT:
                return fitting
        else:
            raise AssertionError(f"no rule to read a {option} from TOML")
    return _MISFIT


def _fit_tuple(item_hints: tuple[Any, ...], value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return _MISFIT
    if item_hints[-1] is Ellipsis:
        item_hints = item_hints[:1] * len(value)
    if len(item_hints) != len(value):
        return _MISFIT
    items = tuple(_fit(hint, item) for hint, item in zip(item_hints, value, strict=True))
    return _MISFIT if any(item is _MISFIT for item in items) else items


def _wanted(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a string", bool: "true or false", type(None): "none"}
    words = []
    for option in _options(hint):
        if dataclasses.is_dataclass(option):
            words.append("a table")
        elif typing.get_origin(option) is Literal:
            words.append("one of " + ", ".join(repr(choice) for choice in typing.get_args(option)))
        elif typing.get_origin(option) is tuple:
            items = typing.get_args(option)
            count = "" if items[-1] is Ellipsis else f"{len(items)} "
            plural = {int: "whole numbers", float: "numbers", str: "strings"}.get(items[0], "values")
            words.append(f"a list of {count}{plural}")
        else:
            words.append(names[option])
    return " or ".join(words)


def _toml_type(value: Any) -> str:
    names = {str: "string", int: "integer", float: "float", bool: "boolean", list: "array", dict: "table"}
    return names.get(type(value), type(value).__name__)


def _has_required(cls: Any) -> bool:
    return any(
        f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING for f in dataclasses.fields(cls)
    )


def _toml_table(config: Any, *, prefix: str) -> list[str]:
    lines: list[str] = []
    tables: list[str] = []
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            tables += ["", f"[{prefix}{f.name}]", *_toml_table(value, prefix=f"{prefix}{f.name}.")]
        elif value is not None:
            lines.append(f"{f.name} = {_toml_value(value)}")
        elif f.default is not None:
            lines.append(f'{f.name} = "none"')
    return [*lines, *tables, ""] if not prefix else [*lines, *tables]


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # a JSON string is a TOML basic string, but for DEL, which TOML wants escaped
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    return repr(value)


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
