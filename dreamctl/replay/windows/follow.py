"""Batches from a replay that others write to meanwhile."""

import time
from collections.abc import Callable

from dreamctl.core.experience import Windows
from dreamctl.replay.reader import Replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.replay.streams.stream import Stream
from dreamctl.replay.windows.index import Behind

BATCHES, SECONDS = 200, 2.0
SHARE = 0.1  # of the time at most goes into looking: with very many episodes a look takes long


class Following:
    """Looks for new rows every 200 batches or 2 seconds, whichever comes first; what is drawn depends on when they come.

    Where a look takes long they are rarer.

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
        self._replay, self._seed, self._share, self._clock = replay, seed, share, clock
        self._sampler = WindowSampler(replay.split(share)[0], config, seed)
        self._batches, self._looked, self._took = 0, clock(), 0.0

    @property
    def streams(self) -> tuple[Stream, ...]:
        """What `Windows.stream` counts."""
        return self._sampler.streams

    @property
    def config(self) -> ReplayConfig:
        """How windows are drawn."""
        return self._sampler.config

    @property
    def behind(self) -> Behind:
        """As the sampler's."""
        return self._sampler.behind

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
        return self._sampler.sample(k)

    def _look(self) -> None:
        if self._replay.refresh():
            before = self._sampler
            self._sampler = WindowSampler(self._replay.split(self._share)[0], before.config, self._seed)
            self._sampler.go_on(before.behind)
