import numpy as np
import pytest

from dreamctl.video import ink
from dreamctl.video.traces import MOST, Traces, number
from tests.video.dreams import has


def traces(rows: int = 20, dimensions: int = 3, **changes: object) -> Traces:
    values = np.cumsum(np.random.default_rng(0).normal(size=(rows, dimensions)), 0)
    given = {"truth": values + 0.3, "truth_valid": np.arange(rows) < rows - 4, "context": 5, **changes}
    return Traces(values, [f"observation[{i}]" for i in range(dimensions)], **given)


def test_the_cursor_moves_with_the_row() -> None:
    view = traces()
    columns = [int(np.flatnonzero((np.asarray(view.draw(t))[30] == ink.INK).all(-1))[0]) for t in range(view.rows)]
    assert columns == sorted(set(columns))


def test_context_is_shaded_and_drawn_in_another_colour() -> None:
    view = traces()
    assert has(view.draw(2), ink.CONTEXT)
    assert has(view.sheet(), ink.IMAGINED)
    assert has(view.draw(12), ink.mix(ink.CONTEXT, ink.WHITE, 0.85))
    assert not has(traces(context=None).draw(12), ink.IMAGINED)


def test_the_future_is_fainter_than_the_past() -> None:
    view = traces()
    right = (view.width // 2, 40, view.width - 62, view.size[1])
    early, late = (np.asarray(view.draw(t).crop(right), int).mean() for t in (1, view.rows - 1))
    assert early > late


@pytest.mark.parametrize("dimensions", [1, 2, 8, MOST, MOST + 30])
def test_any_number_of_dimensions_fits(dimensions: int) -> None:
    image = traces(dimensions=dimensions).draw(3)
    assert image.size == traces(dimensions=dimensions).size
    assert image.height < 400


@pytest.mark.parametrize("values", [np.zeros((6, 2)), np.full((6, 2), np.nan), np.full((1, 2), 3.0), np.array([[1e30], [-1e30]])])
def test_odd_numbers_are_drawn_all_the_same(values: np.ndarray) -> None:
    view = Traces(values, ["a", "b"], context=1)
    assert view.draw(len(values) - 1).size == view.size


def test_long_names_keep_their_ends_which_tell_them_apart() -> None:
    deep = [f"camera/left/_index_0/corner/_index_{i}" for i in (0, 1)]
    values = np.tile(np.arange(4.0)[:, None], 2)
    views = [np.asarray(Traces(values, [name, "x"]).sheet()) for name in deep]
    assert not np.array_equal(*views)
    assert [ink.shorten_left(name, 100, 13)[0] for name in (*deep, "short")] == ["…", "…", "s"]
    assert all(ink.width(ink.shorten_left(name, 100, 13), 13) <= 100 for name in deep)


def test_numbers_are_short() -> None:
    assert [number(x) for x in (1.0, -0.049, 1234.5, 2e6, float("nan"))] == ["1.00", "-0.05", "1234", "2.0e+06", "-"]
