"""Collectors of the same task, seed and agent that write into one folder, one after another or at the same time."""

from dataclasses import dataclass
from itertools import count
from pathlib import Path

from dreamctl.core.locks import holder
from dreamctl.replay.folder import shard_paths
from dreamctl.replay.shards.origin import Origin
from dreamctl.replay.writing.gone import Gone

MOST_STEPS = 1 << 40  # more than anyone takes


@dataclass(frozen=True)
class Before:
    """What a folder has seen before a collector begins.

    Attributes:
        gone_steps: environment steps that are not there any more.
        collectors: names of those whose rows are or were there.
    """

    gone_steps: int = 0
    collectors: frozenset[str] = frozenset()

    @classmethod
    def of(cls, folder: Path) -> "Before":
        """As it is now; asked before the rows that are there are counted.

        Raises:
            InputError: the count of what has left it is damaged.
            OutputError: a file that was about to leave it cannot be removed.
        """
        gone = Gone.of(folder)
        there = {path.stem.rpartition("-e")[0] for path in shard_paths(folder)}
        return cls(gone.env_steps, frozenset(there.union(gone.collectors)))

    def apart(self, folder: Path, origin: Origin, collector: str) -> int:
        """What keeps a collector's episodes apart from those of its twins, in steps; 0 where it has none that began since or still writes.

        Args:
            folder: of the shards.
            origin: of the rows to come.
            collector: the name that was claimed for them.
        """
        salt = next(salt for salt in count() if origin.collector(salt) == collector)
        twins = [origin.collector(other) for other in range(salt)]
        return MOST_STEPS * salt if any(twin not in self.collectors or _writes(folder, twin) for twin in twins) else 0


def _writes(folder: Path, collector: str) -> bool:
    """Whether a collector is at work."""
    return any(holder(path) for path in folder.glob(f".{collector}-e*.lock"))
