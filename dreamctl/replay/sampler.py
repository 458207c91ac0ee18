"""Windows of consecutive rows, drawn from a replay: batch k is a pure function of the seed, k, the rows and what is behind us."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array, Windows
from dreamctl.core.limits import Count, Within
from dreamctl.replay.reader import Replay
from dreamctl.replay.streams.memory import aligned
from dreamctl.replay.streams.stream import Stream, row_dtype
from dreamctl.replay.windows.index import AcrossEpisodes, Behind, Places, WindowIndex, WindowKind, extents
from dreamctl.replay.windows.selectors import Selector, Uniform
from dreamctl.replay.windows.starts import Start, Zero, shift_actions

Allocate = Callable[[tuple[int, ...], DTypeLike], Array]


@dataclass(frozen=True)
class ReplayConfig:
    """How windows are drawn.

    Attributes:
        batch_size, batch_length: B windows of T rows.
        windows: where a window may lie.
        selector: which windows are drawn.
        start: the state that a window begins with; some kinds draw rows in front of the T.
        allow_imagined: whether dreams may be drawn as if they were real.
        capacity: rows that the replay of `run` holds at most, all lanes together; without it, all of them.
        cache: whether decoded rows of big columns, such as images, are kept in memory: `ram`, `none`, or `auto`, which is `ram` with an
            eye on how much memory there is.
        cache_gb: how many gigabytes they may take.
    """

    batch_size: Count = 16
    batch_length: Annotated[int, Within(2)] = 64
    windows: WindowKind = field(default_factory=AcrossEpisodes)
    selector: Selector = field(default_factory=Uniform)
    start: Start = field(default_factory=Zero)
    allow_imagined: bool = False
    capacity: Count | None = None
    cache: Literal["auto", "ram", "none"] = "auto"
    cache_gb: Annotated[float, Within(0, 1e5)] = 4.0

    @property
    def cache_bytes(self) -> int:
        """Memory for decoded rows; `auto` takes no more than a quarter of what the machine has."""
        wanted = int(self.cache_gb * 1e9)
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return {"ram": wanted, "auto": min(wanted, installed // 4), "none": 0}[self.cache]

    @property
    def window(self) -> int:
        """Rows that are drawn at once: T and those in front."""
        return self.start.context + self.batch_length

    @property
    def replayed(self) -> int:
        """Rows that an update learns from: B windows of T."""
        return self.batch_size * self.batch_length


class Batches(Protocol):
    """What gives batches to a learner: a sampler, one that works ahead, one that follows a replay that grows."""

    @property
    def streams(self) -> tuple[Stream, ...]:
        """What `Windows.stream` counts."""

    @property
    def config(self) -> ReplayConfig:
        """How windows are drawn."""

    @property
    def behind(self) -> Behind:
        """What the selector must remember after the batch that was drawn last; see `WindowSampler`."""

    def sample(self, k: int) -> Windows:
        """Batch number k."""


class WindowSampler:
    """Draws batches of windows; rows that were added to the replay since the last batch are seen.

    Args:
        replay: where from.
        config: how.
        seed: of the draws.

    Attributes:
        behind: what the selector must remember from one batch to the next: stream -> rows of it that are behind us. Plain values, which
            checkpoints save; a sampler that is given them goes on as the one that had them.

    Raises:
        InputError: the replay holds dreams, and they are not allowed.
    """

    def __init__(self, replay: Replay, config: ReplayConfig, seed: int) -> None:
        if replay.kind == "imagined" and not config.allow_imagined:
            raise InputError(f"{replay.name}: holds imagined rollouts; give a replay of real ones or set replay.allow_imagined=true")
        self._replay = replay
        self._config = config
        self._row = row_dtype(replay.spec)
        self._bits = np.random.Philox(key=seed % 2**64)
        self._begin, self._noise = self._bits.state, np.random.Generator(self._bits)
        self._index: WindowIndex | None = None
        self.behind: Behind = {}

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
        if len(index):
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

    @property
    def windows(self) -> int:
        """Number of windows there are."""
        return len(self._current())

    def go_on(self, behind: Behind | None) -> None:
        """Take up what another sampler had behind it; where that is not known, everything that is there now: no window of it is new.

        Streams that are gone are forgotten: another one may have their name.
        """
        complete = self._current().complete()
        self.behind = complete if behind is None else {name: rows for name, rows in behind.items() if name in complete}

    def sample(self, k: int, out: Windows | None = None) -> Windows:
        """Batch number k, (B, T) with the rows in front that the start wants.

        Args:
            k: its number.
            out: arrays to fill, as `buffers` makes them; new ones by default.

        Raises:
            InputError: there is no window to draw, as `check` says; or its rows cannot be read.
        """
        index = self._current()
        if not len(index):
            self.check()
        # A batch uses many counters of the generator: k counts in a higher word, so that two batches never share one.
        # It is set and not made anew, which takes longer than all that it draws.
        self._bits.state = {**self._begin, "state": {**self._begin["state"], "counter": np.array([0, k, 0, 0], np.uint64)}}
        places, self.behind = self._config.selector.choose(self._noise, index, self._config.batch_size, self.behind)
        return self._read(places, self.buffers() if out is None else out)

    def buffers(self, allocate: Allocate = aligned) -> Windows:
        """Arrays for a batch, to be filled again and again.

        Args:
            allocate: shape, dtype -> an array, whatever is in it.
        """
        lead = (self._config.batch_size, self._config.window)
        first = self._replay.streams[0]
        shapes = {name: (column.shape[1:], column.dtype) for name, column in first.columns.items()}
        shapes |= {name: (column.shape, column.dtype) for name, column in first.big.items()}
        shapes |= {"prev_action": shapes["action"], "is_last": shapes["is_first"]}
        columns = {name: allocate((*lead, *shape), dtype) for name, (shape, dtype) in shapes.items() if name != "truncated"}
        observation = {name: columns.pop(name) for name in list(columns) if name.startswith("observation/")}
        nowhere = np.zeros(lead[0], np.int64)
        ours = {name.removeprefix("observation/"): column for name, column in observation.items()}
        return Windows(ours, **columns, stream=nowhere, row=nowhere)  # type: ignore[arg-type]

    def _current(self) -> WindowIndex:
        """The index for the rows that are there now."""
        streams = self._replay.streams
        if self._index is None or self._index.extents != extents(streams):
            self._index = WindowIndex.of(streams, self._config.windows, self._config.window)
        return self._index

    def _read(self, places: Places, out: Windows) -> Windows:
        """The windows that begin there, in the arrays that are given."""
        batch = self._small(places)
        inside, behind = batch[:, :-1], batch[:, 1:]
        for name in inside.dtype.names or ():
            if name.startswith("observation/"):
                out.observation[name.removeprefix("observation/")][...] = inside[name]
        self._read_big(places, out)
        for name in ("action", "reward", "is_first", "terminated"):
            getattr(out, name)[...] = inside[name]
        out.is_last[...] = inside["terminated"] | inside["truncated"] | behind["is_first"]
        out.is_first[:, 0] |= self._config.start.anew
        out.prev_action[...] = shift_actions(out.action, out.is_first)
        flags = (out.is_first, out.is_last, out.terminated)
        return Windows(out.observation, out.action, out.prev_action, out.reward, *flags, stream=places.stream, row=places.row)

    def _small(self, places: Places) -> NDArray[np.void]:
        """The small columns of the windows that begin there, (B, T+1): one row more, zero at the end of a stream.

        Whether an episode begins in that row tells whether the last one inside ends here.
        """
        streams, length, drawn = self._replay.streams, self._config.window + 1, places.stream.tolist()
        batch, size = np.zeros((len(drawn), length), self._row), self._row.itemsize
        # Bytes, because copying them costs least; and of a thousand streams only those that are drawn.
        target = batch.reshape(-1).view(np.uint8).data
        bytes_of = {s: streams[s].rows.view(np.uint8).data for s in set(drawn)}
        for i, (s, r) in enumerate(zip(drawn, places.row.tolist(), strict=True)):
            piece, at = bytes_of[s][r * size : (r + length) * size], i * length * size
            target[at : at + len(piece)] = piece
        return batch

    def _read_big(self, places: Places, out: Windows) -> None:
        """The big columns of the windows that begin there, each row copied once."""
        streams = self._replay.streams
        big = {name: out.observation[name.removeprefix("observation/")] for name in streams[0].big}
        for i, (s, r) in enumerate(zip(places.stream.tolist(), places.row.tolist(), strict=True)):
            for name, rows in big.items():
                streams[s].big[name].read(r, rows[i])
