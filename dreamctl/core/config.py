"""Typed config: plain values (YAML, the command line, a checkpoint) <-> frozen dataclasses, the code that they configure beside them.

A kind is a frozen dataclass with a `kind: ClassVar[str]`; a union of kinds is their registry. What a mapping leaves out keeps the
field's default.
"""

import dataclasses
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dreamctl.core.errors import UsageError, nearest
from dreamctl.core.layers import (
    Layer,
    Merged,
    Values,
    load_config,
    load_layers,
    load_preset,
    merge,
    parse_assignment,
    preset_layers,
    preset_names,
)
from dreamctl.core.limits import Within

__all__ = [
    "Layer",
    "Merged",
    "Values",
    "build",
    "load_config",
    "load_layers",
    "load_preset",
    "merge",
    "parse_assignment",
    "preset_layers",
    "preset_names",
    "to_plain",
]

T = TypeVar("T")

NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d+)([eE][-+]?\d+)?|[-+]?\.?inf|\.?nan", re.IGNORECASE)
SCALARS: dict[type, str] = {bool: "true or false", int: "an integer", float: "a number", str: "text", Path: "a path"}


def build(cls: type[T], plain: Mapping[str, Any], path: str = "") -> T:
    """The frozen dataclass `cls` from plain values, so that `build(cls, to_plain(x)) == x`.

    Args:
        cls: a dataclass; a field whose metadata has `rest` set is a mapping of all keys that no other field claims.
        plain: key -> value, nested; a kind is `{kind: name, option: ...}` or just its name.
        path: where `plain` stands in the whole config, for error messages.

    Raises:
        UsageError: an unknown key (the nearest is named), an unknown kind, a value of another type, a missing key.
    """
    if not isinstance(plain, Mapping):
        raise UsageError(f"{path or cls.__name__}: found {plain!r}, wanted a mapping of keys")
    value: T = _dataclass(cls, plain, path, dataclasses.MISSING)
    return value


def to_plain(config: Any) -> Any:
    """A config as plain values that YAML and `torch.load(weights_only=True)` can hold; a kind carries its name as `kind`."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        plain = {"kind": config.kind} if hasattr(config, "kind") else {}
        for field in dataclasses.fields(config):
            if field.init:
                value = to_plain(getattr(config, field.name))
                plain |= value if field.metadata.get("rest") else {field.name: value}
        return plain
    if isinstance(config, Mapping):
        return {str(key): to_plain(value) for key, value in config.items()}
    if isinstance(config, tuple | list):
        return [to_plain(value) for value in config]
    return str(config) if isinstance(config, Path) else config


def _dataclass(cls: Any, plain: Any, path: str, base: Any) -> Any:
    """`plain` laid over `base` (an instance of cls, or MISSING)."""
    plain = {"kind": plain} if isinstance(plain, str) and hasattr(cls, "kind") else plain
    if not isinstance(plain, Mapping):
        raise UsageError(f"{path}: found {plain!r}, wanted a mapping of keys")
    given = {key: value for key, value in plain.items() if not (key == "kind" and hasattr(cls, "kind"))}
    if plain.get("kind", getattr(cls, "kind", None)) != getattr(cls, "kind", None) and hasattr(cls, "kind"):
        raise UsageError(f"{path}.kind: no kind {plain['kind']!r}{nearest(str(plain['kind']), [cls.kind])}")
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    rest = next((name for name, field in fields.items() if field.metadata.get("rest")), None)
    known = fields.keys() - {rest}
    if rest is not None:
        given = {key: value for key, value in given.items() if key in known} | {rest: {k: v for k, v in given.items() if k not in known}}
    hints = get_type_hints(cls, include_extras=True)
    values = {}
    for key, value in given.items():
        if key not in fields:
            whose = f" of kind {cls.kind}" if hasattr(cls, "kind") else ""
            raise UsageError(f"{_join(path, str(key))}: no such key{whose}{nearest(str(key), known)}")
        inner = path if key == rest else _join(path, key)
        values[key] = _value(hints[key], value, inner, _default(fields[key], base))
    return _construct(cls, {name: values.get(name, _default(field, base)) for name, field in fields.items()}, path)


def _construct(cls: Any, values: Mapping[str, Any], path: str) -> Any:
    """The instance; a ValueError of its own check becomes one line that names the place."""
    for name, value in values.items():
        if value is dataclasses.MISSING:
            raise UsageError(f"{_join(path, name)}: is missing and has no default")
    try:
        return cls(**values)
    except ValueError as error:
        raise UsageError(f"{path or cls.__name__}: {error}") from error


def _default(field: "dataclasses.Field[Any]", base: Any) -> Any:
    if base is not dataclasses.MISSING:
        return getattr(base, field.name)
    factory = field.default_factory
    return field.default if isinstance(factory, dataclasses._MISSING_TYPE) else factory()


def _value(hint: Any, value: Any, path: str, base: Any = dataclasses.MISSING) -> Any:
    """`value` as the type that `hint` says; `base` is what the key would be without it."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _limited(_value(args[0], value, path, base), args[1:], path)
    if origin in (Union, types.UnionType):
        return _union(args, value, path, base)
    if origin is Literal:
        if value in args and type(value) in {type(arg) for arg in args}:
            return value
        raise UsageError(f"{path}: found {value!r}, wanted one of {', '.join(map(str, args))}")
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, path, base if isinstance(base, hint) else dataclasses.MISSING)  # type: ignore[arg-type]
    if hint is type(None):
        raise UsageError(f"{path}: found {value!r}, wanted null")
    if hint in SCALARS:
        return _scalar(hint, value, path)
    container = origin or hint
    if container is tuple or container is list or container is Sequence:
        return _items(container, args, value, path)
    if isinstance(container, type) and issubclass(container, Mapping):
        return _mapping(args, value, path)
    return value


