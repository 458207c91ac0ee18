"""The thread behind a writer: seals full shards, and makes the rows of the others durable every few seconds."""

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dreamctl.core.errors import InputError, OutputError
from dreamctl.core.files import unwritable
from dreamctl.core.locks import Lock
from dreamctl.replay.shards.live import LiveShard
from dreamctl.replay.shards.sealing import seal_live


class _Job(NamedTuple):
    shard: LiveShard
    ended: bool


class Background:
    """Live shards in the order in which they were begun, and what is to be done about them.

    An error ends the work: it is raised by the next call, and the live shards stay as they are.

    Args:
        sync_seconds: between two times at which rows are made durable.
        backlog: how many full shards may wait, each of them on disk at its full size.
        locks: of the streams: nobody else may seal their shards while the thread does, also when its writer is forgotten.
    """

    def __init__(self, sync_seconds: float, backlog: int, locks: Sequence[Lock]) -> None:
        self._sync_seconds, self._backlog, self._locks = sync_seconds, backlog, locks
        self._live: list[LiveShard] = []
        self._jobs: deque[_Job] = deque()
        self._error: BaseException | None = None
        self._leave = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="replay", daemon=True)
        self._thread.start()
        _at_work.add(self)

    def watch(self, shard: LiveShard) -> None:
        """Make the rows of a new shard durable from now on."""
        with self._changed:
            self._live.append(shard)

    def seal(self, shard: LiveShard, *, ended: bool) -> None:
        """Seal a shard that takes no more rows, once those before it are; waits where too many are waiting.

        Raises:
            OutputError: the disk does not take what was to be written before.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error or len(self._jobs) < self._backlog)
            self._check()
            self._jobs.append(_Job(shard, ended))
            self._changed.notify_all()

    def wait(self, path: Path | None = None) -> None:
        """Return once this shard, or every one that is to be, is sealed.

        Raises:
            OutputError: it cannot be.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error or not any(path in (None, job.shard.path) for job in self._jobs))
            self._check()

    def check(self) -> None:
        """Raise what the thread has met with.

        Raises:
            OutputError: the disk does not take what was to be written.
        """
        if self._error is not None:
            with self._changed:
                self._check()

    def stop(self) -> None:
        """Finish the job at hand, no other one, remove shards without rows, and let go of every file and lock.

        Raises:
            OutputError: such a shard cannot be removed.
        """
        self.end()
        try:
            for shard in self._live:
                shard.close()
                if shard.rows == 0:
                    shard.path.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(shard.path, error) from error
        finally:
            for lock in self._locks:
                lock.release()

    def end(self) -> None:
        """Finish the job at hand, and no other one."""
        self.leave()
        self._thread.join()

    def leave(self) -> None:
        """Ask the thread to end, without waiting for it."""
        with self._changed:
            self._leave = True
            self._jobs.clear()
            self._changed.notify_all()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            due = time.monotonic() + self._sync_seconds
            while (job := self._next(due)) is not None or not self._leave:
                if time.monotonic() >= due:
                    for shard in list(self._live):
                        shard.sync()
                    due = time.monotonic() + self._sync_seconds
                if job is not None:
                    self._seal(job)
        except BaseException as error:  # a bug included: it is raised where rows are added
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next(self, due: float) -> _Job | None:
        """The next job; None when there is none until it is time to make rows durable, or when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._leave, timeout=max(0.0, due - time.monotonic()))
            return self._jobs[0] if self._jobs else None

    def _seal(self, job: _Job) -> None:
        try:
            seal_live(job.shard.path, ended=job.ended)
        except InputError as error:
            problem = str(error).removeprefix(f"{job.shard.path}: ")
            raise OutputError(f"{job.shard.path}: was moved, removed or changed while it was written: {problem}") from error
        except OSError as error:
            raise unwritable(job.shard.path, error) from error
        with self._changed:
            job.shard.close()
            self._live.remove(job.shard)
            if self._jobs and self._jobs[0] is job:
                self._jobs.popleft()
            self._changed.notify_all()


_at_work: weakref.WeakSet[Background] = weakref.WeakSet()
# A child of a fork has the object and not the thread.
os.register_at_fork(after_in_child=_at_work.clear)


@atexit.register
def _end_all() -> None:
    """Wait for the threads of writers that nobody closed: exit waits forever for the lock of HDF5 where it stops a thread that has it."""
    for background in list(_at_work):
        background.end()
