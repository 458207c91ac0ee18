"""Figures that are built up piece by piece are those of all numbers at once."""

import numpy as np
import pytest

from dreamctl.core.experience import Array
from dreamctl.replay.figures.moments import ByteCounts, Figures, Moments


def pieces(array: Array, cuts: list[int]) -> list[Array]:
    return np.split(array, cuts)


def assert_figures(found: Figures, values: Array) -> None:
    finite = values[np.isfinite(values)].astype(np.float64)
    assert (found.count, found.not_finite) == (finite.size, values.size - finite.size)
    assert (found.min, found.max) == (finite.min(), finite.max())
    assert found.mean == pytest.approx(finite.mean(), rel=1e-12)
    assert found.std == pytest.approx(finite.std(), rel=1e-9)


@pytest.mark.parametrize("cuts", [[], [1], [10, 11, 400], [0, 500]])
def test_pieces_and_all_at_once_agree(cuts: list[int]) -> None:
    x = np.random.default_rng(0).normal(3, 2, (500, 3))
    moments = Moments(3)
    for piece in pieces(x, cuts):
        moments.add(piece)
    assert_figures(moments.together(), x)
    for dimension, found in enumerate(moments.each()):
        assert_figures(found, x[:, dimension])


def test_a_small_spread_far_from_zero_is_not_lost() -> None:
    x = 1e9 + np.tile([[-1.0], [1.0]], (500, 1))
    moments = Moments(1)
    for piece in pieces(x, [1, 333]):
        moments.add(piece)
    assert moments.together().std == pytest.approx(1.0, rel=1e-6)


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    x = np.array([[1.0, np.nan], [np.inf, 2.0], [3.0, -np.inf], [5.0, 4.0]])
    moments = Moments(2)
    for row in x:
        moments.add(row[None])
    assert_figures(moments.together(), x)
    assert [one.not_finite for one in moments.each()] == [1, 2]


def test_no_number_at_all_has_no_figures() -> None:
    nothing = Figures(0, 0, None, None, None, None)
    moments = Moments(2)
    moments.add(np.zeros((0, 2)))
    assert moments.together() == nothing
    assert moments.each() == [nothing, nothing]
    assert ByteCounts().together() == nothing
    moments.add(np.full((1, 2), np.nan))
    assert moments.together() == Figures(0, 2, None, None, None, None)


def test_bytes_are_counted_exactly() -> None:
    x = np.random.default_rng(0).integers(3, 250, (40, 8, 8, 3), np.uint8)
    counts = ByteCounts()
    for piece in pieces(x, [1, 17]):
        counts.add(piece)
    assert_figures(counts.together(), x)


def test_truth_values_and_whole_numbers_have_figures() -> None:
    moments = Moments(1)
    moments.add(np.array([[True], [False], [True], [True]]))
    assert moments.together().mean == 0.75
    moments.add(np.array([[10], [-10]], np.int8))
    assert (moments.together().min, moments.together().max) == (-10, 10)
