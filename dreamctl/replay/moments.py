"""Exact figures of numbers that come piece by piece: count, range, mean, spread, and how many are not finite."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dreamctl.core.experience import Array

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """Of finite numbers; None where there is none. `std` is that of all of them, not of a sample; `odd` are not finite."""

    count: int
    odd: int
    min: float | None
    max: float | None
    mean: float | None
    std: float | None


class Moments:
    """Figures of each of D dimensions, and of all of them together; what was added is not kept.

    Mean and sum of squares are joined as in Chan, Golub and LeVeque, Algorithms for computing the sample variance (1983), equation 2.1:

        mean = mean_a + d n_b / n,   M = M_a + M_b + d² n_a n_b / n,   d = mean_b - mean_a
    """

    def __init__(self, dimensions: int) -> None:
        self._count, self._odd = np.zeros(dimensions, np.int64), np.zeros(dimensions, np.int64)
        self._low, self._high = np.full(dimensions, np.inf), np.full(dimensions, -np.inf)
        self._mean, self._squares = np.zeros(dimensions), np.zeros(dimensions)

    def add(self, values: Array) -> None:
        """Take (rows, D) more numbers."""
        x = np.asarray(values, np.float64)
        finite = np.isfinite(x)
        count = finite.sum(0)
        mean = np.divide(np.where(finite, x, 0).sum(0), count, out=np.zeros(len(count)), where=count > 0)
        squares = (np.where(finite, x - mean, 0) ** 2).sum(0)
        self._odd += len(x) - count
        self._low = np.minimum(self._low, np.where(finite, x, np.inf).min(0, initial=np.inf))
        self._high = np.maximum(self._high, np.where(finite, x, -np.inf).max(0, initial=-np.inf))
        self._mean, self._squares, self._count = _joined((self._mean, self._squares, self._count), (mean, squares, count))

    def each(self) -> list[Figures]:
        """The figures of each dimension."""
        parts = (self._count, self._odd, self._low, self._high, self._mean, self._squares)
        return [_figures(*(part[d] for part in parts)) for d in range(len(self._count))]

    def together(self) -> Figures:
        """The figures of all dimensions."""
        whole = (np.zeros(()), np.zeros(()), np.zeros((), np.int64))
        for d in range(len(self._count)):
            whole = _joined(whole, (self._mean[d], self._squares[d], self._count[d]))
        mean, squares, count = whole
        return _figures(count, self._odd.sum(), self._low.min(initial=np.inf), self._high.max(initial=-np.inf), mean, squares)


class ByteCounts:
    """Figures of 8-bit numbers: how often each of the 256 was there tells all of them, and is quicker than adding."""

    def __init__(self) -> None:
        self._counts = np.zeros(256, np.int64)

    def add(self, values: Array) -> None:
        """Take more numbers, uint8 of any shape."""
        self._counts += np.bincount(values.ravel(), minlength=256)

    def together(self) -> Figures:
        """The figures of all of them."""
        there, value = np.flatnonzero(self._counts), np.arange(256.0)
        count = int(self._counts.sum())
        mean = float(self._counts @ value) / max(1, count)
        squares = self._counts @ (value - mean) ** 2
        low, high = (there[0], there[-1]) if count else (0, 0)
        return _figures(count, 0, low, high, mean, squares)


def _joined(one: tuple[Floats, Floats, Array], two: tuple[Floats, Floats, Array]) -> tuple[Floats, Floats, Array]:
    """Mean, sum of squares and count of two sets together."""
    n_a, n_b = one[2].astype(np.float64), two[2].astype(np.float64)
    n = np.maximum(n_a + n_b, 1)
    d = two[0] - one[0]
    return one[0] + d * n_b / n, one[1] + two[1] + d**2 * n_a * n_b / n, (n_a + n_b).astype(np.int64)


def _figures(count: float, odd: float, low: float, high: float, mean: float, squares: float) -> Figures:
    if not count:
        return Figures(0, int(odd), None, None, None, None)
    return Figures(int(count), int(odd), float(low), float(high), float(mean), float(np.sqrt(squares / count)))
