"""Where the windows of a replay begin: kinds of window, and an index of all there are, oldest first in each stream."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from dreamctl.replay.streams.stream import Stream

Integers = NDArray[np.int64]
Behind = Mapping[str, int]


class Runs(NamedTuple):
    """Runs of rows of one stream in which a window may lie, (R,): first row, length, and the row that windows apart are counted from.

    Windows apart are those that do not overlap: at that row, a window later, two windows later. It may lie in front of the rows that are
    left.
    """

    first: Integers
    length: Integers
    anchor: Integers


@dataclass(frozen=True)
class AcrossEpisodes:
    """Windows lie anywhere in a stream and may cross episode ends; `is_first` resets inside them."""

    kind: ClassVar[str] = "across"
    what: ClassVar[str] = "stream"
    mend: ClassVar[str] = ""

    def runs(self, stream: Stream) -> Runs:
        """The whole stream; windows apart are counted from the second row that it ever had, as in the official code."""
        return Runs(np.zeros(1, np.int64), np.array([len(stream)]), np.array([1 - stream.first_row]))


@dataclass(frozen=True)
class WithinEpisode:
    """Windows lie inside one episode; episodes shorter than a window are skipped."""

    kind: ClassVar[str] = "within_episode"
    what: ClassVar[str] = "episode"
    mend: ClassVar[str] = ", or replay.windows=across"  # where episodes are short, more of them do not help

    def runs(self, stream: Stream) -> Runs:
        """Each episode; windows apart are counted from its first row."""
        first = np.flatnonzero(stream.columns["is_first"])
        first = first if len(first) and first[0] == 0 else np.append(0, first)
        return Runs(first, np.diff(np.append(first, len(stream))), first)


WindowKind = AcrossEpisodes | WithinEpisode


class Places(NamedTuple):
    """Windows by the stream that they lie in and their first row there, (B,) each."""

    stream: Integers
    row: Integers


@dataclass(frozen=True, eq=False)
class WindowIndex:
    """Every window of some streams; run i holds the windows below `ends[i]` that the run before does not.

    Attributes:
        streams: whose windows.
        extents: rows and first row of each when the index was made.
        window: rows of one.
        stream, first, run_length, anchor, ends: of each run, (R,).
    """

    streams: tuple[Stream, ...]
    extents: tuple[tuple[int, int], ...]
    window: int
    stream: Integers
    first: Integers
    run_length: Integers
    anchor: Integers
    ends: Integers

    @classmethod
    def of(cls, streams: Sequence[Stream], kind: WindowKind, window: int) -> Self:
        """The index of what is there now."""
        found = [kind.runs(stream) for stream in streams] or [Runs(*[np.zeros(0, np.int64)] * 3)]
        number = np.repeat(np.arange(len(found)), [len(runs.first) for runs in found])
        runs = Runs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
        ends = np.cumsum(np.maximum(runs.length - window + 1, 0))
        return cls(tuple(streams), extents(streams), window, number, *runs, ends)

    def __len__(self) -> int:
        """Number of windows."""
        return int(self.ends[-1]) if len(self.ends) else 0

    @cached_property
    def stream_ends(self) -> Integers:
        """As `ends`, for whole streams: (S,)."""
        last = np.searchsorted(self.stream, np.arange(len(self.streams)), side="right") - 1
        return self.ends[last]

    def places(self, number: Integers) -> Places:
        """Where windows are, by their number."""
        run = np.searchsorted(self.ends, number, side="right")
        before = np.where(run > 0, self.ends[run - 1], 0)
        return Places(self.stream[run], self.first[run] + number - before)

    def new(self, behind: Behind, most: int) -> Places:
        """The oldest windows that do not overlap, one after another in each run, and begin at rows that are not behind us.

        Args:
            behind: stream -> rows of it, those that are gone included, that are behind us; none where it is not named.
            most: at most so many.

        Returns:
            In the order in which they became complete where streams grow in step, as the lanes of one writer do; of streams that do not,
            those that have fewer rows come first.
        """
        found: list[tuple[int, int]] = []
        for number, (name, stream) in enumerate(named(self.streams).items()):
            apart = self._apart(number, behind.get(name, 0) - stream.first_row)
            found += [(row + stream.first_row, number) for row in islice(apart, most)]
        places = [(number, row - self.streams[number].first_row) for row, number in sorted(found)[:most]]
        return Places(*np.array(places, np.int64).reshape(-1, 2).T)

    def complete(self) -> dict[str, int]:
        """Stream -> rows of it, those that are gone included, at which a window of all rows so far may begin: all are behind us."""
        ends = {name: stream.first_row + len(stream) - self.window + 1 for name, stream in named(self.streams).items()}
        return {name: max(end, 0) for name, end in ends.items()}

    def _apart(self, number: int, row: int) -> Iterator[int]:
        """First rows of windows of one stream that do not overlap, from a row on."""
        low, high = np.searchsorted(self.stream, [number, number + 1]).tolist()
        at = max(low, low + int(np.searchsorted(self.first[low:high], row, side="right")) - 1)
        # Very many episodes may be too short for a window.
        long = at + np.flatnonzero(self.run_length[at:high] >= self.window)
        runs = zip(*(column[long].tolist() for column in (self.first, self.run_length, self.anchor)), strict=True)
        for first, length, anchor in runs:
            skipped = max(0, -(-(max(first, row) - anchor) // self.window))
            yield from range(anchor + self.window * skipped, first + length - self.window + 1, self.window)


def named(streams: Sequence[Stream]) -> dict[str, Stream]:
    """Streams by names that differ: two folders may hold some of one name, which are told apart by their order."""
    found: dict[str, Stream] = {}
    again = Counter[str]()
    for stream in streams:
        again[stream.name] += 1
        found[stream.name if again[stream.name] == 1 else f"{stream.name} {again[stream.name]}"] = stream
    return found


def extents(streams: Sequence[Stream]) -> tuple[tuple[int, int], ...]:
    """Rows and first row of each: what tells whether an index is still that of the streams."""
    return tuple((len(stream), stream.first_row) for stream in streams)
