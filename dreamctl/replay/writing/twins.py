"""Collectors of the same task, seed and agent that write into one folder at the same time."""

from itertools import count
from pathlib import Path

from dreamctl.core.locks import holder
from dreamctl.replay.shards.origin import Origin


def twin_number(folder: Path, origin: Origin, collector: str) -> int:
    """Which of its twins a collector is, 1 and up, where one before it is still writing; 0 where none is.

    Args:
        folder: of the shards.
        origin: of the rows.
        collector: the name that was claimed for them.
    """
    salt = next(salt for salt in count() if origin.collector(salt) == collector)
    before = (path for other in range(salt) for path in folder.glob(f".{origin.collector(other)}-e*.lock"))
    return salt if any(holder(path) for path in before) else 0
