"""Exact figures of numbers that come piece by piece: count, range, mean, spread, and how many are not finite."""

from dataclasses import dataclass

import numpy as np

from dreamctl.core.experience import Array


@dataclass(frozen=True)
class Figures:
    """Of finite numbers; None where there is none. `std` is that of all of them, not of a sample; `not_finite` are the others."""

    count: int
    not_finite: int
    min: float | None
    max: float | None
    mean: float | None
    std: float | None


class Moments:
    """Figures of each of D dimensions, and of all of them together; what was added is not kept.

    Mean and sum of squared deviations of two sets a and b (Chan, Golub and LeVeque, Algorithms for computing the sample variance, 1983):

        mean = mean_a + d n_b / n,   M = M_a + M_b + d² n_a n_b / n,   d = mean_b - mean_a
    """

    def __init__(self, dimensions: int) -> None:
        self._low, self._high = np.full(dimensions, np.inf), np.full(dimensions, -np.inf)
        # Counts are floats, exact up to 2^53 numbers.
        self._count, self._others, self._mean, self._squares = np.zeros((4, dimensions))

    def add(self, values: Array) -> None:
        """Take (rows, D) more numbers."""
        x = np.asarray(values, np.float64)
        finite = np.isfinite(x)
        n_a, n_b = self._count, finite.sum(0).astype(np.float64)
        n = np.maximum(n_a + n_b, 1)
        mean = np.where(finite, x, 0).sum(0) / np.maximum(n_b, 1)
        d = mean - self._mean
        self._squares = self._squares + (np.where(finite, x - mean, 0) ** 2).sum(0) + d**2 * n_a * n_b / n
        self._mean, self._count, self._others = self._mean + d * n_b / n, n_a + n_b, self._others + len(x) - n_b
        self._low = np.minimum(self._low, np.where(finite, x, np.inf).min(0, initial=np.inf))
        self._high = np.maximum(self._high, np.where(finite, x, -np.inf).max(0, initial=-np.inf))

    def each(self) -> list[Figures]:
        """The figures of each dimension."""
        parts = np.stack([self._count, self._others, self._low, self._high, self._mean, self._squares], axis=1)
        return [_figures(*row) for row in parts.tolist()]

    def together(self) -> Figures:
        """The figures of all dimensions."""
        count = float(self._count.sum())
        mean = float(self._count @ self._mean) / max(1.0, count)
        squares = float(self._squares.sum() + self._count @ (self._mean - mean) ** 2)
        low, high = float(self._low.min(initial=np.inf)), float(self._high.max(initial=-np.inf))
        return _figures(count, float(self._others.sum()), low, high, mean, squares)


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
        squares = float(self._counts @ (value - mean) ** 2)
        low, high = (float(there[0]), float(there[-1])) if count else (0.0, 0.0)
        return _figures(count, 0, low, high, mean, squares)


def _figures(count: float, others: float, low: float, high: float, mean: float, squares: float) -> Figures:
    if not count:
        return Figures(0, int(others), None, None, None, None)
    return Figures(int(count), int(others), float(low), float(high), float(mean), float(np.sqrt(squares / count)))
