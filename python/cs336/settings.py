"""Config dataclasses from and to nested mappings and TOML; knows none of them by name.

Whatever does not fit ends in a message that names the source, the key, the value and what was expected.
"""

import dataclasses
import difflib
import json
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

T = TypeVar("T")


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
    return Reader(source, origins or {}).build(cls, tree, prefix="")


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


def check_choices(config: Any, *, prefix: str = "") -> None:
    """Check that each field of a config dataclass whose type is a `Literal` holds one of its strings.

    For `__post_init__`: what Python passes has not been through `from_dict`.

    Raises:
        ValueError: one does not; names the field, after `prefix`, and what it may hold.
    """
    for name, hint in typing.get_type_hints(type(config)).items():
        options = _options(hint)
        choices = [choice for option in options if typing.get_origin(option) is Literal for choice in option.__args__]
        value = getattr(config, name)
        is_free = len(options) > 1 + (type(None) in options)  # of other types, too
        if choices and not is_free and value not in choices and not (value is None and type(None) in options):
            raise ValueError(f"{prefix}{name} must be one of {', '.join(choices)}, got {value!r}")


def changed_keys(old: Any, new: Any) -> dict[str, tuple[Any, Any]]:
    """Return the dotted keys in which two configs of one type differ, each with its old and new value."""
    old_values, new_values = flatten(to_dict(old)), flatten(to_dict(new))
    return {key: (old_values[key], new_values[key]) for key in old_values if old_values[key] != new_values[key]}


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not TOML; names the file and the place.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from error


def lay_over(tree: dict[str, Any], override: str, *, origins: dict[str, str]) -> None:
    """Put the value of a `key=value` override into the tree, and where it comes from into `origins`.

    Raises:
        ValueError: the override is not of that form, or leads through a value that is no table.
    """
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


class Reader:
    """Turns nested mappings into dataclasses, and whatever does not fit into messages with source and key."""

    def __init__(self, source: str, origins: Mapping[str, str]) -> None:
        self.source = source
        self.origins = origins

    def build(self, cls: type[T], tree: Mapping[str, Any], *, prefix: str) -> T:
        """Make the dataclass; `prefix` stands before its keys in messages."""
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
        """Make what the type hint asks for of one value."""
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


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
