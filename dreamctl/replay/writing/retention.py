"""A replay that is written and read in one process, within a number of rows: the oldest shards go, in memory and on disk."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from dreamctl.core.experience import TaskSpec
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.writer import ReplayWriter
from dreamctl.replay.writing.gone import Gone

# Shards of a lane in a full replay: rows go by the shard.
PARTS = 8


class _Kept(NamedTuple):
    """A shard that takes no more rows."""

    path: Path
    rows: int
    stream: str


class Retention:
    """Takes big columns of shards that are full out of memory, and shards out of the replay; what goes when depends on rows alone.

    Args:
        replay: what was there, and every row since.
        gone: what left it before.
        capacity: rows in all; None where all are kept.
    """

    def __init__(self, replay: Replay, gone: Gone, capacity: int | None) -> None:
        self.replay, self._gone, self._capacity = replay, gone, capacity
        self._kept = deque(_oldest_first(replay, gone.collectors))
        self._waiting: list[Path] = []
        self._seen = 0

    @classmethod
    def of(cls, folder: Path, spec: TaskSpec, lanes: int, capacity: int | None) -> Self:
        """That of a folder: what is there is read, what left it before is known.

        Raises:
            InputError: the replay or what is written about it is damaged.
            OutputError: what still had to leave cannot be removed.
        """
        gone = Gone.of(folder)
        replay = open_replay([folder]) if any(folder.glob("*.h5")) else Replay.empty(spec, lanes)
        return cls(replay, gone, capacity)

    @property
    def env_steps(self) -> int:
        """Actions that were ever taken in the environment, also those whose rows are gone."""
        return self._gone.env_steps + self.replay.env_steps

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
        while self._capacity is not None and self.replay.rows > self._capacity and self._kept:
            oldest = self._kept.popleft()
            if oldest.path in self._waiting:
                self._put_away(writer, [oldest.path])
                self._waiting.remove(oldest.path)
            self._drop(oldest)

    def _put_away(self, writer: ReplayWriter, paths: Sequence[Path]) -> None:
        for path in paths:
            writer.wait_sealed(path)
            self.replay.adopt(path)

    def _drop(self, shard: _Kept) -> None:
        (stream,) = (stream for stream in self.replay.streams if stream.name == shard.stream)
        resets = int(stream.columns["is_first"][: shard.rows].sum())
        self._gone.more(shard.path, shard.rows, shard.rows - resets)
        self.replay.drop(shard.path)


def _oldest_first(replay: Replay, collectors: Sequence[str]) -> list[_Kept]:
    """The shards that a replay was read from: writer by writer, those of its lanes in turn, as they were filled in step."""
    age = {name: number for number, name in enumerate(collectors)}

    def order(shard: _Kept) -> tuple[int, str, str, str]:
        collector, seq = shard.stream.rpartition("-e")[0], shard.path.stem.rpartition("-")[2]
        return age.get(collector, len(age)), collector, seq, shard.stream

    return sorted((_Kept(path, rows, path.stem.rpartition("-")[0]) for path, rows, _ in replay.files), key=order)
