"""Whether replays are whole: every file of them is looked at, and what is found is told of each."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array
from dreamctl.replay.folder import is_gone, shard_files
from dreamctl.replay.shards.check import finite
from dreamctl.replay.shards.chunks import read_rows
from dreamctl.replay.shards.header import first_line, opened
from dreamctl.replay.shards.layout import locate, look_at
from dreamctl.replay.shards.located import Chunked, Layout
from dreamctl.replay.shards.shard import UNREADABLE, Shard, read_shard
from dreamctl.replay.streams.join import check_joint
from dreamctl.replay.writing.recovery import abandoned

PIECE = 4 << 20  # bytes that are decoded at once


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file, in words that name it."""

    path: Path
    what: str


@dataclass(frozen=True)
class _Sound:
    """A file without a fault, and how many bytes of it were decoded."""

    shard: Shard
    decoded: int


@dataclass(frozen=True)
class Verification:
    """What came of looking at every file.

    Attributes:
        files, rows, episodes: that were looked at, and that are sound.
        live: how many of the files are still written to.
        bytes: that were decoded; 0 where only the layout was looked at.
        problems: none where all is well.
        abandoned: live shards and unfinished files that no process writes any more: no damage, what is in them is kept.
    """

    files: int
    rows: int
    episodes: int
    live: int
    bytes: int
    problems: tuple[Problem, ...]
    abandoned: tuple[Path, ...] = ()


def verify(paths: Sequence[Path], *, deep: bool) -> Verification:
    """Look at every file that the paths name, and at how the shards of a stream join.

    Args:
        paths: folders and files.
        deep: decode every byte, against the checksums and the hash of the content.

    Raises:
        InputError: a path is not there, or is a folder without shards.
    """
    looked = [[it for file in present(path) if (it := _look(file, deep)) is not None] for path in paths]
    problems: list[Problem] = []
    for here in looked:
        problems += [it for it in here if isinstance(it, Problem)]
        problems += _joints([it.shard for it in here if isinstance(it, _Sound)], {problem.path for problem in problems})
    found = [it for here in looked for it in here]
    sound = [it.shard for it in found if isinstance(it, _Sound)]
    decoded = sum(it.decoded for it in found if isinstance(it, _Sound))
    rows = sum(shard.rows for shard in sound)
    episodes = sum(int((shard.episodes["segment"] == 0).sum()) for shard in sound)
    live = sum(shard.state == "live" for shard in sound)
    left = [file for path in paths if path.is_dir() for file in abandoned(path)]
    return Verification(len(found), rows, episodes, live, decoded, tuple(problems), tuple(left))


def present(path: Path) -> list[Path]:
    """The files that a path names, sound or not.

    Raises:
        InputError: nothing is there.
    """
    found = shard_files(path)
    if not path.exists():
        read_shard(path)  # says what is missing, as every reader does
    return found


def _look(file: Path, deep: bool) -> _Sound | Problem | None:
    """What came of looking at one file; None where it was removed before that."""
    while True:
        inode = _inode(file)
        try:
            shard = read_shard(file)
            return _Sound(shard, _decode(shard) if deep else 0)
        except InputError as error:
            if is_gone(file):
                return None
            # A live shard may have been sealed while it was looked at: then its name has another file by now.
            if _inode(file) == inode:
                return Problem(file, _without_place(file, error))


def _inode(file: Path) -> int | None:
    try:
        return file.lstat().st_ino
    except OSError:
        return None


def _decode(shard: Shard) -> int:
    """Decode all of a shard; returns how many bytes that were.

    Raises:
        InputError: a chunk cannot be decoded, a big float is not finite, or the content is not what was sealed.
    """
    digest, count = hashlib.sha256(), 0
    try:
        with opened(shard.path) as file:
            found = look_at(shard.path, file, shard.state)
            rows, episodes, layouts = locate(found, shard.header.fields)
            for field in shard.header.fields:
                for first, piece in _pieces(found.descriptor, layouts[field.path], episodes if field.per_episode else rows):
                    if field.big:
                        finite(shard.path, field.name, piece, first)
                    digest.update(piece.tobytes())
                    count += piece.nbytes
    except UNREADABLE as error:
        raise InputError(f"{shard.path}: cannot be decoded ({first_line(error)}); copy or collect it again") from error
    if shard.state == "sealed" and digest.hexdigest() != shard.header.sealed_sha256:
        raise InputError(f"{shard.path}: the content is not what was sealed (sealed_sha256); copy or collect it again")
    return count


def _pieces(descriptor: int, layout: Layout, rows: int) -> Iterator[tuple[int, Array]]:
    """The committed rows of a dataset, whole chunks at once."""
    chunk = layout.storage.shape[0] if isinstance(layout.storage, Chunked) else 1
    step = max(1, PIECE // max(1, layout.dtype.itemsize * math.prod(layout.shape)) // chunk) * chunk
    for first in range(0, rows, step):
        yield first, read_rows(descriptor, layout, first, min(step, rows - first))


def _joints(shards: Sequence[Shard], broken: set[Path]) -> Iterator[Problem]:
    """Where the sound shards of a stream do not go on from one another; a gap that a broken file leaves is told with that file."""
    ordered = sorted(shards, key=lambda shard: (shard.header.stream, shard.header.seq))
    for _, of_stream in groupby(ordered, key=lambda shard: shard.header.stream):
        for before, after in pairwise(of_stream):
            try:
                check_joint(before, after)
            except InputError as error:
                between = [path for path in broken if before.path.name < path.name < after.path.name]
                if not between:
                    yield Problem(after.path, _without_place(after.path, error))


def _without_place(path: Path, error: InputError) -> str:
    return str(error).removeprefix(f"{path}").removeprefix(":").strip()
