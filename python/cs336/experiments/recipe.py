"""Recipes: one question, the run that it starts from, and the runs that answer it.

A recipe is a TOML file::

    title = "Learning rate"
    question = "Which rate learns fastest, and where does training break?"
    seeds = [0, 1, 2]

    [train]                     # a training config without data and run_dir
    tokens = 40_960_000
    [train.optim]
    lr = 1e-3

    [grid]                      # every combination is a variant
    "optim.lr" = [3e-4, 1e-3, 3e-3]

    [[runs]]                    # or, instead of a grid, variants one by one; the first is the baseline
    name = "post-norm"
    set = { "model.norm_position" = "post" }

    [scale]                     # what follows from what a variant changes
    "optim.lr" = { with = "batch_size", power = 0.5 }

Those of the package (`recipes/*.toml`) are known by name.
"""

import importlib.resources
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cs336.config import DataConfig, TrainConfig, from_dict, to_dict
from cs336.settings import flatten, lay_over, read_toml

_KEYS = {"title", "question", "seeds", "train", "grid", "runs", "scale"}
_UNSAFE = re.compile(r"[^A-Za-z0-9._=,+-]+")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to run: a name, and the settings in which it differs from the recipe's `[train]`."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """A setting that follows another: it is multiplied by `(new / old) ** power` of the other."""

    key: str
    with_key: str
    power: float


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a recipe file says.

    Attributes:
        name: The file's name without its ending.
        title: A few words.
        question: What the runs are to answer.
        seeds: Each variant is run once for each.
        train: The common settings, as a tree of `TrainConfig` without `data`, `run_dir` and `seed`.
        variants: What is compared; the first is the baseline.
        scalings: Settings that follow others.
    """

    name: str
    title: str
    question: str
    seeds: tuple[int, ...]
    train: Mapping[str, Any]
    variants: tuple[Variant, ...]
    scalings: tuple[Scaling, ...] = ()

    def config(self, variant: Variant, seed: int, *, data: DataConfig, run_dir: str | Path) -> TrainConfig:
        """Return the config of one run.

        Raises:
            ValueError: A setting is unknown or does not fit.
        """
        tree = _copy(self.train)
        for key, value in variant.settings.items():
            _put(tree, key, value)
        self._follow(tree, variant)
        values = {key: value for key in ("train", "valid", "tokenizer") if (value := getattr(data, key)) is not None}
        tree |= {"data": values, "run_dir": str(run_dir), "seed": seed}
        return from_dict(TrainConfig, tree, source=f"recipe {self.name}, {variant.name}")

    def _follow(self, tree: dict[str, Any], variant: Variant) -> None:
        """Apply the scalings whose own key the variant leaves alone."""
        if not self.scalings:
            return
        data, first = {"data": {"train": "none"}}, _copy(self.train)
        old, new = (
            flatten(to_dict(from_dict(TrainConfig, tree_ | data, source=f"recipe {self.name}")))
            for tree_ in (first, tree)
        )
        for scaling in self.scalings:
            if scaling.key not in variant.settings and new[scaling.with_key] != old[scaling.with_key]:
                ratio = (new[scaling.with_key] / old[scaling.with_key]) ** scaling.power
                _put(tree, scaling.key, old[scaling.key] * ratio)


def recipe_names() -> list[str]:
    """Return the names of the package's recipes."""
    return sorted(path.name.removesuffix(".toml") for path in _shipped().iterdir() if path.name.endswith(".toml"))


def load_recipe(name: str | Path, *, overrides: Sequence[str] = (), seeds: Sequence[int] | None = None) -> Recipe:
    """Read a recipe of the package by its name, or one from a file.

    Args:
        name: Such as `learning-rate`, or a path that ends in `.toml`.
        overrides: `key=value` sets a common setting; `key=value,value,...` makes a grid of it, instead of the recipe's
            own variants.
        seeds: Instead of the recipe's.

    Raises:
        OSError: The file cannot be read.
        ValueError: There is no such recipe, or it does not read like one; names the place and what was expected.
    """
    path = Path(name)
    if path.suffix == ".toml":
        return _parse(read_toml(path), name=path.stem, overrides=overrides, seeds=seeds)
    if str(name) not in recipe_names():
        raise ValueError(f"there is no recipe {str(name)!r}; name a .toml file, or one of {', '.join(recipe_names())}")
    with importlib.resources.as_file(_shipped() / f"{name}.toml") as shipped:
        return _parse(read_toml(shipped), name=str(name), overrides=overrides, seeds=seeds)


