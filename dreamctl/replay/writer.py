"""Writes replays: a shard a lane, sealed whenever it is full, or one file made of such shards; whole episodes at once."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from dreamctl.core.errors import InputError, OutputError
from dreamctl.core.experience import Array, Episode, Row, TaskSpec
from dreamctl.replay.folder import claim_collector, open_folder, places, remove_parts, shard_paths, written_before
from dreamctl.replay.format import Field, Kind, column_fields, episode_fields, schema_difference, step_fields, truth_fields
from dreamctl.replay.lane import Lane, episode_table, step_columns
from dreamctl.replay.merge import drop_merged_parts, merge
from dreamctl.replay.origin import Origin
from dreamctl.replay.sealed import write_sealed


class ReplayWriter:
    """Takes rows of several lanes and seals them shard by shard; what is sealed stays readable whatever happens next.

    As a context manager it is closed when left normally and paused when left by an exception.

    Args:
        path: a folder, or NAME.h5 for one file (its shards lie in NAME.h5.parts/ until `close`).
        spec: the task.
        lanes: how many environments give rows; each lane is a stream of its own.
        seed, policy, command, gym_spec: recorded.
        shard_rows, shard_mb: a lane's shard is sealed when it holds so many rows or megabytes, whichever comes first.
        append: whether to go on where there are rows already; one file is then made anew of the old rows and the new ones.

    Raises:
        UsageError: there are shards already and `append` is off.
        InputError: the shards that are there are of another task.
        OutputError: the folder cannot be made.
    """

    def __init__(
        self,
        path: Path,
        spec: TaskSpec,
        *,
        lanes: int,
        seed: int,
        policy: str | Mapping[str, object] = "random",
        shard_rows: int = 256,
        shard_mb: int = 32,
        command: Sequence[str] = (),
        gym_spec: str = "",
        append: bool = False,
    ) -> None:
        self.path = path
        self._origin = Origin(spec, "env", seed, policy, tuple(command), gym_spec)
        self._limits = (shard_rows, shard_mb << 20)
        self._fields: list[Field] = []
        self._lanes = [Lane() for _ in range(lanes)]
        self._full_at = 0
        self._append = append
        if append:
            drop_merged_parts(path)
        self._folder = open_folder(path, spec, append)
        self.collector, self._mark = claim_collector(self._folder, self._origin)

    def add(self, row: Row) -> None:
        """Take one row; seals the lane's shard when that fills it.

        Raises:
            OutputError: the shard cannot be written; sealed rows stay readable, open ones are lost.
            InputError: the rows have other columns than the shards that are there.
        """
        if not self._fields:
            self._begin(row)
        lane = self._lanes[row.lane]
        assert lane.rows or lane.seq or row.is_first, f"lane {row.lane} begins inside an episode"
        lane.rows.append(row)
        if len(lane.rows) >= self._full_at:
            self._seal(row.lane)

    def close(self) -> None:
        """Seal what is open, cut episodes included; one file is made of the parts, which are gone afterwards.

        Raises:
            OutputError: it cannot be written; sealed rows stay readable.
        """
        self.pause()
        if self._folder != self.path and self._folder.is_dir():
            if shard_paths(self._folder):
                merge(places(self.path) if self._append else [self._folder], self.path, self._origin)
            remove_parts(self._folder)

    def pause(self) -> None:
        """Seal what is open and stop here: a single file stays in its parts, so that a later writer can append to them.

        Raises:
            OutputError: it cannot be written; sealed rows stay readable.
        """
        try:
            for number, lane in enumerate(self._lanes):
                self._lanes[number] = lane.ended()
                if self._lanes[number].rows:
                    self._seal(number)
        finally:
            with suppress(OSError):
                self._mark.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self.pause()

    def _begin(self, row: Row) -> None:
        """Fix the schema that the first row implies; it is that of the shards that are there."""
        extra = column_fields({key: np.asarray(value)[None] for key, value in row.extra.items()}, "extra")
        self._fields = [*step_fields(self._origin.spec), *extra, *episode_fields("env")]
        before = written_before(self.path, self._append)
        difference = schema_difference(self._fields, before.fields) if before else None
        if difference:
            raise InputError(f"{self.path}: cannot append, {difference} (as there already); choose another --out")
        steps, size = self._limits
        row_bytes = sum(field.row_bytes for field in self._fields if not field.per_episode)
        self._full_at = max(2, min(steps, size // row_bytes))

    def _seal(self, number: int) -> None:
        """Write the open shard of a lane. Once that failed, open rows are given up, so that leaving does not fail again."""
        lane = self._lanes[number]
        columns, behind = lane.columns()
        stream = f"{self.collector}-e{number}"
        attributes = self._origin.attributes(self._fields, stream=stream, seq=lane.seq, first_row=lane.first_row)
        lengths = (len(lane.rows), len(columns["/episodes/start"]))
        path = self._folder / f"{stream}-{lane.seq:06d}.h5"
        try:
            write_sealed(path, attributes, self._fields, lengths, lambda field: [columns[field.path]])
        except OutputError:
            self._lanes = []
            raise
        self._lanes[number] = lane.sealed(behind)


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
    columns = {**step_columns(whole), **episode_table(whole, starts, ends - 1, [episode.complete for episode in episodes])}
    for name in ("seed", "segment", "context", "source_shard", "source_row"):
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
