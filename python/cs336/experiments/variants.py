"""What a sweep compares: variants of one training run, each a config once seed, data and directory are known."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cs336.config import DataConfig, TrainConfig, from_dict, to_dict
from cs336.settings import flatten
from cs336.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to run.

    Attributes:
        name: Also that of its directory.
        settings: What differs from the recipe's `[train]`.
        factors: Settings that are multiplied, after the recipe's scalings.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)


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
        mixed_budgets: The runs are meant to see different numbers of tokens.
    """

    name: str
    title: str
    question: str
    seeds: tuple[int, ...]
    train: Mapping[str, Any]
    variants: tuple[Variant, ...]
    scalings: tuple[Scaling, ...] = ()
    mixed_budgets: bool = False

    def config(self, variant: Variant, seed: int, *, data: DataConfig, run_dir: str | Path) -> TrainConfig:
        """Return the config of one run.

        Raises:
            ValueError: A setting is unknown or does not fit.
        """
        tree = copy_tree(self.train)
        for key, value in variant.settings.items():
            put(tree, key, value)
        self._follow(tree, variant)
        for key, factor in variant.factors.items():
            put(tree, key, multiplied(self._values(tree)[key], factor))
        values = {key: value for key in ("train", "valid", "tokenizer") if (value := getattr(data, key)) is not None}
        tree |= {"data": values, "run_dir": str(run_dir), "seed": seed}
        return from_dict(TrainConfig, tree, source=f"recipe {self.name}, {variant.name}")

    def only(self, names: Sequence[str]) -> "Recipe":
        """Return the recipe with some of its variants.

        Raises:
            ValueError: It has none of such a name.
        """
        known = {variant.name: variant for variant in self.variants}
        for name in names:
            if name not in known:
                raise ValueError(f"recipe {self.name} has no variant {name!r}; it has {', '.join(known)}")
        return dataclasses.replace(self, variants=tuple(known[name] for name in dict.fromkeys(names)))

    def with_settings(self, settings: Mapping[str, Any]) -> "Recipe":
        """Return the recipe with other common settings, by their dotted keys."""
        train = copy_tree(self.train)
        for key, value in settings.items():
            put(train, key, value)
        return dataclasses.replace(self, train=train)

    def with_vocab_of(self, data: DataConfig) -> "Recipe":
        """Return the recipe with the tokenizer's number of ids, if neither it nor an override says how many.

        Raises:
            OSError: The tokenizer cannot be read.
        """
        if data.tokenizer is None or "vocab_size" in self.train.get("model", {}):
            return self
        return self.with_settings({"model.vocab_size": Tokenizer.load(data.tokenizer).vocab_size})

    def _follow(self, tree: dict[str, Any], variant: Variant) -> None:
        """Apply the scalings whose own key the variant leaves alone."""
        if not self.scalings:
            return
        old, new = self._values(copy_tree(self.train)), self._values(tree)
        for scaling in self.scalings:
            if scaling.key not in variant.settings and new[scaling.with_key] != old[scaling.with_key]:
                ratio = (new[scaling.with_key] / old[scaling.with_key]) ** scaling.power
                put(tree, scaling.key, multiplied(old[scaling.key], ratio))

    def _values(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """Return all settings, the defaults included, with dotted keys."""
        whole = {**tree, "data": {"train": "none"}}
        return flatten(to_dict(from_dict(TrainConfig, whole, source=f"recipe {self.name}")))


def multiplied(value: Any, factor: float) -> Any:
    """Return a setting times a factor; a count stays a whole number, and at least 1."""
    return max(1, round(value * factor)) if isinstance(value, int) else value * factor


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in nested mappings."""
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = value


def copy_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings as new dicts; the values are shared."""
    return {key: copy_tree(value) if isinstance(value, Mapping) else value for key, value in tree.items()}


def laid_over(tree: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree with another's values in place of its own where both have them."""
    result = copy_tree(tree)
    for key, value in flatten(over).items():
        put(result, key, value)
    return result