def _shipped() -> Any:
    return importlib.resources.files("cs336.experiments") / "recipes"


def _parse(tree: Mapping[str, Any], *, name: str, overrides: Sequence[str], seeds: Sequence[int] | None) -> Recipe:
    source = f"recipe {name}"
    for key in tree:
        if key not in _KEYS:
            raise ValueError(f"{source}: unknown key {key!r}, known keys are {', '.join(sorted(_KEYS))}")
    train = _copy(_table(tree, "train", source))
    for key in ("data", "run_dir", "seed"):
        if key in train:
            raise ValueError(f"{source}: train.{key} does not belong into a recipe; it is given with the call")
    grid = dict(_table(tree, "grid", source))
    runs = _variants(tree.get("runs", []), source)
    for override in overrides:
        values = _grid_values(override, train, name=name)
        if values is not None:
            grid |= values
            runs = []
    if grid and runs:
        raise ValueError(f"{source}: give either a [grid] or [[runs]], not both")
    chosen = tuple(tree.get("seeds", [0]) if seeds is None else seeds)
    if not chosen or not all(type(seed) is int and seed >= 0 for seed in chosen) or len(set(chosen)) < len(chosen):
        raise ValueError(f"{source}: seeds must be different whole numbers, at least one, got {list(chosen)}")
    return Recipe(
        name=name,
        title=str(tree.get("title", name)),
        question=str(tree.get("question", "")),
        seeds=chosen,
        train=train,
        variants=tuple(runs or _combinations(grid, source)),
        scalings=_scalings(_table(tree, "scale", source), source),
    )


def _table(tree: Mapping[str, Any], key: str, source: str) -> Mapping[str, Any]:
    value = tree.get(key, {})
    if not isinstance(value, Mapping):
        raise ValueError(f"{source}: {key} must be a table, got {value!r}")
    return value


def _variants(entries: Any, source: str) -> list[Variant]:
    variants: list[Variant] = []
    for entry in entries if isinstance(entries, list) else [entries]:
        if (
            not isinstance(entry, Mapping)
            or not set(entry) <= {"name", "set"}
            or not isinstance(entry.get("name"), str)
        ):
            raise ValueError(f"{source}: an entry of [[runs]] has a name and may have a table `set`, got {entry!r}")
        settings = flatten(_table(entry, "set", source))
        name = _safe(entry["name"])
        if any(name == other.name for other in variants):
            raise ValueError(f"{source}: two of the [[runs]] are called {name!r}; their names must differ")
        variants.append(Variant(name=name, settings=settings))
    return variants


def _combinations(grid: Mapping[str, Any], source: str) -> list[Variant]:
    """Return a variant for each combination of the grid's values; one without settings if there is no grid."""
    grid = flatten(grid)
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{source}: grid.{key} must be a list of values, got {values!r}")
    if not grid:
        return [Variant(name="base")]
    combinations = (dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))
    return [
        Variant(name=_safe(",".join(f"{key.rpartition('.')[2]}={_plain(value)}" for key, value in settings.items())),
                settings=settings)
        for settings in combinations
    ]  # fmt: skip


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _safe(name: str) -> str:
    return _UNSAFE.sub("-", name).strip("-.") or "run"


def _scalings(table: Mapping[str, Any], source: str) -> tuple[Scaling, ...]:
    scalings = []
    for key, entry in table.items():
        if not isinstance(entry, Mapping) or set(entry) != {"with", "power"}:
            raise ValueError(
                f'{source}: scale.{key} must look like {{ with = "batch_size", power = 0.5 }}, got {entry!r}'
            )
        scalings.append(Scaling(key=key, with_key=str(entry["with"]), power=float(entry["power"])))
    return tuple(scalings)


def _grid_values(override: str, train: dict[str, Any], *, name: str) -> dict[str, list[Any]] | None:
    """Lay an override over the common settings, or return the grid that it asks for."""
    key, _, text = override.partition("=")
    if "," not in text or text.strip().startswith(("[", '"', "'")):
        lay_over(train, override, origins={})
        return None
    values = []
    for item in text.split(","):
        tree: dict[str, Any] = {}
        lay_over(tree, f"{key}={item}", origins={})
        if not item.strip():
            raise ValueError(f"--set {override}: a value between the commas is missing")
        values.append(flatten(tree)[key.strip()])
    return {key.strip(): values}


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = value


def _copy(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in tree.items()}
