"""What the numbers of a replay look like: each column, the choices that were made, returns and lengths."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dreamctl.core.experience import Array
from dreamctl.replay.figures.moments import ByteCounts, Figures, Moments
from dreamctl.replay.format import parted
from dreamctl.replay.reader import Replay
from dreamctl.replay.shards.shard import read_columns
from dreamctl.replay.streams.stream import Stream

PIECE = 4 << 20  # bytes of a column that are looked at together
APART = 16  # dimensions of a vector up to which each has figures of its own
BARS = 10  # of a histogram
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class ColumnStats:
    """One column.

    Attributes:
        name: below /steps.
        shape: of one row.
        whole: figures of all its numbers.
        dimensions: figures of each number of a row, where there are 2 to 16 of them; otherwise empty.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    whole: Figures
    dimensions: tuple[Figures, ...] = ()


@dataclass(frozen=True)
class Spread:
    """How one number an episode is spread.

    Attributes:
        quantiles: share -> value below which it lies, linear between neighbours.
        edges, counts: of the bars of a histogram; one edge more than counts.
    """

    figures: Figures
    quantiles: Mapping[float, float]
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ReplayStats:
    """All of a replay.

    Attributes:
        columns: rewards without those of first rows, actions without those of last rows: no one received or took them.
        choices: name of a discrete action, of one of its entries where it has several -> choice -> how often it was taken.
        episodes: that `returns` and `lengths` are of: those that the environment ended, of dreams all.
        lengths: in steps.
    """

    columns: tuple[ColumnStats, ...]
    choices: Mapping[str, Mapping[int, int]]
    episodes: int
    returns: Spread | None
    lengths: Spread | None


def replay_stats(replay: Replay) -> ReplayStats:
    """The figures of a replay, each of its bytes looked at once.

    Raises:
        InputError: a column cannot be read.
    """
    choices: dict[str, dict[int, int]] = {}
    columns = [_column(replay, key.name, key.dtype, key.shape, choices) for key in replay.summary.keys]
    counted = [info for info in replay.episodes() if info.complete or replay.kind == "imagined"]
    returns = _spread([info.episode_return for info in counted])
    lengths = _spread([info.length - 1 for info in counted])
    return ReplayStats(tuple(columns), choices, len(counted), returns, lengths)


def _column(replay: Replay, name: str, dtype: str, shape: tuple[int, ...], choices: dict[str, dict[int, int]]) -> ColumnStats:
    """The figures of one column; those of a discrete action are counted into `choices` too."""
    size = int(np.prod(shape, dtype=np.int64))
    if dtype == "|u1" and size > APART:
        counts = ByteCounts()
        for piece in _pieces(replay, name, size):
            counts.add(piece)
        return ColumnStats(name, dtype, shape, counts.together())
    moments = Moments(size if 1 < size <= APART else 1)
    chosen = _choices(name, np.dtype(dtype), size)
    for piece in _pieces(replay, name, size * np.dtype(dtype).itemsize):
        flat = piece.reshape(len(piece), size)
        moments.add(flat if 1 < size <= APART else flat.reshape(-1, 1))
        for dimension, key in enumerate(chosen):
            _count(choices.setdefault(key, {}), flat[:, dimension])
    return ColumnStats(name, dtype, shape, moments.together(), tuple(moments.each()) if 1 < size <= APART else ())


def _choices(name: str, dtype: np.dtype[np.generic], size: int) -> list[str]:
    """What the choices of an action column are called; none where it is none."""
    if name.partition("/")[0] != "action" or dtype.kind not in "iu":
        return []
    return [name] if size == 1 else [f"{name}[{index}]" for index in range(size)]


def _count(counts: dict[int, int], column: Array) -> None:
    for value, times in zip(*np.unique(column, return_counts=True), strict=True):
        counts[int(value)] = counts.get(int(value), 0) + int(times)


def _pieces(replay: Replay, name: str, row_bytes: int) -> Iterator[Array]:
    """A column of all streams in pieces, without rows that hold a zero that stands for nothing."""
    step = max(1, PIECE // max(1, row_bytes))
    if name.partition("/")[0] in ("extra", "truth"):
        for record in replay.files:
            for first in range(0, record.rows, step):
                yield read_columns(record.path, [name], first, min(step, record.rows - first))[name]
        return
    for number, stream in enumerate(replay.streams):
        real = _real(stream, number, name)
        for first in range(0, len(stream), step):
            yield _part(stream, name, first, min(step, len(stream) - first))[real[first : first + step]]


def _part(stream: Stream, name: str, first: int, rows: int) -> Array:
    if name.partition("/")[0] == "action":
        return parted(stream.column("action", first, rows))[name]
    return stream.column(name, first, rows)


def _real(stream: Stream, number: int, name: str) -> NDArray[np.bool_]:
    """Rows whose value was received, taken or seen."""
    real = np.ones(len(stream), bool)
    infos = stream.episodes(number)
    if name == "reward":
        real[stream.columns["is_first"].astype(bool)] = False
    elif name.partition("/")[0] == "action":
        real[[info.start + info.length - 1 for info in infos]] = False
    return real


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    x = np.array(values, np.float64)
    moments = Moments(1)
    moments.add(x[:, None])
    # As many bars as there are different values say as much as ten.
    bars = max(1, min(BARS, len(np.unique(x))))
    try:
        counts, edges = np.histogram(x, bins=bars)
    except ValueError:  # the values lie too close together for edges between them
        counts, edges = np.histogram(x, bins=1)
    quantiles = {share: float(np.quantile(x, share)) for share in QUANTILES}
    return Spread(moments.together(), quantiles, tuple(edges.tolist()), tuple(counts.tolist()))
