"""Ablations of any recipe: its model less one part, everything else as it is."""

import dataclasses
from collections.abc import Sequence

from cs336.experiments.recipe import load_recipe
from cs336.experiments.variants import Recipe, copy_tree, multiplied, put
from cs336.settings import flatten


def ablations_of(
    recipe: Recipe, *, variant: str | None = None, seeds: Sequence[int] | None = None, preset: str | None = None
) -> Recipe:
    """Return the variants of the recipe `ablations` on top of another recipe's run.

    Args:
        recipe: Whose run is the baseline.
        variant: Which of its variants, if it has several.
        seeds: Instead of those of `ablations`.
        preset: May say how many seeds.

    Raises:
        ValueError: The recipe has several variants and none is named, or none of that name.
    """
    names = [each.name for each in recipe.variants]
    if variant is None and len(names) > 1:
        raise ValueError(
            f"recipe {recipe.name} has several variants; say which to ablate (--variant): {', '.join(names)}"
        )
    chosen = recipe.only([variant or names[0]]).variants[0]
    train = copy_tree(recipe.train)
    for key, value in chosen.settings.items():
        put(train, key, value)
    for key, factor in chosen.factors.items():
        put(train, key, multiplied(flatten(train)[key], factor))
    ablations = load_recipe("ablations", seeds=seeds, preset=preset)
    return dataclasses.replace(ablations, train=train)
