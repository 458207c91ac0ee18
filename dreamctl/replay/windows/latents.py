"""Latent states of the rows of a replay, as a model last saw them: in memory, growing with the replay."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dreamctl.replay.streams.stream import Stream
from dreamctl.replay.windows.starts import Latents

NEVER = -1
Numbers = NDArray[np.floating]


@dataclass
class Column:
    """The states of one stream: h (N, D), z (N, Z), and the update at which each row was written, (N,), or NEVER.

    Attributes:
        first_row: of the stream when its rows were last counted.
    """

    h: Numbers
    z: Numbers
    updates: NDArray[np.int64]
    first_row: int = 0

    @classmethod
    def empty(cls, rows: int, widths: tuple[int, int], dtype: DTypeLike) -> "Column":
        """Nothing known of so many rows; memory that is not written to costs nothing."""
        return cls(np.zeros((rows, widths[0]), dtype), np.zeros((rows, widths[1]), dtype), np.full(rows, NEVER, np.int64))

    def __len__(self) -> int:
        """Number of rows there is a place for."""
        return len(self.updates)

    def follow(self, stream: Stream) -> None:
        """Forget the rows that have left the front of the stream."""
        gone = stream.first_row - self.first_row
        if gone > 0:
            self.h, self.z, self.updates = self.h[gone:].copy(), self.z[gone:].copy(), self.updates[gone:].copy()
            self.first_row = stream.first_row

    @property
    def used(self) -> int:
        """Rows up to the last one that is known."""
        known = np.flatnonzero(self.updates != NEVER)
        return int(known[-1]) + 1 if len(known) else 0


class LatentStore:
    """One state (h, z) a row, with the count of updates at which it was written.

    They are kept in float16: h lies in [-1, 1] and a categorical z is 0 or 1, so it is finer than the bfloat16 that the official code
    keeps, at half the memory of float32; what does not fit (a Gaussian z beyond 65504) is clipped. What is read is what was stored, also
    in the run that stored it, so that one that was interrupted and resumed sees the same numbers.

    Args:
        widths: D and Z.
        dtype: of the numbers.
    """

    def __init__(self, widths: tuple[int, int], dtype: DTypeLike = np.float16) -> None:
        self.widths, self.dtype = widths, np.dtype(dtype)
        self._columns: dict[Stream, Column] = {}

    def __repr__(self) -> str:
        known = sum(int((column.updates != NEVER).sum()) for column in self._columns.values())
        return f"LatentStore(widths={self.widths}, streams={len(self._columns)}, rows={known})"

    @property
    def columns(self) -> Mapping[Stream, Column]:
        """What is known of each stream; rows of a part of a replay are known under the stream that they came from."""
        for stream, column in self._columns.items():
            column.follow(stream)
        return self._columns

    def read(self, streams: Sequence[Stream], stream: NDArray[np.int64], row: NDArray[np.int64]) -> Latents:
        """The states of single rows, (B,) of indices into `streams` and rows there."""
        found = Column.empty(len(row), self.widths, self.dtype)
        for i, (source, first, _) in enumerate(_places(streams, stream, row, 1)):
            column = self._known(source)
            if column is not None and 0 <= first < len(column):
                found.h[i], found.z[i], found.updates[i] = column.h[first], column.z[first], column.updates[first]
        return Latents(found.h, found.z, found.updates != NEVER)

    def write(
        self, streams: Sequence[Stream], stream: NDArray[np.int64], row: NDArray[np.int64], h: Numbers, z: Numbers, *, updates: int
    ) -> None:
        """Take the states h (B, T, D) and z (B, T, Z) of the rows that begin at `row`; where windows overlap the last one counts."""
        h, z = self._stored(h), self._stored(z)
        for source, first, part in _places(streams, stream, row, h.shape[1]):
            window, at, count = part
            column = self.column(source, first + count)
            column.h[first : first + count] = h[window, at : at + count]
            column.z[first : first + count] = z[window, at : at + count]
            column.updates[first : first + count] = updates

    def column(self, stream: Stream, rows: int) -> Column:
        """The states of a stream, with a place for so many rows at least; amortised, it doubles."""
        old = self._known(stream)
        if old is None or len(old) < rows:
            new = Column.empty(max(rows, len(stream), 2 * len(old) if old else 0), self.widths, self.dtype)
            new.first_row = stream.first_row
            if old is not None:
                new.h[: len(old)], new.z[: len(old)], new.updates[: len(old)] = old.h, old.z, old.updates
            self._columns[stream] = new
        return self._columns[stream]

    def _known(self, stream: Stream) -> Column | None:
        """What is known of a stream as it is now."""
        column = self._columns.get(stream)
        if column is not None:
            column.follow(stream)
        return column

    def _stored(self, values: Numbers) -> Numbers:
        limit = np.finfo(self.dtype).max
        return np.clip(values, -limit, limit).astype(self.dtype)


def _places(
    streams: Sequence[Stream], stream: NDArray[np.int64], row: NDArray[np.int64], rows: int
) -> Iterator[tuple[Stream, int, tuple[int, int, int]]]:
    """Where the rows of windows really lie: stream and first row there, and (window, first row in it, number of rows)."""
    for window, (index, first) in enumerate(zip(stream.tolist(), row.tolist(), strict=True)):
        at = 0
        for source, there, count in streams[index].pieces(first, rows):
            yield source, there, (window, at, count)
            at += count
