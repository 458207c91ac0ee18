"""`config`: the merged experiment, and where each value came from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dreamctl.core.layers import inline_yaml
from dreamctl.stages.experiment import Resolved

DEFAULT = "default"


@dataclass(frozen=True)
class ConfigView:
    """An experiment as YAML with the source of each value behind it, itself a valid config file."""

    resolved: Resolved
    path: Path | None = None

    def to_json(self) -> dict[str, object]:
        """As one object: the values, and the source of each that is not a default."""
        return {"config": self.resolved.plain, "origins": dict(self.resolved.merged.origins)}

    def summary(self) -> str:
        """YAML with comments."""
        lines = list(_lines(self.resolved.plain, "", 0))
        origins = self.resolved.merged.origins
        width = max(len(text) for text, key in lines if key)
        return "\n".join(f"{text:<{min(width, 50)}}  # {_origin(origins, key)}" if key else text for text, key in lines)


def show(resolved: Resolved) -> ConfigView:
    """The experiment, complete."""
    return ConfigView(resolved)


def _lines(values: Mapping[str, object], path: str, depth: int) -> Iterator[tuple[str, str]]:
    """YAML lines, each with the dotted key of its value; a section's own line has none."""
    for name, value in values.items():
        key = f"{path}.{name}" if path else name
        if isinstance(value, Mapping) and value:
            yield f"{'  ' * depth}{inline_yaml(name)}:", ""
            yield from _lines(value, key, depth + 1)
        else:
            yield f"{'  ' * depth}{inline_yaml(name)}: {inline_yaml(value)}", key


def _origin(origins: Mapping[str, str], key: str) -> str:
    """The source of a key, or of the mapping that was given whole."""
    while key:
        if key in origins:
            return origins[key]
        key = key.rpartition(".")[0]
    return DEFAULT
