"""The shard that a lane is writing: contiguous and reserved beforehand, rows by pwrite, counted last.

Nothing of HDF5 is changed or even open while rows are added: whoever is killed in between leaves a file that any HDF5 tool opens.
What a new file holds is zeros, so a flag is written only where it is set.
"""

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from dreamctl.core.errors import OutputError
from dreamctl.core.experience import Array, Row
from dreamctl.core.files import unwritable
from dreamctl.replay.format import FLAGS, LIVE, Field, parted
from dreamctl.replay.shards.attributes import Attributes, attribute_bytes, write_attributes
from dreamctl.replay.shards.deflating import Bytes
from dreamctl.replay.shards.layout import COMMIT
from dreamctl.replay.shards.reserved import ALIGNMENT, reserved_file, write_fully

_COMMIT = struct.Struct("<4q")
_DURABLE = struct.Struct("<q")


@dataclass(frozen=True)
class OpenEpisode:
    """The episode that the last row of a lane belongs to, and the segment that the next row would begin (0: it has ended)."""

    id: int = -1
    segment: int = 0
    seed: int = -1


NO_EPISODE = OpenEpisode()


class _Column(NamedTuple):
    """Where a dataset lies: row n begins at offset + n · size."""

    descriptor: int
    offset: int
    size: int
    dtype: np.dtype[np.generic]

    def put(self, row: int, value: object) -> None:
        stored: Array = np.ascontiguousarray(value, self.dtype)
        assert stored.nbytes == self.size, f"a value of {stored.nbytes} bytes, the schema says {self.size}"
        self.put_bytes(row, stored)  # type: ignore[arg-type]

    def put_bytes(self, row: int, data: Bytes) -> None:
        """The bytes of one row; the common case costs little more than the system's call."""
        at = self.offset + row * self.size
        if self.size and os.pwrite(self.descriptor, data, at) != self.size:
            write_fully(self.descriptor, data, at)


class LiveShard:
    """One live shard and the descriptor that writes it.

    Args:
        path: of the shard, live and sealed.
        attributes: of the root, state aside.
        fields: the schema list.
        capacity: rows and episodes after which it is full.
        before: the open episode as the shard before left it.

    Attributes:
        rows: committed.

    Raises:
        OutputError: the disk has no room for all of it.
    """

    def __init__(self, path: Path, attributes: Attributes, fields: Sequence[Field], capacity: tuple[int, int], before: OpenEpisode) -> None:
        self.path, self.capacity = path, capacity
        self.rows = self._episodes = self._durable = 0
        self._id, self._segment, self._seed = before.id, before.segment, before.seed
        self._start, self._inside = 0, False
        # An episode that is cut needs its place in the table, and so does the one that cuts it.
        offsets = _create(path, attributes, fields, (capacity[0], capacity[1] + 1))
        try:
            self._file = path.open("r+b", buffering=0)
        except OSError as error:
            raise unwritable(path, error) from error
        self.descriptor = self._file.fileno()
        columns = {f.path: _Column(self.descriptor, offsets[f.path], f.row_bytes, np.dtype(f.dtype)) for f in (*fields, COMMIT)}
        self._counters = columns[COMMIT.path]._replace(size=_COMMIT.size)
        self._observation = _below(columns, "/steps/observation/")
        self._extra = _below(columns, "/steps/extra/")
        self._action = {path.removeprefix("/steps/"): column for path, column in columns.items() if path.startswith("/steps/action")}
        self._reward, self._flags = columns["/steps/reward"], [(flag, columns[f"/steps/{flag}"]) for flag in FLAGS]
        self._pack_reward = struct.Struct(f"<{self._reward.dtype.char}").pack
        self._table = _below(columns, "/episodes/")

    def __repr__(self) -> str:
        return f"LiveShard({self.path.name}, rows={self.rows} of {self.capacity[0]}, episodes={self._episodes} of {self.capacity[1]})"

    @property
    def full(self) -> bool:
        """Whether the next row belongs to another shard."""
        return self.rows >= self.capacity[0] or self._episodes >= self.capacity[1]

    @property
    def open_episode(self) -> OpenEpisode:
        """For the shard behind this one."""
        return OpenEpisode(self._id, self._segment + 1 if self._inside else 0, self._seed)

    def append(self, row: Row) -> None:
        """Write and commit one row. After an error the shard takes no more; what was committed stays.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            if row.is_first or not self._inside:
                self._begin(row)
            self._write(row)
            if row.is_last:
                self._end(self.rows, row.terminated, row.truncated)
            # Counted here after it is counted in the file: what `sync` calls durable must be committed.
            self._commit(self.rows + 1)
            self.rows += 1
        except OSError as error:
            raise unwritable(self.path, error) from error

    def sync(self) -> None:
        """See that the rows of now survive a loss of power, and say so in the file. May be called by another thread.

        Raises:
            OutputError: the disk does not take them.
        """
        rows = self.rows
        if rows == self._durable:
            return
        try:
            _flush(self.descriptor)
            # A commit that is made meanwhile may put the old number back, which is not wrong, only less.
            self._durable = rows
            write_fully(self.descriptor, _DURABLE.pack(rows), self._counters.offset + 2 * _DURABLE.size)
            # Once more: the shard behind this one may call rows durable only when all of these are.
            _flush(self.descriptor)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def close(self) -> None:
        """Let go of the file; twice is once."""
        self._file.close()

    def _begin(self, row: Row) -> None:
        """Note what the rows themselves do not tell of an episode, before its first row here is committed."""
        if self._inside:
            # It was cut: nobody saw what its last action did.
            for column in self._action.values():
                column.put_bytes(self.rows - 1, bytes(column.size))
            self._end(self.rows - 1, False, False)
        if row.is_first:
            self._id, self._segment, self._seed = self._id + 1, 0, row.seed
        self._start, self._inside = self.rows, True
        for name, value in (("start", self._start), ("seed", self._seed), ("id", self._id), ("segment", self._segment)):
            self._table[name].put(self._episodes, value)

    def _write(self, row: Row) -> None:
        at = self.rows
        for key, column in self._observation.items():
            column.put(at, row.observation[key])
        for key, column in self._extra.items():
            column.put(at, row.extra[key])
        for name, leaf in parted(row.action).items():
            self._action[name].put(at, leaf)
        self._reward.put_bytes(at, self._pack_reward(row.reward))
        for flag, column in self._flags:
            if getattr(row, flag):
                column.put_bytes(at, b"\1")

    def _end(self, last: int, terminated: bool, truncated: bool) -> None:
        """The table's row of the episode whose last row this is; it counts once the next commit says so."""
        ends = {"terminated": terminated, "truncated": truncated, "complete": terminated or truncated}
        rows = last - self._start + 1
        rewards = os.pread(self.descriptor, rows * self._reward.size, self._reward.offset + self._start * self._reward.size)
        total = np.frombuffer(rewards, self._reward.dtype).sum(dtype=np.float64)
        for name, value in {"length": rows, "return": total, **ends}.items():
            self._table[name].put(self._episodes, value)
        self._episodes, self._inside = self._episodes + 1, False

    def _commit(self, rows: int) -> None:
        """32 bytes within one page, in one piece."""
        self._counters.put_bytes(0, _COMMIT.pack(rows, self._episodes, self._durable, LIVE))


