"""Episodes as views: pictures where rows can be drawn, otherwise traces, with the truth beside a dream where it is known."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dreamctl.core.experience import Array, Episode, TaskSpec
from dreamctl.core.spaces import ChoiceSpace, is_image, vector_size
from dreamctl.video.panels import Panels, Pictures
from dreamctl.video.scene import View
from dreamctl.video.traces import Traces

NARROW = 480  # pixels that names, legend and numbers of traces want, however small pictures are
Columns = Mapping[str, Array]
Draw = Callable[[Columns], NDArray[np.uint8] | None]
"""One row of an observation, name -> value, as (H, W, 3) uint8."""


def view(spec: TaskSpec, episode: Episode, draw: Draw | None, side: int, *, beside: bool) -> View:
    """The rows of one episode as pictures that `draw` makes, or as traces.

    Args:
        spec: the task.
        episode: real or dreamt.
        draw: None for traces.
        side: long side of a picture in pixels.
        beside: whether a dream has a place for the truth.
    """
    context = episode.context or None
    truth, valid = known_truth(episode) if beside and context else (None, None)
    if draw is None:
        true = None if truth is None else vectors(spec, truth)
        values, names = vectors(spec, episode.observation), vector_names(spec)
        return Traces(values, names, true, valid, context, width=max(2 * side + 24, NARROW), whole=choices(spec))
    true_pictures = None if truth is None else _drawn(truth, draw)
    return Panels(_drawn(episode.observation, draw), len(episode), true_pictures, valid, context, side if beside else lone(side))


def known_truth(episode: Episode) -> tuple[Columns, NDArray[np.bool_]]:
    """What really happened, and where that is known; context rows without a record are taken as they stand."""
    given = np.zeros(len(episode), bool) if episode.truth_valid is None else np.asarray(episode.truth_valid, bool)
    observed = ~given & (np.arange(len(episode)) < episode.context)
    columns = {}
    for name, column in episode.observation.items():
        columns[name] = np.array(episode.truth.get(name, column))
        columns[name][observed] = column[observed]
    return columns, given | observed


def knows_more(episode: Episode) -> bool:
    """Whether there is truth beside anything that was imagined."""
    if not episode.truth or episode.truth_valid is None:
        return False
    return bool(np.any(episode.truth_valid[episode.context :]))


def lone(side: int) -> int:
    """A picture that stands alone may be larger than one of two."""
    return round(side * 1.4)


def side_by_side(names: Sequence[str], row: Columns) -> NDArray[np.uint8]:
    """(H, W, 3): the images of one row next to each other; of channels that are no colours the last, the newest of a stack of frames."""
    pictures = [np.atleast_3d(np.asarray(row[name], np.uint8)) for name in names]
    return np.concatenate([np.broadcast_to(p if p.shape[2] == 3 else p[..., -1:], (*p.shape[:2], 3)) for p in pictures], axis=1)


def vectors(spec: TaskSpec, columns: Columns) -> NDArray[np.floating]:
    """(rows, dimensions): the vector observations beside each other."""
    kept = [np.asarray(columns[name], np.float64) for name in _vector_keys(spec)]
    return np.concatenate([column.reshape(len(column), -1) for column in kept], axis=1)


def vector_names(spec: TaskSpec) -> list[str]:
    """What each dimension of `vectors` is called."""
    sizes = {name: vector_size(spec.observation[name]) for name in _vector_keys(spec)}
    return [name if size == 1 else f"{name}[{index}]" for name, size in sizes.items() for index in range(size)]


def choices(spec: TaskSpec) -> set[int]:
    """Which dimensions of `vectors` are choices."""
    spaces = [spec.observation[name] for name in _vector_keys(spec)]
    sort = [isinstance(space, ChoiceSpace) for space in spaces for _ in range(vector_size(space))]
    return {dimension for dimension, choice in enumerate(sort) if choice}


def _vector_keys(spec: TaskSpec) -> list[str]:
    return [name for name, space in spec.observation.items() if not is_image(space)]


def _drawn(columns: Columns, draw: Draw) -> Pictures:
    """Row -> its picture; a row that cannot be drawn after the first one could is the suite's bug."""

    def picture(t: int) -> NDArray[np.uint8]:
        drawn = draw({name: column[t] for name, column in columns.items()})
        assert drawn is not None, f"the suite drew the first row, and not row {t}"
        return drawn

    return picture
