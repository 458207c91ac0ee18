"""Kinds of learning-rate schedule: the share of the rate that is left so many updates after the warm-up."""

import math
from dataclasses import dataclass
from typing import ClassVar

from dreamctl.core.limits import Count, Share


@dataclass(frozen=True)
class Constant:
    """1."""

    kind: ClassVar[str] = "constant"

    def factor(self, done: int) -> float:  # noqa: ARG002
        """1, whatever is done."""
        return 1.0


@dataclass(frozen=True)
class Linear:
    """1 - (1 - final) min(1, done / updates).

    Attributes:
        updates: after the warm-up, until the rate is `final` of itself.
        final: what is left then.
    """

    kind: ClassVar[str] = "linear"
    updates: Count = 100_000
    final: Share = 0.1

    def factor(self, done: int) -> float:
        """After so many updates."""
        return 1.0 - (1.0 - self.final) * min(1.0, done / self.updates)


@dataclass(frozen=True)
class Cosine:
    """final + (1 - final) (1 + cos(π min(1, done / updates))) / 2.

    Attributes:
        updates, final: as those of the linear one.
    """

    kind: ClassVar[str] = "cosine"
    updates: Count = 100_000
    final: Share = 0.0

    def factor(self, done: int) -> float:
        """After so many updates."""
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done / self.updates)))


Schedule = Constant | Linear | Cosine
