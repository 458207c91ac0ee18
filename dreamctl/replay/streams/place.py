"""One path that was named for reading, a folder or a file: its shards as they were last seen, and the streams that they make."""

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from itertools import groupby, takewhile
from pathlib import Path
from typing import NamedTuple

from dreamctl.core.errors import InputError
from dreamctl.core.experience import TaskSpec
from dreamctl.replay.folder import is_gone, shard_files, shards_there
from dreamctl.replay.shards.shard import read_shard
from dreamctl.replay.streams.descriptors import OpenFile
from dreamctl.replay.streams.join import Joined, Opened, Piece, cut
from dreamctl.replay.streams.sources import Sources
from dreamctl.replay.streams.stream import Stream

TRIES = 5


class FileRecord(NamedTuple):
    """One file of a replay, with the rows that are taken of it: what a checkpoint records of its inputs."""

    path: Path
    rows: int
    sha256: str


class Place:
    """The shards of a path and their streams, which grow whenever it is looked at again.

    Args:
        path: as it was named.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.streams: dict[str, Joined] = {}
        self._gone: set[Path] = set()
        self._pinned: dict[str, FileRecord] = {}

    @property
    def files(self) -> list[FileRecord]:
        """Its shards as records, stream by stream, oldest first."""
        return [self._record(joined, piece) for _, joined in sorted(self.streams.items()) for piece in joined.pieces]

    @property
    def pieces(self) -> list[Piece]:
        """Its shards, stream by stream, oldest first."""
        return [piece for _, joined in sorted(self.streams.items()) for piece in joined.pieces]

    @property
    def paths(self) -> list[Path]:
        """The shards that are there now; where there were some before there may be none now.

        Raises:
            InputError: they cannot be looked for.
        """
        if not self.streams or not os.path.isdir(self.path):
            return shard_files(self.path)
        return shards_there(self.path)

    def changed(self) -> list[Opened]:
        """Shards that are new, have grown, or have been sealed since they were taken; read and validated.

        Where others have removed the oldest shards of a stream, and not all that the folder held, their rows go.

        Raises:
            InputError: a shard cannot be read.
        """
        known = {piece.path: piece for piece in self.pieces}
        for _ in range(TRIES):
            files = [path for path in self.paths if path not in self._gone]
            found = [self._read(path, known.get(path)) for path in files if path not in known or self._differs(path, known[path])]
            if all(found):  # otherwise some were removed meanwhile, and what is left may not go together
                self._let_go(files)
                return [opened for of_file in found for opened in of_file]
        raise InputError(f"{self.path}: loses shards again and again while they are read; wait until whoever removes them has ended")

    def pinned(self, records: Sequence[FileRecord]) -> list[Opened]:
        """The shards of this place that are recorded, by their names, as many rows of each as there were then.

        Raises:
            InputError: one is gone, cannot be read, or holds fewer rows.
        """
        self._pinned = {record.path.name: record for record in records}
        found = [opened for path in self.paths if path.name in self._pinned for opened in self._read(path)]
        there = {shard.path.name for shard, _ in found}
        for name, record in self._pinned.items():
            if name not in there:
                raise gone(record)
        for shard, _ in found:
            wanted = self._pinned[shard.path.name].rows
            if shard.rows < wanted:
                raise InputError(f"{shard.path}: holds {shard.rows} rows, {wanted} were read from it before; start anew")
        return [Opened(cut(shard, self._pinned[shard.path.name].rows), file) for shard, file in found]

    def check_pinned(self) -> None:
        """See that the rows that were recorded, if any, are the rows that are here.

        Raises:
            InputError: they are others.
        """
        for joined in self.streams.values() if self._pinned else ():
            for piece in joined.pieces:
                record = self._pinned[piece.path.name]
                if record.sha256 not in (piece.header.sealed_sha256, joined.content(piece)):
                    raise InputError(f"{piece.path}: has changed since it was read before; bring back what it was, or start anew")

    def take(self, shards: Sequence[Opened], spec: TaskSpec, sources: Sources) -> list[Stream]:
        """Their rows, in the streams; returns the streams that are new, by name.

        Raises:
            InputError: they do not go together with one another or with those that are there.
        """
        fresh: list[Stream] = []
        ordered = sorted(shards, key=_stream)
        for name, of_stream in groupby(ordered, key=_stream):
            if name not in self.streams:
                fresh.append(Stream.empty(name, spec, self.path))
                self.streams[name] = Joined(fresh[-1], sources)
            self.streams[name].take(list(of_stream))
        return fresh

    def drop(self, path: Path) -> bool:
        """The rows of a shard go, which is the oldest of its stream; whether it is one of these."""
        for joined in self.streams.values():
            if joined.pieces and joined.pieces[0].path == path:
                self._gone.add(path)
                joined.drop()
                return True
        return False

    def _record(self, joined: Joined, piece: Piece) -> FileRecord:
        """What was recorded of a shard, or is to be."""
        pinned = self._pinned.get(piece.path.name)
        if pinned is not None and pinned.rows == piece.rows:
            return FileRecord(piece.path, piece.rows, pinned.sha256)
        return FileRecord(piece.path, piece.rows, piece.header.sealed_sha256 or joined.content(piece))

    def _differs(self, path: Path, piece: Piece) -> bool:
        """Whether a shard is another file, or holds more rows, than when it was read, or was removed; a single file may be."""
        try:
            return path.stat().st_ino != piece.inode or piece.grown
        except FileNotFoundError:
            return path != self.path
        except OSError:
            return True  # reading it says why

    def _let_go(self, files: Collection[Path]) -> None:
        """Drop the oldest shards of each stream as far as they are not among these."""
        there = set(files)
        for joined in self.streams.values() if there else ():
            joined.drop(sum(1 for _ in takewhile(lambda piece: piece.path not in there, joined.pieces)))

    def _read(self, path: Path, known: Piece | None = None) -> list[Opened]:
        """A shard, or nothing where it was removed before it could be read; one that was live when it was read before stays open."""
        for _ in range(TRIES):
            try:
                shard = read_shard(path)
            except InputError:
                if not is_gone(path) or not os.path.isdir(self.path):
                    raise
                return []
            if shard.state == "sealed":
                return [Opened(shard)]
            if known is not None and known.file is not None and known.inode == shard.inode:
                return [Opened(shard, known.file)]
            with suppress(InputError):  # it was sealed between the two
                return [Opened(shard, OpenFile(path, shard.inode))]
        raise InputError(f"{path}: is replaced again and again; wait until its collector has ended")


def gone(record: FileRecord) -> InputError:
    """What to say of a file that was recorded and is not there."""
    return InputError(f"{record.path}: is gone, and was read before; bring it back, or start anew")


def _stream(opened: Opened) -> str:
    return opened.shard.header.stream
