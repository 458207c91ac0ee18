"""Config as layers of plain values: YAML files, presets and assignments, laid over one another, and where each value came from."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

from dreamctl.core.errors import UsageError, nearest

Values = dict[str, Any]
PRESETS = Path(__file__).parent.parent / "presets.yaml"


@dataclass(frozen=True)
class Layer:
    """Plain values from one source: a preset, a file, an option."""

    source: str
    values: Mapping[str, Any]
    is_preset: bool = False


@dataclass(frozen=True)
class Merged:
    """Layers laid over one another.

    Attributes:
        values: the nested plain values.
        origins: dotted key of each leaf -> the source of the layer that had the last word.
    """

    values: Values = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)


def merge(layers: Sequence[Layer], base: Mapping[str, Any] | None = None) -> Merged:
    """The layers, later over earlier, key by key; one that changes a `kind` drops the options of the former kind.

    Args:
        layers: from the weakest to the strongest.
        base: the defaults below them all; they tell which kind an option belongs to and have no origin.
    """
    merged = Merged()
    _lay(merged, merged.values, base or {}, "", "")
    merged.origins.clear()
    for layer in layers:
        _lay(merged, merged.values, layer.values, layer.source, "")
    return merged


def parse_assignment(text: str) -> Values:
    """`a.b=c` as `{"a": {"b": c}}`; c is read as YAML.

    Raises:
        UsageError: no `=`, an empty key, or a value that is not YAML.
    """
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UsageError(f"--set {text}: wanted KEY=VALUE such as replay.batch_size=16")
    nested: Any = _parse(value, f"--set {text}")
    for part in reversed(parts):
        nested = {part: nested}
    assert isinstance(nested, dict)
    return nested


def load_config(text: str, sections: Collection[str] = ()) -> Values:
    """The plain values of `FILE[:NAME]`, presets that it names laid under its own keys."""
    return merge(load_layers(text, sections)).values


def load_layers(text: str, sections: Collection[str] = ()) -> list[Layer]:
    """The layers of `FILE[:NAME]`: a file is one experiment, or experiments by name; `preset: [...]` in it comes first.

    Args:
        text: a YAML file, and after a colon the name of an entry.
        sections: the keys of an experiment; where given, a file of named entries asked for without a name is told apart.

    Raises:
        UsageError: a missing file, bad YAML, an unknown name.
    """
    path, name = _split(text)
    values = _read(path)
    if name:
        if name not in values or (sections and values.keys() <= {*sections, "preset"}):
            raise UsageError(f"{path}: no entry {name!r}{nearest(name, values)}")
        values = values[name]
    elif sections and values and not values.keys() & {*sections, "preset"}:
        raise UsageError(f"{path}: holds experiments by name; write {path}:NAME{nearest('', values)}")
    if not isinstance(values, dict):
        raise UsageError(f"{text}: found {values!r}, wanted a mapping of config sections")
    return _over_presets(text, values)


def preset_names() -> list[str]:
    """The presets that come with dreamctl."""
    return sorted(_read(PRESETS))


def preset_layers(name: str) -> list[Layer]:
    """A named preset as a layer, and before it those of the presets that it is made over."""
    return _over_presets(f"preset {name}", load_preset(name), is_preset=True)


def load_preset(name: str) -> Values:
    """The plain values of a named preset.

    Raises:
        UsageError: an unknown name; the nearest are named.
    """
    presets = _read(PRESETS)
    if name not in presets:
        raise UsageError(f"preset {name!r}: no such preset{nearest(name, presets)}")
    values = presets[name]
    assert isinstance(values, dict)
    return values


def dump_yaml(values: object) -> str:
    """Plain values as YAML that this module reads back to the same values."""
    return str(yaml.dump(values, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120))


def inline_yaml(value: object) -> str:
    """One value as it stands behind a key, on one line."""
    return str(yaml.dump([value], Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=10**9)).strip()[1:-1]


def _over_presets(source: str, values: Values, *, is_preset: bool = False) -> list[Layer]:
    """Values as a layer, the presets that they name before it."""
    presets = values.get("preset", [])
    presets = [presets] if isinstance(presets, str) else list(presets or [])
    own = Layer(source, {key: value for key, value in values.items() if key != "preset"}, is_preset)
    return [*(layer for preset in presets for layer in preset_layers(str(preset))), own]


def _lay(merged: Merged, into: Values, values: Mapping[str, Any], source: str, path: str) -> None:
    """Lay `values` over `into`, a mapping at `path` inside `merged`, in place."""
    for key, value in values.items():
        dotted = f"{path}.{key}" if path else str(key)
        old = into.get(key)
        if isinstance(value, str) and isinstance(old, Mapping) and "kind" in old:
            value = {"kind": value}
        if not isinstance(value, Mapping):
            _forget(merged.origins, dotted)
            into[key], merged.origins[dotted] = value, source
            continue
        if isinstance(old, str):
            old = into[key] = {"kind": old}
            merged.origins[f"{dotted}.kind"] = merged.origins.pop(dotted)
        changed = isinstance(old, Mapping) and "kind" in value and value["kind"] != old.get("kind", value["kind"])
        if not isinstance(old, Mapping) or changed:
            _forget(merged.origins, dotted)
            into[key] = {}
        _lay(merged, into[key], value, source, dotted)


def _forget(origins: dict[str, str], dotted: str) -> None:
    for key in [key for key in origins if key == dotted or key.startswith(f"{dotted}.")]:
        del origins[key]


def _split(text: str) -> tuple[Path, str]:
    """`FILE[:NAME]` as a path and a name; a file whose own name holds a colon is itself."""
    file, colon, name = text.rpartition(":")
    if not colon or Path(text).exists():
        return Path(text), ""
    return Path(file), name


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        raise UsageError(f"{path}: cannot be read as config ({reason}); wanted FILE.yaml or FILE.yaml:NAME") from error
    values = _parse(text, str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{path}: found {str(values)[:40]!r}, wanted a mapping of config sections")
    return {str(key): value for key, value in values.items()}


def _parse(text: str, place: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{place}{line}: not YAML ({getattr(error, 'problem', None) or error})") from error


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML 1.2's scalars (`1e-4` is a number; `on`, `1:30` and dates are text), and no key twice."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands there twice", key.start_mark)
            seen.add(str(key.value))
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Quotes whatever either YAML version would read as something else than text."""


def _scalars() -> Iterator[tuple[str, re.Pattern[str], str]]:
    yield "null", re.compile(r"~|null|Null|NULL|"), "~nN\0"
    yield "bool", re.compile(r"true|True|TRUE|false|False|FALSE"), "tTfF"
    yield "int", re.compile(r"[-+]?(0|[1-9][0-9_]*)|0x[0-9a-fA-F]+"), "-+0123456789"
    number = r"[-+]?([0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|\.[0-9]+([eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+)"
    yield "float", re.compile(number + r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), "-+.0123456789"
    yield "merge", re.compile(r"<<"), "<"


for _name, _pattern, _first in _scalars():
    _exact = re.compile(rf"(?:{_pattern.pattern})\Z")
    _starts = [letter if letter != "\0" else "" for letter in _first]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _exact, _starts)
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _exact, _starts)