def _limited(value: Any, limits: tuple[Any, ...], path: str) -> Any:
    """The value, once it lies within every limit."""
    for limit in limits:
        if isinstance(limit, Within) and value not in limit:
            raise UsageError(f"{path}: found {value!r}, wanted {limit}")
    return value


def _union(options: tuple[Any, ...], value: Any, path: str, base: Any) -> Any:
    """A kind by its name, otherwise the first member that the value fits."""
    if value is None and type(None) in options:
        return None
    kinds = {option.kind: option for option in options if dataclasses.is_dataclass(option) and hasattr(option, "kind")}
    if kinds and isinstance(value, str | Mapping):
        fallback = base.kind if getattr(base, "kind", None) in kinds else next(iter(kinds))
        name = str(value if isinstance(value, str) else value.get("kind", fallback))
        if name not in kinds:
            raise UsageError(f"{_join(path, 'kind')}: no kind {name!r}{nearest(name, kinds)}")
        return _value(kinds[name], value, path, base)
    wrong = []
    for option in options:
        try:
            return _value(option, value, path, base)
        except UsageError as error:
            wrong.append(str(error).rpartition("wanted ")[2])
    raise UsageError(f"{path}: found {value!r}, wanted {' or '.join(dict.fromkeys(wrong))}")


def _scalar(hint: type, value: Any, path: str) -> Any:
    """A bool, int, float, str or Path; text that reads as a number is one where a number is wanted."""
    number = value
    if hint in (int, float) and isinstance(value, str) and NUMBER.fullmatch(value):
        number = float(value.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
    if hint is float and isinstance(number, int | float) and not isinstance(number, bool):
        return float(number)
    if hint is int and isinstance(number, int | float) and not isinstance(number, bool) and number == number // 1:
        return int(number)
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint in (bool, str) and isinstance(value, hint):
        return value
    raise UsageError(f"{path}: found {value!r}, wanted {SCALARS[hint]}")


def _items(container: Any, args: tuple[Any, ...], value: Any, path: str) -> Any:
    """A tuple (a list where the hint is a list) of checked items."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise UsageError(f"{path}: found {value!r}, wanted a list such as [a, b]")
    endless = container is not tuple or not args or args[-1] is Ellipsis
    hints = [args[0] if args else object] * len(value) if endless else list(args)
    if len(hints) != len(value):
        raise UsageError(f"{path}: found {len(value)} items, wanted a list of {len(hints)}")
    items = [_value(hint, item, f"{path}[{i}]") for i, (hint, item) in enumerate(zip(hints, value, strict=True))]
    return items if container is list else tuple(items)


def _mapping(args: tuple[Any, ...], value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{path}: found {value!r}, wanted a mapping of keys")
    hint = args[1] if args else object
    return {str(key): _value(hint, item, _join(path, str(key))) for key, item in value.items()}


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
