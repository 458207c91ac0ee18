"""A replay that is written and read in one process, within a number of rows: the oldest shards go, in memory and on disk."""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dreamctl.core.errors import InputError
from dreamctl.core.files import unwritable, write_json
from dreamctl.replay.reader import Replay
from dreamctl.replay.writer import ReplayWriter

# Shards of a lane in a full replay: rows go by the shard.
PARTS = 8


class _Kept(NamedTuple):
    """A shard that takes no more rows."""

    path: Path
    rows: int
    stream: str


@dataclass
class Gone:
    """What has left a replay, as its folder tells: without it nobody could count what was ever done.

    Attributes:
        path: where that is written; hidden, so that no command takes it for a shard.
        rows, env_steps: in all.
        last: name of the file that went last; where a crash left it, it still has to go.
        collectors: names of the writers so far, oldest first; one may have the name of another whose rows are gone.
    """

    path: Path
    rows: int = 0
    env_steps: int = 0
    last: str = ""
    collectors: tuple[str, ...] = ()

    @classmethod
    def of(cls, folder: Path) -> "Gone":
        """What has left the replay in a folder, none of it there any more.

        Raises:
            InputError: what is written about it is damaged.
            OutputError: a file cannot be removed.
        """
        path = folder / ".gone.json"
        if not path.exists():
            return cls(path)
        try:
            found = json.loads(path.read_text())
            gone = cls(path, int(found["rows"]), int(found["env_steps"]), str(found["last"]), tuple(map(str, found["collectors"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: is damaged ({error}); bring it back, or start anew with another --out") from error
        _remove(folder / Path(gone.last).name)
        return gone

    def more(self, path: Path, rows: int, env_steps: int) -> None:
        """A shard goes: first it is counted, then it is removed, so that a crash in between is seen.

        Raises:
            OutputError: it cannot be counted or removed.
        """
        self.rows, self.env_steps, self.last = self.rows + rows, self.env_steps + env_steps, path.name
        self._write()
        _remove(path)

    def settle(self) -> None:
        """The file that went last is gone: one of its name that comes later is another one, and stays.

        Raises:
            OutputError: that cannot be written.
        """
        self.last = ""
        self._write()

    def begun(self, collector: str) -> None:
        """Another writer begins.

        Raises:
            OutputError: that cannot be written.
        """
        self.collectors += (collector,)
        self._write()

    def _write(self) -> None:
        write_json(self.path, {name: value for name, value in vars(self).items() if name != "path"})


class Retention:
    """Takes big columns of shards that are full out of memory, and shards out of the replay; what goes when depends on rows alone.

    Args:
        replay: what was there, and every row since.
        gone: what left it before.
        capacity: rows in all; None where all are kept.
    """

    def __init__(self, replay: Replay, gone: Gone, capacity: int | None) -> None:
        self._replay, self._gone, self._capacity = replay, gone, capacity
        self._kept = deque(_oldest_first(replay, gone.collectors))
        self._waiting: list[Path] = []
        self._seen = 0

    @property
    def env_steps(self) -> int:
        """Actions that were ever taken in the environment, also those whose rows are gone."""
        return self._gone.env_steps + self._replay.env_steps

    @staticmethod
    def shard_rows(capacity: int | None, lanes: int) -> int | None:
        """Rows of a shard that make so many rows in all easy to keep to."""
        return None if capacity is None else max(2, capacity // (PARTS * lanes))

    def begin(self, writer: ReplayWriter) -> None:
        """Another writer writes the rows that are added from now on.

        Raises:
            OutputError: that cannot be noted.
        """
        if self._capacity is not None:
            self._gone.begun(writer.collector)
        self._seen = 0

    def look(self, writer: ReplayWriter) -> None:
        """After rows were added: put away what is sealed, and let go what is too much.

        Raises:
            OutputError: a shard cannot be sealed or removed.
            InputError: a sealed shard cannot be read.
        """
        full = writer.rotated[self._seen :]
        if full:
            # Those that were full before: by now they are sealed, so that nobody waits for it.
            self._put_away(writer, self._waiting)
            self._waiting, self._seen = [shard.path for shard in full], len(writer.rotated)
            self._kept.extend(_Kept(shard.path, shard.rows, shard.stream) for shard in full)
        while self._capacity is not None and self._replay.rows > self._capacity and self._kept:
            oldest = self._kept.popleft()
            if oldest.path in self._waiting:
                self._put_away(writer, [oldest.path])
                self._waiting.remove(oldest.path)
            self._drop(oldest)

    def _put_away(self, writer: ReplayWriter, paths: Sequence[Path]) -> None:
        for path in paths:
            writer.wait_sealed(path)
            self._replay.adopt(path)

    def _drop(self, shard: _Kept) -> None:
        (stream,) = (stream for stream in self._replay.streams if stream.name == shard.stream)
        resets = int(stream.columns["is_first"][: shard.rows].sum())
        self._gone.more(shard.path, shard.rows, shard.rows - resets)
        self._replay.drop(shard.path)


def _oldest_first(replay: Replay, collectors: Sequence[str]) -> list[_Kept]:
    """The shards that a replay was read from: writer by writer, those of its lanes in turn, as they were filled in step."""
    age = {name: number for number, name in enumerate(collectors)}

    def order(shard: _Kept) -> tuple[int, str, str, str]:
        collector, seq = shard.stream.rpartition("-e")[0], shard.path.stem.rpartition("-")[2]
        return age.get(collector, len(age)), collector, seq, shard.stream

    return sorted((_Kept(path, rows, path.stem.rpartition("-")[0]) for path, rows, _ in replay.files), key=order)


def _remove(path: Path) -> None:
    try:
        if path.name.endswith(".h5"):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
