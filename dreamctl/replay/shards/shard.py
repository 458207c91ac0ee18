"""Opens one shard, live or sealed: validated before anything of it is believed, its small columns and episodes read into memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array
from dreamctl.replay.shards import check
from dreamctl.replay.shards.chunks import read_rows
from dreamctl.replay.shards.header import MEND, Header, State, first_line, header_of, opened
from dreamctl.replay.shards.layout import COMMIT, locate, look_at
from dreamctl.replay.shards.located import Contiguous, Layout
from dreamctl.replay.shards.table import table_of

# What HDF5 and h5py raise for bytes that make no sense to them.
UNREADABLE = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError)


@dataclass(frozen=True)
class Shard:
    """One validated shard.

    Attributes:
        rows: that are committed.
        steps: the small columns, by name below /steps, (rows, ...).
        big: where the rows of the others lie, by name; what they hold was not looked at.
        episodes: the episode table, by name, (episodes,); that of a live shard ends with the episode that is still open.
        inode: what tells the file that was read from one that takes its place.
        commit: where the counters of a live one lie, in bytes.
    """

    path: Path
    header: Header
    rows: int
    steps: Mapping[str, Array]
    episodes: Mapping[str, Array]
    big: Mapping[str, Layout]
    inode: int
    commit: int = 0

    @property
    def state(self) -> State:
        """`live` while rows are added to it, otherwise `sealed`."""
        return self.header.state


def read_shard(path: Path) -> Shard:
    """Open and validate one shard.

    Raises:
        InputError: the file is not a shard, or what it holds contradicts itself.
    """
    try:
        with opened(path) as file:
            header = header_of(path, file)
            found = look_at(path, file, header.state)
            rows, episodes, layouts = locate(found, header.fields)
            steps = {
                field.name: read_rows(found.descriptor, layouts[field.path])
                for field in header.fields
                if not (field.per_episode or field.big)
            }
            stored = {field.name: read_rows(found.descriptor, layouts[field.path]) for field in header.fields if field.per_episode}
    except UNREADABLE as error:
        raise InputError(f"{path}: damaged ({first_line(error)}); {MEND}") from error
    table = table_of(header.state, stored, episodes, steps)
    check.episodes(path, header.kind, table, steps)
    check.values(path, header.spec, table, steps)
    big = {field.name: layouts[field.path] for field in header.fields if field.big}
    counters = layouts[COMMIT.path].storage
    commit = counters.offset if isinstance(counters, Contiguous) else 0
    return Shard(path, header, rows, steps, table, big, found.status.st_ino, commit)


def read_columns(path: Path, names: Sequence[str], first: int, rows: int) -> dict[str, Array]:
    """Some rows of columns of a shard, by their name below /steps.

    Raises:
        InputError: they cannot be read.
    """
    try:
        with opened(path) as file:
            header = header_of(path, file)
            found = look_at(path, file, header.state)
            wanted = {field.name: field for field in header.fields if not field.per_episode and field.name in names}
            layouts = locate(found, list(wanted.values()))[2]
            if any(first + rows > layouts[field.path].rows for field in wanted.values()):
                raise InputError(f"{path}: holds fewer rows than were read from it before; start again")
            return {name: read_rows(found.descriptor, layouts[wanted[name].path], first, rows) for name in names}
    except UNREADABLE as error:
        raise InputError(f"{path}: damaged ({first_line(error)}); {MEND}") from error
