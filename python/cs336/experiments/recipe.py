"""Recipes: one question, the run that it starts from, and the runs that answer it.

A recipe is a TOML file::

    title = "Learning rate"
    question = "Which rate learns fastest, and where does training break?"
    extends = "base"            # whose [train] this one's is laid over
    seeds = [0, 1, 2]

    [train]                     # a training config without data and run_dir
    tokens = 40_960_000
    [train.optim]
    lr = 1e-3

    [grid]                      # every combination is a variant
    "optim.lr" = [3e-4, 6e-4, 1.2e-3]

    [[runs]]                    # or, instead of a grid, variants one by one; the first is the baseline
    name = "post-norm"
    set = { "model.norm_position" = "post" }
    times = { "optim.lr" = 0.1 }

    [scale]                     # what follows from what a variant changes
    "optim.lr" = { with = "batch_size", power = 0.5 }

    [probe]                     # each variant also at these multiples of a setting, after scaling
    "optim.lr" = [0.5, 1, 2]

    [presets.cpu]               # what is said differently where the preset `cpu` is asked for
    grid = { "optim.lr" = [1e-3, 2e-3] }

`mixed_budgets = true` allows runs that see different numbers of tokens. Without `model.vocab_size` a run has as many
ids as its tokenizer. Those of the package (`recipes/*.toml`) are known by name, and so are the presets
(`presets/*.toml`): common settings that make every recipe fit a kind of machine.
"""

import importlib.resources
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cs336.experiments.variants import Recipe, Scaling, Variant, copy_tree, laid_over
from cs336.settings import flatten, lay_over, read_toml

__all__ = ["Recipe", "Variant", "load_recipe", "preset_names", "recipe_names"]

_KEYS = {"title", "question", "extends", "seeds", "mixed_budgets", "train", "grid", "runs", "scale", "probe", "presets"}
_PRESET_KEYS = {"seeds", "train", "grid", "runs", "probe"}
_UNSAFE = re.compile(r"[^A-Za-z0-9._=,+-]+")


def recipe_names() -> list[str]:
    """Return the names of the package's recipes."""
    return _names("recipes")


def preset_names() -> list[str]:
    """Return the names of the package's presets."""
    return _names("presets")


def load_recipe(
    name: str | Path,
    *,
    overrides: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    preset: str | None = None,
) -> Recipe:
    """Read a recipe of the package by its name, or one from a file.

    Args:
        name: Such as `learning-rate`, or a path that ends in `.toml`.
        overrides: `key=value` sets a common setting; `key=value,value,...` makes a grid of it, instead of the recipe's
            own variants.
        seeds: Instead of the recipe's.
        preset: Such as `cpu`; laid over the recipe, under the overrides.

    Raises:
        OSError: The file cannot be read.
        ValueError: There is no such recipe or preset, or it does not read like one; names the place and what was
            expected.
    """
    recipe_name, tree = _read(name)
    source = f"recipe {recipe_name}"
    for key in tree:
        if key not in _KEYS:
            raise ValueError(f"{source}: unknown key {key!r}, known keys are {', '.join(sorted(_KEYS))}")
    if "extends" in tree:
        _, parent = _read(tree["extends"])
        tree = {**tree, "train": laid_over(parent.get("train", {}), _table(tree, "train", source))}
    if preset is not None:
        tree = _with_preset(tree, preset, source)
    return _parse(tree, name=recipe_name, overrides=overrides, seeds=seeds)


def _read(name: str | Path) -> tuple[str, dict[str, Any]]:
    path = Path(name)
    if path.suffix == ".toml":
        return path.stem, read_toml(path)
    if str(name) not in recipe_names():
        raise ValueError(f"there is no recipe {str(name)!r}; name a .toml file, or one of {', '.join(recipe_names())}")
    return str(name), _read_shipped("recipes", str(name))


def _with_preset(tree: Mapping[str, Any], preset: str, source: str) -> dict[str, Any]:
    """Lay the preset's common settings over the recipe's, and over both what the recipe says about the preset."""
    if preset not in preset_names():
        raise ValueError(f"there is no preset {preset!r}; name one of {', '.join(preset_names())}")
    result = copy_tree(tree)
    for layer in (_read_shipped("presets", preset), _table(_table(tree, "presets", source), preset, source)):
        for key, value in layer.items():
            if key not in _PRESET_KEYS:
                raise ValueError(f"{source}: a preset may hold {', '.join(sorted(_PRESET_KEYS))}, got {key!r}")
            result[key] = laid_over(result.get("train", {}), value) if key == "train" else value
    return result


def _names(folder: str) -> list[str]:
    return sorted(path.name.removesuffix(".toml") for path in _shipped(folder).iterdir() if path.name.endswith(".toml"))


def _read_shipped(folder: str, name: str) -> dict[str, Any]:
    with importlib.resources.as_file(_shipped(folder) / f"{name}.toml") as path:
        return read_toml(path)


def _shipped(folder: str) -> Any:
    return importlib.resources.files("cs336.experiments") / folder


def _parse(tree: Mapping[str, Any], *, name: str, overrides: Sequence[str], seeds: Sequence[int] | None) -> Recipe:
    source = f"recipe {name}"
    train = copy_tree(_table(tree, "train", source))
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
        variants=tuple(_probed(runs or _combinations(grid, source), _table(tree, "probe", source), source)),
        scalings=_scalings(_table(tree, "scale", source), source),
        mixed_budgets=bool(tree.get("mixed_budgets", False)),
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
            or not set(entry) <= {"name", "set", "times"}
            or not isinstance(entry.get("name"), str)
        ):
            raise ValueError(
                f"{source}: an entry of [[runs]] has a name and may have the tables `set` and `times`, got {entry!r}"
            )
        name = _safe(entry["name"])
        if any(name == other.name for other in variants):
            raise ValueError(f"{source}: two of the [[runs]] are called {name!r}; their names must differ")
        settings, factors = flatten(_table(entry, "set", source)), flatten(_table(entry, "times", source))
        variants.append(Variant(name=name, settings=settings, factors=factors))
    return variants


def _combinations(grid: Mapping[str, Any], source: str) -> list[Variant]:
    """Return a variant for each combination of the grid's values; one without settings if there is no grid."""
    grid = _lists(grid, f"{source}: grid")
    if not grid:
        return [Variant(name="base")]
    return [grid_variant(dict(zip(grid, values, strict=True))) for values in itertools.product(*grid.values())]


def grid_variant(settings: Mapping[str, Any]) -> Variant:
    """Return the variant of a grid's point, named after its values."""
    name = ",".join(f"{key.rpartition('.')[2]}={_plain(value)}" for key, value in settings.items())
    return Variant(name=_safe(name), settings=settings)


def _probed(variants: Sequence[Variant], table: Mapping[str, Any], source: str) -> list[Variant]:
    """Return each variant at all multiples of the probed settings, that at 1 under its own name."""
    probes = _lists(table, f"{source}: probe")
    result = []
    for variant, factors in itertools.product(variants, itertools.product(*probes.values())):
        changed = {key: float(factor) for key, factor in zip(probes, factors, strict=True) if factor != 1}
        marks = [f",{key.rpartition('.')[2]}x{factor:g}" for key, factor in changed.items()]
        result.append(
            Variant(
                name=variant.name + "".join(marks), settings=variant.settings, factors={**variant.factors, **changed}
            )
        )
    return result


def _lists(table: Mapping[str, Any], source: str) -> dict[str, list[Any]]:
    lists = flatten(table)
    for key, values in lists.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{source}.{key} must be a list of values, got {values!r}")
    return lists


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