# macOS knows the larger one only.
_flush = getattr(os, "fdatasync", os.fsync)


def _below(columns: dict[str, _Column], prefix: str) -> dict[str, _Column]:
    return {path.removeprefix(prefix): column for path, column in columns.items() if path.startswith(prefix)}


def _create(path: Path, attributes: Attributes, fields: Sequence[Field], capacity: tuple[int, int]) -> dict[str, int]:
    """Make the file, all of its space reserved; where each dataset begins, by path."""
    if not path.parent.is_dir():
        raise OutputError(f"{path}: cannot write, its folder is gone; leave the folder alone until its writer has ended")
    lengths = {f.path: capacity[1] if f.per_episode else capacity[0] for f in fields} | {COMMIT.path: 4}
    placed = [*fields, COMMIT]
    size = sum(lengths[field.path] * field.row_bytes + ALIGNMENT["alignment_interval"] for field in placed)
    with reserved_file(path, size + attribute_bytes(attributes)) as made:
        try:
            offsets = {field.path: _place(made.file, field, lengths[field.path]) for field in placed}
            write_attributes(made.file, {**attributes, "state": "live"})
        except RuntimeError as error:
            raise OutputError(f"{path}: cannot write ({error}); choose another --out") from error
    assert offsets[COMMIT.path] % _COMMIT.size == 0, "/commit may lie in two pages"
    return offsets


def _place(file: h5py.File, field: Field, rows: int) -> int:
    """Make a contiguous dataset that no value was ever written to, and say where it begins."""
    stored, links = h5py.h5p.create(h5py.h5p.DATASET_CREATE), h5py.h5p.create(h5py.h5p.LINK_CREATE)
    stored.set_layout(h5py.h5d.CONTIGUOUS)
    stored.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    stored.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    links.set_create_intermediate_group(True)
    kind, space = h5py.h5t.py_create(np.dtype(field.dtype), logical=True), h5py.h5s.create_simple((rows, *field.shape))
    offset = h5py.h5d.create(file.id, field.path.encode(), kind, space, stored, links).get_offset()
    assert offset is not None or rows * field.row_bytes == 0, f"{field.path} has no place in the file"
    return int(offset or 0)
