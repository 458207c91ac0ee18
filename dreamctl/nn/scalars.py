"""Kinds of predicted scalar: how many numbers a network emits for one, and how to read them."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Protocol

from torch import Tensor

from dreamctl.core.limits import Within
from dreamctl.nn.blocks import symexp, symlog
from dreamctl.nn.distributions import TwoHot, even_bins, full_precision, symexp_bins


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


@dataclass(frozen=True)
class UnitNormal:
    """A scalar as the mean of a normal of standard deviation 1, whose loss is -ln p = ½ (x - mean)² + ½ ln 2π (Dreamer, DreamerV2)."""

    kind: ClassVar[str] = "unit_normal"

    @property
    def param_size(self) -> int:
        """Numbers a network emits."""
        return 1

    def distribution(self, params: Tensor) -> "UnitNormalScalar":
        """(..., 1) -> a scalar (...)."""
        return UnitNormalScalar(full_precision(params).squeeze(-1))


@dataclass(frozen=True)
class UnitNormalScalar:
    """A normal of standard deviation 1 around its mean (...)."""

    mean: Tensor

    def loss(self, target: Tensor) -> Tensor:
        """½ (target - mean)² + ½ ln 2π, in nats, (...)."""
        return 0.5 * (target - self.mean).square() + 0.5 * math.log(2 * math.pi)

    def first(self, steps: int) -> "UnitNormalScalar":
        """The first so many steps of (N, T)."""
        return UnitNormalScalar(self.mean[:, :steps])


@dataclass(frozen=True)
class SymlogSquaredError:
    """A scalar as the symlog of its mean, (symlog(x) - m)² (DreamerV3, robust predictions)."""

    kind: ClassVar[str] = "symlog_squared_error"

    @property
    def param_size(self) -> int:
        """Numbers a network emits."""
        return 1

    def distribution(self, params: Tensor) -> "SymlogScalar":
        """(..., 1) -> a scalar (...)."""
        return SymlogScalar(Point(full_precision(params).squeeze(-1)))


@dataclass(frozen=True)
class SymlogTwoHot:
    """A scalar as a classification over bins that are evenly spaced in symlog space (DreamerV3, first version).

        target = two-hot of symlog(x),  mean = symexp(Σ p b)

    Attributes:
        bins: how many.
        limit: the outermost bin stands for symexp(limit).
    """

    kind: ClassVar[str] = "symlog_two_hot"
    bins: Annotated[int, Within(3)] = 255
    limit: Annotated[float, Within(1e-8, 80)] = 20.0

    @property
    def param_size(self) -> int:
        """Numbers a network emits."""
        return self.bins

    def distribution(self, params: Tensor) -> "SymlogScalar":
        """(..., bins) -> a scalar (...)."""
        logits = full_precision(params)
        return SymlogScalar(TwoHot(logits, even_bins(self.bins, self.limit).to(logits)))


@dataclass(frozen=True)
class SymlogScalar:
    """A scalar whose symlog is what the inner one believes.

    Attributes:
        inner: of symlog(x).
    """

    inner: ScalarDistribution

    @cached_property
    def mean(self) -> Tensor:
        """symexp of the inner mean, (...)."""
        return symexp(self.inner.mean)

    def loss(self, target: Tensor) -> Tensor:
        """The inner loss to symlog(target), (...)."""
        return self.inner.loss(symlog(target))

    def first(self, steps: int) -> "SymlogScalar":
        """The first so many steps of (N, T)."""
        return SymlogScalar(self.inner.first(steps))


ScalarOutput = SymexpTwoHot | SquaredError | UnitNormal | SymlogSquaredError | SymlogTwoHot
