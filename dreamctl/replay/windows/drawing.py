"""Batches of a sampler that are not drawn at the very moment when they are asked for."""

from dreamctl.core.experience import Windows
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.replay.streams.stream import Stream
from dreamctl.replay.windows.index import Behind


class Drawing:
    """What gives the batches of a sampler.

    Args:
        sampler: whose.
    """

    def __init__(self, sampler: WindowSampler) -> None:
        self._sampler = sampler

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


class Drawn(Drawing):
    """The first batches of a sampler, drawn at once and kept, whatever becomes of their rows.

    Args:
        sampler: whose.
        batches: how many.
    """

    def __init__(self, sampler: WindowSampler, batches: int) -> None:
        super().__init__(sampler)
        self._windows = [sampler.sample(k) for k in range(batches)]

    def sample(self, k: int) -> Windows:
        """Batch number k."""
        return self._windows[k]
