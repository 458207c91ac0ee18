"""Batches from a replay that others write to meanwhile."""

import time
from collections.abc import Callable

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Windows
from dreamctl.replay.reader import Replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.replay.streams.stream import Stream
from dreamctl.replay.windows.drawing import Drawing
from dreamctl.replay.windows.index import Behind, named

BATCHES, SECONDS = 200, 2.0
SHARE = 0.1  # of the time at most goes into looking: with very many episodes a look takes long


class Following(Drawing):
    """Looks for new rows every 200 batches or 2 seconds, whichever comes first; what is drawn depends on when they come.

    Where a look takes long they are rarer. Rows whose shards were removed, the oldest of their stream, are not drawn any more.

    Args:
        replay: where from.
        config: how.
        seed: of the draws.
        share: of the episodes that are held out; an episode stays on its side.
        clock: seconds.
    """

    def __init__(
        self, replay: Replay, config: ReplayConfig, seed: int, *, share: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(WindowSampler(replay.split(share)[0], config, seed))
        self._replay, self._seed, self._share, self._clock = replay, seed, share, clock
        self._batches, self._looked, self._took = 0, clock(), 0.0

    def go_on(self, behind: Behind | None) -> None:
        """As the sampler's."""
        self._sampler.go_on(behind)

    def sample(self, k: int) -> Windows:
        """Batch number k of what is there, as the sampler draws it."""
        now = self._clock()
        since = now - self._looked
        if (self._batches >= BATCHES or since >= SECONDS) and since * SHARE >= self._took:
            self._look()
            self._batches, self._looked, self._took = 0, now, self._clock() - now
        self._batches += 1
        while True:
            behind = self._sampler.behind
            try:
                return self._sampler.sample(k)
            except InputError:
                self._sampler.behind = behind
                if not self._look():  # its rows may have left since the last look
                    raise

    def _look(self) -> bool:
        """Go on with what is there now; returns whether rows have left."""
        first_rows = {stream: stream.first_row for stream in self._replay.streams}
        if not self._replay.refresh():
            return False
        before = self._sampler
        self._sampler = WindowSampler(self._replay.split(self._share)[0], before.config, self._seed)
        there = named(self._sampler.streams)
        moved = [(name, stream, there[name]) for name, stream in named(before.streams).items() if name in there]
        self._sampler.go_on({name: _moved(before.behind.get(name, 0), then, now) for name, then, now in moved})
        return any(stream.first_row > row for stream, row in first_rows.items())


def _moved(behind: int, before: Stream, after: Stream) -> int:
    """What is behind us of a stream, or of the episodes of it that are not held out, in which other rows are now.

    Args:
        behind: rows of `before`, those that are gone included.
        before: the stream, or made of rows of it.
        after: the same now; rows in front of its first one have left, or were never drawn.
    """
    first = next((there for _, there, _ in after.pieces(0, 1)), 0)
    gone = sum(min(rows, max(0, first - there)) for _, there, rows in before.pieces(0, len(before)))
    return after.first_row + max(0, behind - before.first_row - gone)
