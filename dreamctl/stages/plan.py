"""What a stage would do, for `--dry-run`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """Labelled lines; nothing was written.

    Attributes:
        items: label -> what it will be.
    """

    items: dict[str, str]
    path: Path | None = None

    def __add__(self, more: dict[str, str]) -> "Plan":
        return Plan(self.items | more)

    def to_json(self) -> dict[str, object]:
        """The lines as one object."""
        return {"plan": self.items}

    def summary(self) -> str:
        """The lines, one a label, aligned."""
        width = max(map(len, self.items))
        return "\n".join(f"{label:<{width}}  {text}" for label, text in self.items.items())
