import numpy as np
import pytest

from dreamctl.video import ink
from dreamctl.video.panels import Panels
from tests.video.dreams import has, plain_picture


def panels(**changes: object) -> Panels:
    return Panels(plain_picture, 10, **{"context": 3, "side": 120, **changes})


def test_context_and_imagination_have_different_frames() -> None:
    view = panels()
    assert has(view.draw(2), ink.CONTEXT)
    assert not has(view.draw(2), ink.IMAGINED)
    assert has(view.draw(3), ink.IMAGINED)
    assert not has(view.draw(3), ink.CONTEXT)


def test_truth_stands_beside_the_dream() -> None:
    alone, beside = panels(), panels(truth=plain_picture)
    assert beside.size[0] > 2 * 120 > alone.size[0]
    assert has(beside.draw(5), ink.TRUTH)
    assert not has(alone.draw(5), ink.TRUTH)


def test_truth_that_ended_is_the_last_picture_faded() -> None:
    view = panels(truth=plain_picture, truth_valid=np.arange(10) < 6)
    left = (0, 30, 128, view.size[1])
    late = np.asarray(view.draw(8).crop(left), int)
    assert (late == np.asarray(view.draw(9).crop(left), int)).all()
    assert late.mean() > np.asarray(view.draw(5).crop(left), int).mean()


def test_no_truth_at_all_leaves_an_empty_panel() -> None:
    assert panels(truth=plain_picture, truth_valid=np.zeros(10, bool)).draw(9).size == panels(truth=plain_picture).size


def test_a_real_episode_is_one_picture_without_words() -> None:
    assert panels(context=None).size == (128, 88)


@pytest.mark.parametrize("shape", [(40, 60, 3), (40, 60, 1), (40, 60), (60, 8, 3)])
def test_every_picture_is_shown_at_the_asked_size(shape: tuple[int, ...]) -> None:
    view = Panels(lambda _: np.zeros(shape, np.uint8), 4, context=1, side=120)
    height = view.draw(0).size[1] - 30 - 8
    assert max(height, round(height * shape[1] / shape[0])) == 120


@pytest.mark.parametrize(("rows", "context"), [(2, 1), (10, 3), (10, 9), (10, 10), (3, None)])
def test_a_strip_shows_the_ends_of_the_context_and_of_the_dream(rows: int, context: int | None) -> None:
    view = Panels(plain_picture, rows, plain_picture if context else None, context=context, side=120)
    chosen = view._spread(8)
    assert chosen[0] == 0
    assert chosen[-1] == rows - 1
    assert len(chosen) <= 8
    assert context is None or context - 1 in chosen
    assert view.sheet().width > 0
