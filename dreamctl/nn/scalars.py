"""Kinds of predicted scalar: how many numbers a network emits for one, and how to read them."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor

from dreamctl.nn.distributions import TwoHot, full_precision, symexp_bins


class ScalarDistribution(Protocol):
    """A predicted scalar."""

    @property
    def mean(self) -> Tensor:
        """The prediction, (...)."""

    def loss(self, target: Tensor) -> Tensor:
        """Negative log-likelihood or its like, (...)."""

    def first(self, steps: int) -> "ScalarDistribution":
        """The first so many steps of (N, T)."""


@dataclass(frozen=True)
class SymexpTwoHot:
    """A scalar as a classification over symexp-spaced bins, target in raw values (DreamerV3, critic learning).

    Attributes:
        bins: how many.
        limit: the outermost bin is symexp(limit).
    """

    kind: ClassVar[str] = "symexp_two_hot"
    bins: int = 255
    limit: float = 20.0

    def __post_init__(self) -> None:
        if not (self.bins >= 3 and 0 < self.limit <= 80):
            raise ValueError(f"bins={self.bins}, limit={self.limit}: wanted at least 3 bins and a limit above 0, at most 80")

    @property
    def param_size(self) -> int:
        """Numbers a network emits."""
        return self.bins

    def distribution(self, params: Tensor) -> TwoHot:
        """(..., bins) -> a scalar (...)."""
        logits = full_precision(params)
        return TwoHot(logits, symexp_bins(self.bins, self.limit).to(logits))


@dataclass(frozen=True)
class SquaredError:
    """A scalar as its mean, (x - mean)²."""

    kind: ClassVar[str] = "squared_error"

    @property
    def param_size(self) -> int:
        """Numbers a network emits."""
        return 1

    def distribution(self, params: Tensor) -> "Point":
        """(..., 1) -> a scalar (...)."""
        return Point(full_precision(params).squeeze(-1))


@dataclass(frozen=True)
class Point:
    """A scalar known by its mean (...)."""

    mean: Tensor

    def loss(self, target: Tensor) -> Tensor:
        """(target - mean)², (...)."""
        return (target - self.mean).square()

    def first(self, steps: int) -> "Point":
        """The first so many steps of (N, T)."""
        return Point(self.mean[:, :steps])


ScalarOutput = SymexpTwoHot | SquaredError
