"""Rows in memory: one stream is the rows of one lane, episodes back to back, and it may grow."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from dreamctl.core.codec import ActionCodec
from dreamctl.core.experience import Array, Row, TaskSpec
from dreamctl.replay.format import step_fields


class Span(NamedTuple):
    """Rows of a file in which a piece of an episode lies."""

    path: Path
    first: int
    rows: int


@dataclass(frozen=True)
class EpisodeInfo:
    """One episode of a replay, joined over its segments.

    Attributes:
        stream: index into the replay's streams.
        key: stream name and id: what the episode is known by however its replay grows.
        start: its first row in the stream.
        length: rows, T+1.
        segments: of how many pieces it was written.
        complete: whether the environment itself ended it.
        context, source_shard, source_row: dreams only; see Episode.
        spans: where it lies on disk; empty for rows that were only added in memory.
    """

    stream: int
    key: str
    start: int
    length: int
    id: int
    seed: int
    segments: int
    complete: bool
    episode_return: float
    terminated: bool
    truncated: bool
    context: int = 0
    source_shard: int = -1
    source_row: int = -1
    spans: tuple[Span, ...] = ()


def row_dtype(spec: TaskSpec) -> np.dtype[np.void]:
    """One row of the columns that every replay of the task has, as one structured value; a nested action is a field of fields."""
    codec = ActionCodec(spec.action)
    columns = [(field.name, field.dtype, field.shape) for field in step_fields(spec) if field.role != "action"]
    return np.dtype([*columns, ("action", codec.dtype, codec.shape)], align=True)


class Stream:
    """The rows of one lane as one sequence.

    Row by row the columns lie side by side, so that a window is one copy however many keys there are.

    Args:
        name: unique for a collector and its lane.
        rows: a structured array of `row_dtype`.
        episodes: its episodes; those of rows that are appended later are found by their flags.
        place: the folder or file that was named and that its rows lie in, None where they are in memory only.
        first_row: rows of this stream before these, whose shards are gone.
    """

    def __init__(
        self, name: str, rows: NDArray[np.void], episodes: Sequence[EpisodeInfo] = (), *, place: Path | None = None, first_row: int = 0
    ) -> None:
        self.name, self.place, self.first_row = name, place, first_row
        self._pieces: list[tuple[int, Stream, int, int]] = []
        self._buffer = rows
        self._length = len(rows)
        self._episodes = tuple(episodes)
        self._stored = len(rows)
        self._seeds: dict[int, int] = {}
        self._fields = _fields_of(rows)

    def __len__(self) -> int:
        """Number of rows."""
        return self._length

    def __repr__(self) -> str:
        shapes = {name: column.shape for name, column in self.columns.items()}
        return f"Stream({self.name}, rows={len(self)}, {shapes})"

    @property
    def rows(self) -> NDArray[np.void]:
        """The rows as one structured array (N,); a view that later appends do not change."""
        return self._buffer[: self._length]

    @property
    def columns(self) -> Mapping[str, Array]:
        """The columns by name, (N, ...): observation/<key>, action, reward, is_first, terminated, truncated."""
        return {name: column[: self._length] for name, column in self._fields.items()}

    def append(self, row: Row) -> None:
        """One more row at the end; amortised, the buffer doubles."""
        if self._length == len(self._buffer):
            self._grow()
        at, fields = self._length, self._fields
        for key, value in row.observation.items():
            fields[f"observation/{key}"][at] = value
        for name in ("action", "reward", "is_first", "terminated", "truncated"):
            fields[name][at] = getattr(row, name)
        if row.is_first:
            self._seeds[at] = row.seed
        self._length += 1

    def pieces(self, first: int, rows: int) -> Iterator[tuple["Stream", int, int]]:
        """Where rows first to first + rows were taken from: stream, first row there, number of rows; its own ones are its own."""
        if not self._pieces:
            yield self, first, rows
        # A long replay has many episodes: only those that are asked for are looked at.
        number = bisect_right(self._pieces, first, key=itemgetter(0)) - 1 if self._pieces else 0
        for start, source, there, length in islice(self._pieces, number, None):
            low, high = max(first, start), min(first + rows, start + length)
            if low >= high:
                break
            yield from source.pieces(there + low - start, high - low)

    def episodes(self, stream: int) -> list[EpisodeInfo]:
        """The episodes, those of one lone row included; `stream` is the index they are given."""
        found = [replace(info, stream=stream) for info in self._episodes]
        is_first = self.columns["is_first"]
        starts = self._stored + np.flatnonzero(is_first[self._stored :])
        ends = np.append(starts, len(self))[1:]
        for number, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            found.append(self._described(stream, len(self._episodes) + number, start, end))
        return found

    @classmethod
    def gathered(cls, name: str, index: int, pieces: "Sequence[tuple[Stream, EpisodeInfo]]", dtype: np.dtype[np.void]) -> Self:
        """A stream of its own made of whole episodes, one after another."""
        infos: list[EpisodeInfo] = []
        rows = [np.empty(0, dtype)]
        origins: list[tuple[int, Stream, int, int]] = []
        start = 0
        for source, info in pieces:
            rows.append(source.rows[info.start : info.start + info.length])
            infos.append(replace(info, stream=index, start=start))
            origins.append((start, source, info.start, info.length))
            start += info.length
        gathered = cls(name, np.concatenate(rows), infos)
        gathered._pieces = origins
        return gathered

    def _described(self, stream: int, number: int, start: int, end: int) -> EpisodeInfo:
        last = self.rows[end - 1]
        terminated, truncated = bool(last["terminated"]), bool(last["truncated"])
        total = float(self.columns["reward"][start:end].sum(dtype=np.float64))
        seed, key = self._seeds[start], f"{self.name}/{number}"
        return EpisodeInfo(stream, key, start, end - start, number, seed, 1, terminated or truncated, total, terminated, truncated)

    def _grow(self) -> None:
        larger = np.zeros(max(1024, 2 * len(self._buffer)), self._buffer.dtype)
        larger[: self._length] = self.rows
        self._buffer, self._fields = larger, _fields_of(larger)


def _fields_of(rows: NDArray[np.void]) -> dict[str, Array]:
    assert rows.dtype.names is not None
    return {name: rows[name] for name in rows.dtype.names}
