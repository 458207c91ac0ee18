"""The rows of one lane, episodes back to back: small columns in memory, big ones wherever they lie; a stream may grow."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, zip_longest
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from dreamctl.core.codec import ActionCodec
from dreamctl.core.experience import Array, Row, TaskSpec
from dreamctl.replay.format import parted, step_fields
from dreamctl.replay.streams.columns import Column
from dreamctl.replay.streams.episodes import EpisodeInfo


class Origin(NamedTuple):
    """Where rows were taken from: first row here, stream, first row there, counted from the first that it ever had, number of rows."""

    start: int
    stream: "Stream"
    first: int
    rows: int


class Begun(NamedTuple):
    """Where an episode that was appended in memory begins: its row, its number in the stream, its seed."""

    row: int
    number: int
    seed: int


def row_dtype(spec: TaskSpec) -> np.dtype[np.void]:
    """One row of the small columns that every replay of the task has, as one structured value; a nested action is a field of fields."""
    codec = ActionCodec(spec.action)
    columns = [(field.name, field.dtype, field.shape) for field in step_fields(spec) if field.role != "action" and not field.big]
    return np.dtype([*columns, ("action", codec.dtype, codec.shape)], align=True)


def big_columns(spec: TaskSpec) -> dict[str, Column]:
    """The big columns that every replay of the task has, by name, without rows."""
    return {field.name: Column(np.dtype(field.dtype), field.shape) for field in step_fields(spec) if field.big}


class Stream:
    """The rows of one lane as one sequence.

    Row by row the small columns lie side by side, so that a window of them is one copy however many keys there are.

    Args:
        name: unique for a collector and its lane.
        rows: a structured array of `row_dtype`.
        episodes: its episodes; those of rows that are appended later are found by their flags.
        big: the big columns by name, as long as `rows`.
        place: the folder or file that was named and that its rows lie in, None where they are in memory only.
        first_row: rows of this stream before these, whose shards are gone.
        origins: where its rows were taken from, in their order, if it is made of rows of other streams.
    """

    def __init__(
        self,
        name: str,
        rows: NDArray[np.void],
        episodes: Sequence[EpisodeInfo] = (),
        *,
        big: Mapping[str, Column] | None = None,
        place: Path | None = None,
        first_row: int = 0,
        origins: Sequence[Origin] = (),
    ) -> None:
        self.name, self.place, self.first_row = name, place, first_row
        self.big: Mapping[str, Column] = big or {}
        self._origins = origins
        self._buffer = rows
        self._length = len(rows)
        self._episodes: Callable[[], Sequence[EpisodeInfo]] = lambda: episodes
        self._begun: list[Begun] = []
        self._numbered = len(episodes)
        self._fields = _fields_of(rows)

    @classmethod
    def empty(cls, name: str, spec: TaskSpec, place: Path | None = None) -> Self:
        """A stream without rows that `append` fills."""
        return cls(name, np.zeros(0, row_dtype(spec)), big=big_columns(spec), place=place)

    def __len__(self) -> int:
        """Number of rows."""
        return self._length

    def __repr__(self) -> str:
        shapes = {name: column.shape for name, column in self.columns.items()}
        shapes |= {name: (len(self), *column.shape) for name, column in self.big.items()}
        return f"Stream({self.name}, rows={len(self)}, {shapes})"

    @property
    def rows(self) -> NDArray[np.void]:
        """The small columns as one structured array (N,); a view that later appends do not change."""
        return self._buffer[: self._length]

    @property
    def columns(self) -> Mapping[str, Array]:
        """The small columns by name, (N, ...): observation/<key>, action, reward, is_first, terminated, truncated."""
        return {name: column[: self._length] for name, column in self._fields.items()}

    def column(self, name: str, first: int = 0, rows: int | None = None) -> Array:
        """Some rows of any column, to the end by default: a view of a small one, a copy of a big one.

        Raises:
            InputError: a big one cannot be read.
        """
        rows = len(self) - first if rows is None else rows
        if name not in self.big:
            return self._fields[name][first : first + rows]
        column = self.big[name]
        found = np.empty((rows, *column.shape), column.dtype)
        column.read(first, found)
        return found

    def append(self, row: Row) -> None:
        """One more row at the end; amortised, the buffer doubles."""
        if self._length == len(self._buffer):
            self._grow(self._length + 1)
        at, fields = self._length, self._fields
        for key, value in row.observation.items():
            name = f"observation/{key}"
            if name in self.big:
                self.big[name].append(value)
            else:
                fields[name][at] = value
        for name in ("action", "reward", "is_first", "terminated", "truncated"):
            fields[name][at] = getattr(row, name)
        if row.is_first:
            self._begun.append(Begun(at, self._numbered, row.seed))
            self._numbered += 1
        self._length += 1

    def reserve(self, rows: int) -> None:
        """There will be so many rows."""
        if rows > len(self._buffer):
            self._grow(rows)

    def store(self, first: int, columns: Mapping[str, Array]) -> None:
        """Small columns of rows that were read from a file: from row `first` on, behind the last one or over the last ones.

        Args:
            first: at most the number of rows.
            columns: by name, (n, ...); the leaves of a nested action are columns of their own.
        """
        length = first + len(columns["reward"])
        self.reserve(length)
        rows = self._buffer[first:length]
        targets = {name: rows[name] for name in rows.dtype.names or () if name != "action"} | parted(rows["action"])
        for name, target in targets.items():
            target[...] = columns[name]
        self._length = max(self._length, length)

    def told(self, episodes: Callable[[], Sequence[EpisodeInfo]]) -> None:
        """Who knows the episodes of the rows that were read from files."""
        self._episodes = episodes

    def drop(self, rows: int) -> None:
        """The first rows go, and `first_row` grows by as many; of an episode that was appended the rest is an episode.

        Episodes that were read from files are told anew by who knows them.
        """
        self._buffer = self.rows[rows:].copy()
        self._fields, self._length = _fields_of(self._buffer), len(self._buffer)
        self.first_row += rows
        for column in self.big.values():
            column.drop(rows)
        moved = [begun._replace(row=max(0, begun.row - rows)) for begun in self._begun]
        self._begun = [begun for begun, after in zip_longest(moved, moved[1:]) if after is None or after.row > 0]

    def pieces(self, first: int, rows: int) -> Iterator[tuple["Stream", int, int]]:
        """Where rows first to first + rows were taken from: stream, first row there, number of rows; its own ones are its own.

        Of rows that have left the stream since, the first row there is below 0.
        """
        if not self._origins:
            yield self, first, rows
            return
        # A long replay has many episodes: only those that are asked for are looked at.
        number = bisect_right(self._origins, first, key=itemgetter(0)) - 1
        for start, source, there, length in islice(self._origins, number, None):
            low, high = max(first, start), min(first + rows, start + length)
            if low >= high:
                break
            yield from source.pieces(there - source.first_row + low - start, high - low)

    def episodes(self, stream: int) -> list[EpisodeInfo]:
        """The episodes, those of one lone row included; `stream` is the index they are given."""
        found = [info if info.stream == stream else replace(info, stream=stream) for info in self._episodes()]
        ends = [*(begun.row for begun in self._begun[1:]), len(self)]
        begun_here = zip(self._begun, ends if self._begun else [], strict=True)
        return found + [self._described(stream, begun, end) for begun, end in begun_here if begun.row < end]

    def _described(self, stream: int, begun: Begun, end: int) -> EpisodeInfo:
        start, number, seed = begun
        last = self.rows[end - 1]
        terminated, truncated = bool(last["terminated"]), bool(last["truncated"])
        total = float(self.columns["reward"][start:end].sum(dtype=np.float64))
        key = f"{self.name}/{number}"
        return EpisodeInfo(stream, key, start, end - start, number, seed, 1, terminated or truncated, total, terminated, truncated)

    def _grow(self, rows: int) -> None:
        larger = np.zeros(max(rows, 2 * self._length, 64), self._buffer.dtype)
        larger[: self._length] = self.rows
        self._buffer, self._fields = larger, _fields_of(larger)


def _fields_of(rows: NDArray[np.void]) -> dict[str, Array]:
    assert rows.dtype.names is not None
    return {name: rows[name] for name in rows.dtype.names}
