"""The next batch is made while the last one is learned from."""

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple, Self

from dreamctl.core.experience import Windows
from dreamctl.replay.sampler import Allocate, WindowSampler
from dreamctl.replay.streams.memory import aligned
from dreamctl.replay.windows.drawing import Drawing
from dreamctl.replay.windows.index import Behind


class _Ahead(NamedTuple):
    """A batch in the making: its number, what was behind us before it."""

    k: int
    behind: Behind
    windows: Future[Windows]


class Prefetch(Drawing):
    """Draws the batches of a sampler, one ahead, in a thread and into a few buffers that are used again; the draws are the same.

    The replay must not change meanwhile. A batch is whole until the next but one is asked for: then its buffer is filled anew. Whatever
    goes wrong in the thread is raised where its batch is asked for.

    Args:
        sampler: whose batches.
        buffers: how many: one is made, one is learned from, the others may still be on their way to a device.
        allocate: makes them: shape, dtype -> an array.
    """

    def __init__(self, sampler: WindowSampler, buffers: int = 3, allocate: Allocate = aligned) -> None:
        assert buffers > 1, "one is made while another is learned from"
        super().__init__(sampler)
        self._allocate, self._count = allocate, buffers
        self._buffers: list[Windows] = []
        self._made = 0
        self._ahead: _Ahead | None = None
        self._thread = ThreadPoolExecutor(1, "prefetch")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def behind(self) -> Behind:
        """As the sampler's, after the batch that was handed out last."""
        return self._sampler.behind if self._ahead is None else self._ahead.behind

    def sample(self, k: int) -> Windows:
        """Batch number k, as the sampler draws it; the one after it is begun."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.k == k:
            windows = ahead.windows.result()
        else:
            self._forget(ahead)
            windows = self._make(k)
        self._ahead = _Ahead(k + 1, self._sampler.behind, self._thread.submit(self._make, k + 1))
        return windows

    def close(self) -> None:
        """End the thread; a batch that nobody asked for was never drawn."""
        ahead, self._ahead = self._ahead, None
        self._forget(ahead)
        self._thread.shutdown()

    def _forget(self, ahead: _Ahead | None) -> None:
        if ahead is not None:
            self._made -= ahead.windows.exception() is None
            self._sampler.behind = ahead.behind

    def _make(self, k: int) -> Windows:
        if len(self._buffers) < self._count:
            self._sampler.check()
            self._buffers.append(self._sampler.buffers(self._allocate))
        buffer = self._buffers[self._made % self._count]
        windows = self._sampler.sample(k, buffer)
        self._made += 1
        return windows
