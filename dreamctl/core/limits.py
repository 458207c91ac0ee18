"""Types of config values that say which numbers make sense; `config.build` refuses the others."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Within:
    """A number from `low` to `high`, both included; not-a-number lies nowhere."""

    low: float
    high: float = float("inf")

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"at least {self.low:g}" if self.high == float("inf") else f"{self.low:g} to {self.high:g}"


Count = Annotated[int, Within(1)]
Natural = Annotated[int, Within(0)]
Share = Annotated[float, Within(0, 1)]
Weight = Annotated[float, Within(0)]
