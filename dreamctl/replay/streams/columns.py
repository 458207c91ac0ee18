"""Big columns: the rows of one key of a stream, wherever they lie, read window by window straight into the array that wants them.

A column is big when a row of it is larger than `format.SMALL_ROW`; the small ones are in memory, side by side (stream.py). A big one is
made of parts, each with a source: rows in memory, rows of a file, rows of another column.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from dreamctl.core.experience import Array


class Source(Protocol):
    """Rows that lie together in one place."""

    def read(self, first: int, out: Array) -> None:
        """Fill `out` (n, ...) with the rows from `first` on.

        Raises:
            InputError: they cannot be read.
        """


class MemoryRows:
    """Rows in memory; they may grow, amortised: the buffer doubles.

    Args:
        rows: (n, ...), kept as they are.
    """

    def __init__(self, rows: Array) -> None:
        self._buffer, self._length = rows, len(rows)

    def __len__(self) -> int:
        """Number of rows."""
        return self._length

    def append(self, value: Array) -> None:
        """One more row at the end."""
        if self._length == len(self._buffer):
            larger = np.empty((max(64, 2 * self._length), *self._buffer.shape[1:]), self._buffer.dtype)
            larger[: self._length] = self._buffer
            self._buffer = larger
        self._buffer[self._length] = value
        self._length += 1

    def read(self, first: int, out: Array) -> None:
        """Fill `out` (n, ...) with the rows from `first` on."""
        out[...] = self._buffer[first : first + len(out)]

    def behind(self, rows: int) -> "MemoryRows":
        """All but the first rows, in memory of their own."""
        return MemoryRows(self._buffer[rows : self._length].copy())


class Part(NamedTuple):
    """Rows of a source, from `first` on."""

    source: Source
    first: int
    rows: int


class _Parts(NamedTuple):
    """What a column is made of: parts, where each begins (and the last one ends), and the rows in memory behind them."""

    starts: list[int]
    parts: list[Part]
    tail: MemoryRows


class Column:
    """One big column of a stream: parts one after another, and rows in memory behind them that are appended one by one.

    Rows keep their values and places while the column grows, so another thread may read meanwhile.

    Args:
        dtype, shape: of a row.
        parts: its rows so far.
    """

    def __init__(self, dtype: np.dtype[np.generic], shape: tuple[int, ...], parts: Sequence[Part] = ()) -> None:
        self.dtype, self.shape = dtype, shape
        # Replaced as a whole, so that a thread that reads never sees half of a change.
        self._state = _placed(parts, MemoryRows(np.empty((0, *shape), dtype)))

    def __len__(self) -> int:
        """Number of rows."""
        starts, _, tail = self._state
        return starts[-1] + len(tail)

    def __repr__(self) -> str:
        _, parts, tail = self._state
        return f"Column({self.dtype.str}, {self.shape}, rows={len(self)}, parts={len(parts)}, in memory={len(tail)})"

    @property
    def parts(self) -> tuple[Part, ...]:
        """Where its rows lie, those apart that were appended."""
        return tuple(self._state.parts)

    def append(self, value: Array) -> None:
        """One more row at the end, in memory."""
        self._state.tail.append(value)

    def read(self, first: int, out: Array) -> None:
        """Fill `out` (n, ...) with the rows from `first` on; they must be there.

        Raises:
            InputError: they cannot be read.
        """
        starts, parts, tail = self._state
        at, rows = 0, len(out)
        for number in range(bisect_right(starts, first) - 1, len(parts)):
            source, offset, length = parts[number]
            inside = first + at - starts[number]
            if inside + rows <= length and not at:  # nearly always, and the quickest
                source.read(offset + inside, out)
                return
            taken = min(rows - at, length - inside)
            source.read(offset + inside, out[at : at + taken])
            at += taken
            if at == rows:
                return
        if at < rows:
            tail.read(first + at - starts[-1], out[at:])

    def extend(self, source: Source, rows: int, offset: int = 0) -> None:
        """More rows at the end, those of a source from `offset` on; none were appended in memory."""
        starts, parts, tail = self._state
        assert not len(tail), "rows in memory come last"
        # In place, because a column may have thousands of parts; in this order, for threads that read meanwhile.
        parts.append(Part(source, offset, rows))
        starts.append(starts[-1] + rows)

    def adopt(self, first: int, rows: int, source: Source) -> None:
        """A source takes the place of rows that are in memory or in other parts; at the end it may bring more than were there."""
        starts, parts, tail = self._state
        assert first <= len(self), "a gap in front of the rows that are adopted"
        if first == len(self) == starts[-1]:
            self.extend(source, rows)
            return
        before: list[Part] = []
        behind: list[Part] = []
        for start, part in zip(starts[:-1], parts, strict=True):
            kept, gone = min(part.rows, max(0, first - start)), min(part.rows, max(0, first + rows - start))
            before += [Part(part.source, part.first, kept)] if kept else []
            behind += [Part(part.source, part.first + gone, part.rows - gone)] if gone < part.rows else []
        if first > starts[-1]:
            before.append(Part(tail, 0, first - starts[-1]))
        tail = tail.behind(min(len(tail), max(0, first + rows - starts[-1])))
        self._state = _placed([*before, Part(source, 0, rows), *behind], tail)

    def drop(self, rows: int) -> None:
        """The first rows go; those behind them move to the front."""
        starts, parts, tail = self._state
        kept: list[Part] = []
        for start, part in zip(starts[:-1], parts, strict=True):
            gone = min(part.rows, max(0, rows - start))
            kept += [Part(part.source, part.first + gone, part.rows - gone)] if gone < part.rows else []
        beyond = max(0, rows - starts[-1])
        self._state = _placed(kept, tail.behind(beyond) if beyond else tail)


def _placed(parts: Sequence[Part], tail: MemoryRows) -> _Parts:
    starts = [0]
    for part in parts:
        starts.append(starts[-1] + part.rows)
    return _Parts(starts, list(parts), tail)
