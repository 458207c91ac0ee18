"""Windows of consecutive rows, drawn from a replay: batch k is a pure function of the seed, k and the streams' lengths."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array, Windows
from dreamctl.core.limits import Count, Within
from dreamctl.replay.reader import Replay
from dreamctl.replay.starts import Start, Zero, shift_actions
from dreamctl.replay.stream import Stream


@dataclass(frozen=True)
class AcrossEpisodes:
    """Windows lie anywhere in a stream and may cross episode ends; `is_first` resets inside them."""

    kind: ClassVar[str] = "across"
    what: ClassVar[str] = "stream"
    mend: ClassVar[str] = ""

    def runs(self, stream: Stream) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First row and length of each run of rows in which a window may lie."""
        return np.zeros(1, np.int64), np.array([len(stream)])


@dataclass(frozen=True)
class WithinEpisode:
    """Windows lie inside one episode; episodes shorter than a window are skipped."""

    kind: ClassVar[str] = "within_episode"
    what: ClassVar[str] = "episode"
    mend: ClassVar[str] = ", or replay.windows=across"  # where episodes are short, more of them do not help

    def runs(self, stream: Stream) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First row and length of each run of rows in which a window may lie."""
        first = np.flatnonzero(stream.columns["is_first"])
        first = first if len(first) and first[0] == 0 else np.append(0, first)
        return first, np.diff(np.append(first, len(stream)))


@dataclass(frozen=True)
class Uniform:
    """Every window is as likely as any other."""

    kind: ClassVar[str] = "uniform"

    def choose(self, noise: np.random.Generator, starts: int, batch_size: int) -> NDArray[np.int64]:
        """Which of the `starts` windows, oldest first in each stream, make the batch: (B,)."""
        return noise.integers(starts, size=batch_size)


WindowKind = AcrossEpisodes | WithinEpisode
Selector = Uniform


@dataclass(frozen=True)
class ReplayConfig:
    """How windows are drawn.

    Attributes:
        batch_size, batch_length: B windows of T rows.
        windows: where a window may lie.
        selector: which windows are drawn.
        start: the state that a window begins with; some kinds draw rows in front of the T.
        allow_imagined: whether dreams may be drawn as if they were real.
    """

    batch_size: Count = 16
    batch_length: Annotated[int, Within(2)] = 64
    windows: WindowKind = AcrossEpisodes()
    selector: Selector = Uniform()
    start: Start = field(default_factory=Zero)
    allow_imagined: bool = False

    @property
    def window(self) -> int:
        """Rows that are drawn at once: T and those in front."""
        return self.start.context + self.batch_length


class _Index(NamedTuple):
    """Where the windows of a replay begin: run i holds the windows below `ends[i]` that the run before does not."""

    lengths: tuple[int, ...]
    stream: NDArray[np.int64]
    first: NDArray[np.int64]
    run_length: NDArray[np.int64]
    ends: NDArray[np.int64]


class WindowSampler:
    """Draws batches of windows; rows that were added to the replay since the last batch are seen.

    Args:
        replay: where from.
        config: how.
        seed: of the draws.

    Raises:
        InputError: the replay holds dreams, and they are not allowed.
    """

    def __init__(self, replay: Replay, config: ReplayConfig, seed: int) -> None:
        if replay.kind == "imagined" and not config.allow_imagined:
            raise InputError(f"{replay.name}: holds imagined rollouts; give a replay of real ones or set replay.allow_imagined=true")
        self._replay = replay
        self._config = config
        self._seed = seed
        self._index: _Index | None = None

    @property
    def streams(self) -> tuple[Stream, ...]:
        """What `Windows.stream` counts."""
        return self._replay.streams

    @property
    def config(self) -> ReplayConfig:
        """How windows are drawn."""
        return self._config

    def check(self) -> None:
        """See that there is a window to draw.

        Raises:
            InputError: even the longest stream (episode, where windows lie inside one) is shorter than a window.
        """
        index = self._current()
        if len(index.ends) and index.ends[-1] > 0:
            return
        length, context, longest = self._config.batch_length, self._config.start.context, int(index.run_length.max(initial=0))
        mend = f"collect more or set replay.batch_length={longest - context}" if longest - context > 1 else "collect more"
        mend += self._config.windows.mend
        front = f" after {context} of replay.start={self._config.start.kind}" if context else ""
        found = f"longest {self._config.windows.what} holds {longest} rows, replay.batch_length is {length}{front}"
        raise InputError(f"{self._replay.name}: {found}; {mend}")

    @property
    def skipped(self) -> tuple[int, int]:
        """Runs (streams or episodes) that are shorter than a window, and their rows: they are never drawn."""
        lengths = self._current().run_length
        short = lengths[lengths < self._config.window]
        return len(short), int(short.sum())

    def sample(self, k: int) -> Windows:
        """Batch number k, (B, T) with the rows in front that the start wants.

        Raises:
            InputError: there is no window to draw, as `check` says.
        """
        self.check()
        index = self._current()
        # A batch uses many counters of the generator: k counts in a higher word, so that two batches never share one.
        noise = np.random.Generator(np.random.Philox(key=self._seed % 2**64, counter=[0, k, 0, 0]))
        chosen = self._config.selector.choose(noise, int(index.ends[-1]), self._config.batch_size)
        run = np.searchsorted(index.ends, chosen, side="right")
        before = np.where(run > 0, index.ends[run - 1], 0)
        return self._windows(index.stream[run], index.first[run] + chosen - before)

    def _current(self) -> _Index:
        """The index for the rows that are there now."""
        streams = self._replay.streams
        lengths = tuple(map(len, streams))
        if self._index is None or self._index.lengths != lengths:
            runs = [self._config.windows.runs(stream) for stream in streams] or [(np.zeros(0, np.int64),) * 2]
            number = np.repeat(np.arange(len(runs)), [len(first) for first, _ in runs])
            first, run_length = (np.concatenate(parts) for parts in zip(*runs, strict=True))
            ends = np.cumsum(np.maximum(run_length - self._config.window + 1, 0))
            self._index = _Index(lengths, number, first, run_length, ends)
        return self._index

    def _windows(self, stream: NDArray[np.int64], row: NDArray[np.int64]) -> Windows:
        """The windows that begin at these rows of these streams."""
        length = self._config.window
        sources = [source.rows for source in self._replay.streams]
        # One row more than a window: whether an episode begins there tells whether the last one inside ends here.
        batch = np.zeros((len(row), length + 1), sources[0].dtype)
        raw = batch.view(np.uint8).reshape(len(row), length + 1, batch.itemsize)
        bytes_of = [source.view(np.uint8).reshape(len(source), batch.itemsize) for source in sources]
        for i, (s, r) in enumerate(zip(stream.tolist(), row.tolist(), strict=True)):
            piece = bytes_of[s][r : r + length + 1]
            raw[i, : len(piece)] = piece
        column = {name: np.ascontiguousarray(batch[name][:, :length]) for name in batch.dtype.names or ()}
        column |= self._big(stream, row)
        is_first = column["is_first"].copy()
        is_first[:, 0] |= self._config.start.anew
        return Windows(
            observation={name.removeprefix("observation/"): c for name, c in column.items() if name.startswith("observation/")},
            action=column["action"],
            prev_action=shift_actions(column["action"], is_first),
            reward=column["reward"],
            is_first=is_first,
            is_last=column["terminated"] | column["truncated"] | batch["is_first"][:, 1:],
            terminated=column["terminated"],
            stream=stream,
            row=row,
        )

    def _big(self, stream: NDArray[np.int64], row: NDArray[np.int64]) -> dict[str, Array]:
        """The big columns of the windows that begin at these rows of these streams, each row copied once."""
        streams = self._replay.streams
        shape = (len(row), self._config.window)
        found = {name: np.empty((*shape, *column.shape), column.dtype) for name, column in streams[0].big.items()}
        for i, (s, r) in enumerate(zip(stream.tolist(), row.tolist(), strict=True)):
            for name, out in found.items():
                streams[s].big[name].read(r, out[i])
        return found
