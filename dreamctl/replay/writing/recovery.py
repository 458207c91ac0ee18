"""What a crash left in a folder: live shards nobody writes are cut at their last committed row and sealed, nothing goes silently."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dreamctl.core.errors import InputError
from dreamctl.core.files import sync_folder, unwritable
from dreamctl.core.locks import holder, try_lock
from dreamctl.replay.folder import lock_path, shard_paths
from dreamctl.replay.shards.chunks import read_rows
from dreamctl.replay.shards.header import header_of, opened, read_header, text_attribute
from dreamctl.replay.shards.layout import COMMIT, locate, look_at
from dreamctl.replay.shards.origin import boot_id
from dreamctl.replay.shards.sealing import seal_live

_NAME = re.compile(r"\.?(?P<stream>.+)-(?P<seq>\d{6,})\.h5(\.tmp)?")
_LOCK = re.compile(r"\.(?P<stream>.+-e\d+)\.lock")


@dataclass(frozen=True)
class Recovered:
    """What was done with one file that a crash left.

    Attributes:
        path: the file.
        rows: that are sealed now; None where the file is no shard and was removed.
        lost: rows that the machine went down with before they were on disk.
        problem: why the file is as it was before; empty where it was recovered.
    """

    path: Path
    rows: int | None
    lost: int = 0
    problem: str = ""

    def __str__(self) -> str:
        """One line that tells it."""
        if self.problem:
            return f"{self.path}: was not recovered, {self.problem}"
        if self.rows is None:
            return f"{self.path}: removed, an unfinished file of a writer that died"
        lost = f", {self.lost} rows were not on disk when the machine went down" if self.lost else ""
        kept = f"sealed {self.rows} rows" if self.rows else "removed, it held no step"
        return f"{self.path}: its writer died; {kept}{lost}"


def recover(folder: Path) -> list[Recovered]:
    """Seal the live shards that no process writes any more, and remove the unfinished files of such processes.

    Raises:
        OutputError: the disk does not take a sealed shard; its live one stays.
    """
    if not folder.is_dir():
        return []
    try:
        return [found for stream in _left(folder) for found in _recover_stream(folder, stream)]
    except OSError as error:
        raise unwritable(folder, error) from error


def abandoned(folder: Path) -> list[Path]:
    """The live shards and unfinished files in a folder that no process writes any more."""
    live = [path for path in shard_paths(folder) if _is_live(path)]
    unfinished = [path for path in sorted(folder.glob(".*.h5.tmp")) if _NAME.fullmatch(path.name)]
    return [path for path in (*live, *unfinished) if holder(lock_path(folder, _stream(path))) is None]


class _Counts(NamedTuple):
    """What a live shard says of itself: all rows, and those that can be trusted."""

    committed: int
    trusted: int


def _left(folder: Path) -> list[str]:
    """The streams that a writer left something of, whether it died or is at work."""
    unfinished = [_stream(path) for path in folder.glob(".*.h5.tmp") if _NAME.fullmatch(path.name)]
    locks = [match["stream"] for path in folder.glob(".*.lock") if (match := _LOCK.fullmatch(path.name))]
    live = [_stream(path) for path in shard_paths(folder) if _is_live(path)]
    return sorted({*unfinished, *locks, *live})


def _recover_stream(folder: Path, stream: str) -> Iterator[Recovered]:
    """Everything of one stream, unless its writer is at work."""
    lock = try_lock(lock_path(folder, stream))
    if lock is None:
        return
    try:
        for path in sorted(folder.glob(f".{stream}-*.h5.tmp")):
            path.unlink()
            yield Recovered(path, None)
        yield from _recover_shards([path for path in shard_paths(folder) if _stream(path) == stream])
        sync_folder(folder)
    finally:
        lock.release()


def _recover_shards(paths: Sequence[Path]) -> Iterator[Recovered]:
    """The shards of one stream, the last one first: it is where the stream ends, unless it holds nothing."""
    ended = True
    for path in reversed(paths):
        if _is_live(path):
            yield _recover_shard(path, ended)
        ended = ended and not path.exists()


def _recover_shard(path: Path, ended: bool) -> Recovered:
    try:
        counts = _counts(path)
        rows = seal_live(path, ended=ended, rows=counts.trusted)
    except InputError as error:
        return Recovered(path, None, problem=str(error).removeprefix(f"{path}: "))
    return Recovered(path, rows, counts.committed - counts.trusted)


def _is_live(path: Path) -> bool:
    """Whether it is a live shard; whoever reads it is told where it is no shard at all."""
    try:
        return read_header(path).state == "live"
    except InputError:
        return False


def _counts(path: Path) -> _Counts:
    """How many rows a live shard holds.

    Raises:
        InputError: it is damaged.
    """
    with opened(path) as file:
        found = look_at(path, file, "live")
        _, _, layouts = locate(found, header_of(path, file).fields)
        rows, _, durable, _ = read_rows(found.descriptor, layouts[COMMIT.path]).tolist()
        writer = text_attribute(file, "writer")
    try:
        written = str(json.loads(writer)["boot_id"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: does not say who wrote it ({error})") from error
    # Until the machine restarts, what was written is in the system's memory, whatever became of the writer.
    rebooted = bool(written and boot_id() and written != boot_id())
    return _Counts(rows, min(rows, durable) if rebooted else rows)


def _stream(path: Path) -> str:
    match = _NAME.fullmatch(path.name)
    return match["stream"] if match else path.stem
