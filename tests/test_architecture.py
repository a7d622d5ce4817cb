"""The floors of the house: who may import whom. Reads the source; imports nothing."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "python" / "cs336"
pytestmark = pytest.mark.skipif(not PACKAGE.is_dir(), reason="needs the source tree")

# From the ground up. A module may import from lower floors and from its own part.
FLOORS = [
    {"_bpe", "_disk", "_extras", "_memory", "_npy", "_version", "settings"},
    {"inputs", "shards"},
    {"tokenizer", "corpus", "data", "model", "optim"},
    {"config", "accounting"},
    {"generate"},
    {"train"},  # shows samples as it learns
    {"experiments"},
    {"cli", "__main__"},
]
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
SIBLINGS_ALLOWED = {("corpus", "tokenizer"), ("__main__", "cli"), ("accounting", "config")}
WITHOUT_TORCH = [
    *("__init__", "tokenizer", "_bpe", "_disk", "_extras", "_memory", "_npy"),
    *("inputs", "settings", "shards", "corpus"),
]


def part_of(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".pyi").removesuffix(".py")


def sources():
    return sorted(PACKAGE.rglob("*.py"))


def imported_modules(path, *, at_import_only=False):
    """Dotted names of everything that a file imports; `at_import_only` leaves out what functions import later."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ["cs336", *path.relative_to(PACKAGE).parts[:-1]]
    pending = [tree]
    while pending:
        node = pending.pop()
        if at_import_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if at_import_only and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        pending.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def own_parts(path):
    names = (name.split(".") for name in imported_modules(path))
    return {parts[1] for parts in names if parts[0] == "cs336" and len(parts) > 1 and parts[1] in FLOOR_OF}


def test_every_part_has_a_floor():
    assert {part_of(path) for path in sources()} - {"__init__"} <= set(FLOOR_OF)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    part = part_of(path)
    if part == "__init__":
        assert not own_parts(path), "cs336/__init__.py imports nothing heavy"
        return
    for other in own_parts(path) - {part}:
        is_lower = FLOOR_OF[other] < FLOOR_OF[part]
        assert is_lower or (part, other) in SIBLINGS_ALLOWED, f"{part} must not import {other}"


@pytest.mark.parametrize("path", [path for path in sources() if part_of(path) in WITHOUT_TORCH], ids=str)
def test_the_base_install_is_enough_for_the_tokenizer(path):
    heavy = {"torch", "safetensors", "matplotlib", "jaxtyping", "regex"}
    assert not {name.split(".")[0] for name in imported_modules(path, at_import_only=True)} & heavy
