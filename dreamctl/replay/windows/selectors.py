"""Kinds of selector: which windows make a batch.

A kind draws from what it is given and keeps nothing. What must be remembered from one batch to the next goes in and comes out as
`behind`, which checkpoints save: a kind that is told what came of its windows, such as a prioritised one, finds its place there.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from dreamctl.core.limits import Within
from dreamctl.replay.windows.index import Behind, Places, WindowIndex, named


@dataclass(frozen=True)
class Uniform:
    """Every window is as likely as any other."""

    kind: ClassVar[str] = "uniform"

    def choose(self, noise: np.random.Generator, windows: WindowIndex, batch_size: int, behind: Behind) -> tuple[Places, Behind]:
        """The windows of a batch, (B,) each, and what is behind us after it."""
        return windows.places(noise.integers(len(windows), size=batch_size)), behind


@dataclass(frozen=True)
class Recency:
    """Newer windows are likelier: the age of a window in its stream follows a truncated geometric distribution.

        p(age) = (1 - q) q^age / (1 - q^n),   age = 0 ... n-1 windows of the stream that are newer,   q = 2^(-1 / half_life)

    One uniform number u decides: its place among all windows picks the stream, by its share of them, and what is left of it is f in
    [0, 1), which the inverse of the distribution turns into age = floor(log(1 - f (1 - q^n)) / log q).

    Attributes:
        half_life: windows of a stream after which a window is half as likely. A stream that has ended keeps its share of the draws.
    """

    kind: ClassVar[str] = "recency"
    half_life: Annotated[float, Within(1e-3, 1e12)] = 10_000.0

    def choose(self, noise: np.random.Generator, windows: WindowIndex, batch_size: int, behind: Behind) -> tuple[Places, Behind]:
        """The windows of a batch, (B,) each, and what is behind us after it."""
        place = noise.random(batch_size) * len(windows)
        stream = np.searchsorted(windows.stream_ends, place, side="right")
        count = np.diff(windows.stream_ends, prepend=0)[stream]
        fraction = (place - (windows.stream_ends[stream] - count)) / count
        rate = -np.log(2) / self.half_life
        # q^n is 0 for a long stream and near 1 for a half-life that dwarfs it: expm1 and log1p are exact in both.
        age = np.floor(np.log1p(fraction * np.expm1(rate * count)) / rate).astype(np.int64)
        return windows.places(windows.stream_ends[stream] - 1 - np.minimum(age, count - 1)), behind


@dataclass(frozen=True)
class Online:
    """New windows first, each exactly once, then uniformly (DreamerV3 official code, `replay.online`).

    New windows do not overlap: in each stream they begin at its second row, a window later, two windows later. They wait in the order in
    which they became complete; what is dropped from the replay before its turn is skipped. What a training finds at its start is not new,
    so on a replay that does not grow this is `uniform`; in `run`, and with `--follow`, everything that comes later is.
    """

    kind: ClassVar[str] = "online"

    def choose(self, noise: np.random.Generator, windows: WindowIndex, batch_size: int, behind: Behind) -> tuple[Places, Behind]:
        """The windows of a batch, (B,) each, and what is behind us after it."""
        new = windows.new(behind, batch_size)
        others = windows.places(noise.integers(len(windows), size=batch_size - len(new.row)))
        streams = list(named(windows.streams).items()) if len(new.row) else []
        ends = [(*streams[s], r + windows.window) for s, r in zip(*map(np.ndarray.tolist, new), strict=True)]
        taken = {name: stream.first_row + end for name, stream, end in ends}
        both = Places(np.concatenate([new.stream, others.stream]), np.concatenate([new.row, others.row]))
        return both, {**behind, **taken} if taken else behind


Selector = Uniform | Recency | Online
