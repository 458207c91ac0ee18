"""Writes replays: a live shard a lane, sealed in the background once it is full; one file made of such shards; whole episodes at once."""

import os
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from dreamctl.core.experience import Array, Episode, Row, TaskSpec
from dreamctl.core.files import unwritable
from dreamctl.replay.folder import check_appendable, claim_collector, open_folder, remove_parts, shard_paths, written_before
from dreamctl.replay.format import Field, Kind, column_fields, episode_fields, step_fields, truth_fields
from dreamctl.replay.shards.header import check_readable
from dreamctl.replay.shards.live import LiveShard
from dreamctl.replay.shards.origin import Origin
from dreamctl.replay.shards.sealed import write_sealed
from dreamctl.replay.shards.table import episode_table
from dreamctl.replay.writing.background import Background
from dreamctl.replay.writing.gone import Gone
from dreamctl.replay.writing.lane import Lane, step_columns
from dreamctl.replay.writing.merge import drop_merged_parts, merge
from dreamctl.replay.writing.recovery import recover


class Rotated(NamedTuple):
    """A shard that is full; it is sealed, or will be."""

    stream: str
    seq: int
    first_row: int
    rows: int
    path: Path


class ReplayWriter:
    """Takes rows of several lanes: each is in its shard, for every reader and whatever happens next, when `add` returns.

    As a context manager it is closed when left normally and paused when left by an exception.

    Args:
        path: a folder, or NAME.h5 for one file (its shards lie in NAME.h5.parts/ until `close`).
        spec: the task.
        lanes: how many environments give rows; each lane is a stream of its own, which this writer has locked.
        seed, policy, command, gym_spec: recorded.
        shard_mb, shard_rows: a lane's shard is full at so many megabytes or rows, whichever comes first.
        steps: that are asked for in all lanes: no lane reserves more than twice its part.
        sync_seconds: rows survive a loss of power after so long.
        append: whether to go on where there are rows already; what a crash left there is sealed first.

    Attributes:
        rotated: the shards that became full, in that order, which depends on the rows alone.

    Raises:
        UsageError: there are shards already and `append` is off, or it is on and the one file is finished.
        InputError: the shards that are there are of another task, or the count of those that have left is damaged.
        OutputError: the folder cannot be written.
    """

    def __init__(
        self,
        path: Path,
        spec: TaskSpec,
        *,
        lanes: int,
        seed: int,
        policy: str | Mapping[str, object] = "random",
        shard_mb: int = 32,
        shard_rows: int | None = None,
        steps: int | None = None,
        sync_seconds: float = 5.0,
        command: Sequence[str] = (),
        gym_spec: str = "",
        append: bool = False,
    ) -> None:
        self.path, self.rotated = path, list[Rotated]()
        self._origin = Origin(spec, "env", seed, policy, tuple(command), gym_spec)
        self._fields: list[Field] = []
        wanted = [shard_rows, None if steps is None else 2 * -(-steps // lanes)]
        self._most_rows, self._most_bytes = min((rows for rows in wanted if rows is not None), default=None), shard_mb << 20
        try:
            self._folder = self._opened(append)
            self.collector, locks = claim_collector(self._folder, self._origin, lanes, Gone.of(self._folder).collectors)
        except OSError as error:
            raise unwritable(path, error) from error
        self._lanes = [Lane(f"{self.collector}-e{number}") for number in range(lanes)]
        self._background = Background(sync_seconds, 2 * lanes, locks)
        weakref.finalize(self, self._background.leave).atexit = False
        self._failed = self._closed = False
        self._process = os.getpid()

    def add(self, row: Row) -> None:
        """Write one row. After an error the writer takes no more; rows that were added stay readable.

        Raises:
            OutputError: it cannot be written, or rows before it could not be sealed.
            InputError: the rows have other columns than the shards that are there, or are larger than readers take.
        """
        assert not self._failed, "a writer that failed takes no more rows"
        assert self._process == os.getpid(), "rows are added by the process that made the writer"
        self._failed = True
        self._background.check()
        lane = self._lanes[row.lane]
        shard = lane.shard or self._begin(lane, row)
        shard.append(row)
        if shard.full:
            self.rotated.append(Rotated(lane.stream, lane.seq, lane.first_row, shard.rows, shard.path))
            lane.leave(shard)
            self._background.seal(shard, ended=False)
        self._failed = False

    def wait_sealed(self, path: Path) -> None:
        """Return once a shard that was rotated is sealed.

        Raises:
            OutputError: it cannot be.
        """
        self._background.wait(path)

    def close(self) -> None:
        """Seal what is open, cut episodes included; one file is made of the parts, which are gone afterwards.

        Raises:
            OutputError: it cannot be written; rows that were added stay readable.
        """
        self.pause()
        if self._folder != self.path and self._folder.is_dir() and self._process == os.getpid():
            if shard_paths(self._folder):
                merge(self._folder, self.path, self._origin)
            remove_parts(self._folder)

    def pause(self) -> None:
        """Seal what is open and stop here: a single file stays in its parts, so that a later writer can append to them.

        Raises:
            OutputError: it cannot be written; rows that were added stay readable, and the next writer seals them.
        """
        if self._closed or self._process != os.getpid():
            return  # the child of a fork leaves everything to its parent
        self._closed = True
        try:
            if not self._failed:
                self._failed = True
                for lane in self._lanes:
                    if lane.shard is not None:
                        self._background.seal(lane.shard, ended=True)
                self._background.wait()
        finally:
            self._background.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self.pause()

    def _opened(self, append: bool) -> Path:
        """The folder of the shards, in which rows of this task may be written and no crash has left anything."""
        if append:
            drop_merged_parts(self.path)
        folder = open_folder(self.path, append)
        recover(folder)
        check_appendable(self.path, self._origin.spec, step_fields(self._origin.spec), written_before(folder))
        return folder

    def _begin(self, lane: Lane, row: Row) -> LiveShard:
        """The next shard of a lane, of which this is the first row."""
        if not self._fields:
            extra = column_fields({key: np.asarray(value)[None] for key, value in row.extra.items()}, "extra")
            fields = [*step_fields(self._origin.spec), *extra, *episode_fields("env")]
            check_appendable(self.path, self._origin.spec, fields, written_before(self._folder))
            self._fields = fields
        assert lane.seq or row.is_first, f"{lane.stream} begins inside an episode"
        rows = max(2, self._most_bytes // sum(field.row_bytes for field in self._fields if not field.per_episode))
        rows = rows if self._most_rows is None else max(2, min(rows, self._most_rows))
        attributes = self._origin.attributes(self._fields, stream=lane.stream, seq=lane.seq, first_row=lane.first_row)
        check_readable(attributes)
        # Few episodes are shorter than 16 rows; where they are, the shard is full when its table is.
        episodes = min(rows, max(64, rows // 16))
        lane.shard = LiveShard(lane.path(self._folder), attributes, self._fields, (rows, episodes), lane.open_episode)
        self._background.watch(lane.shard)
        return lane.shard


def write_episodes(
    path: Path,
    spec: TaskSpec,
    episodes: Sequence[Episode],
    *,
    kind: Kind,
    parent: Mapping[str, object],
    seed: int = 0,
    policy: str | Mapping[str, object] = "random",
    command: Sequence[str] = (),
    gym_spec: str = "",
) -> None:
    """Write whole episodes, of an environment or dreamt, as one sealed file over `path`; their ids are their places.

    Raises:
        OutputError: it cannot be written; an older file of that name is untouched.
    """
    assert episodes, "no episodes to write"
    whole = concatenated(episodes)
    ends = np.cumsum([len(episode) for episode in episodes])
    whole.action[ends - 1] = 0
    fields = [*step_fields(spec), *column_fields(whole.extra, "extra"), *truth_fields(whole.truth), *episode_fields(kind)]
    starts = np.append(0, ends[:-1])
    table = episode_table({name: getattr(whole, name) for name in ("reward", "terminated", "truncated")}, starts, ends - 1)
    columns = {**step_columns(whole), **{f"/episodes/{name}": column for name, column in table.items()}}
    for name in ("complete", "seed", "segment", "context", "source_shard", "source_row"):
        columns[f"/episodes/{name}"] = np.array([getattr(episode, name) for episode in episodes])
    columns["/episodes/id"] = np.arange(len(episodes))
    origin = Origin(spec, kind, seed, policy, tuple(command), gym_spec, parent)
    attributes = origin.attributes(fields, stream=f"{origin.collector()}-e0", seq=0, first_row=0)
    write_sealed(path, attributes, fields, (len(whole), len(episodes)), lambda field: [columns[field.path]])


def concatenated(episodes: Sequence[Episode]) -> Episode:
    """The rows of several episodes one after another; all have the same columns."""

    def joined(columns: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        assert all(column.keys() == columns[0].keys() for column in columns), "episodes differ in their columns"
        return {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}

    valid = [episode.truth_valid for episode in episodes if episode.truth_valid is not None]
    return Episode(
        observation=joined([episode.observation for episode in episodes]),
        action=np.concatenate([episode.action for episode in episodes]),
        reward=np.concatenate([episode.reward for episode in episodes]),
        is_first=np.concatenate([episode.is_first for episode in episodes]),
        terminated=np.concatenate([episode.terminated for episode in episodes]),
        truncated=np.concatenate([episode.truncated for episode in episodes]),
        extra=joined([episode.extra for episode in episodes]),
        truth=joined([episode.truth for episode in episodes]),
        truth_valid=np.concatenate(valid) if valid else None,
    )
