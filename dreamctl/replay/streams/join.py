"""Shards of one stream -> the stream: rows one after another, episodes joined over their segments; it may go on growing."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array
from dreamctl.replay.format import FLAGS
from dreamctl.replay.shards.header import Header
from dreamctl.replay.shards.shard import Shard
from dreamctl.replay.streams.columns import Source
from dreamctl.replay.streams.descriptors import OpenFile
from dreamctl.replay.streams.episodes import EpisodeInfo, Span
from dreamctl.replay.streams.sources import Sources
from dreamctl.replay.streams.stream import Stream


@dataclass(frozen=True)
class Piece:
    """What is remembered of a shard once its columns are in the stream.

    Attributes:
        rows: of it that are in the stream; of a live one there may be more by now.
        episodes: its table, by name, (episodes,).
        file: a live one, open: it will be replaced under its name.
        commit: where the counters of a live one are, in bytes.
        sources: of its big columns, by name.
        action: of its last row: zero in the stream until it is known what that led to.
    """

    path: Path
    header: Header
    inode: int
    rows: int
    episodes: Mapping[str, Array]
    file: OpenFile | None = None
    commit: int = 0
    sources: Mapping[str, Source] = field(default_factory=dict)
    action: Array | None = None

    @property
    def grown(self) -> bool:
        """Whether its file holds other rows than those that are in the stream; of a live one a few bytes are read to tell."""
        if self.file is None:
            return not self.header.sealed_sha256  # it was cut when it was taken
        return int.from_bytes(self.file.read(self.commit, 8), "little") != self.rows


class Opened(NamedTuple):
    """A shard that was just read, and where it is live its file, open."""

    shard: Shard
    file: OpenFile | None = None


class Joined:
    """One stream and the shards that it is made of; oldest shards may be gone, but none in between.

    Args:
        stream: without rows.
        sources: how big columns are read.
    """

    def __init__(self, stream: Stream, sources: Sources) -> None:
        self.stream, self._sources = stream, sources
        self.pieces: list[Piece] = []
        self._infos: list[EpisodeInfo] | None = None
        stream.told(self.episodes)

    def take(self, shards: Sequence[Opened]) -> None:
        """Rows of shards that are new, or that were read before and have grown or been sealed; rows keep their places.

        Args:
            shards: of this stream, in any order.

        Raises:
            InputError: a shard is missing, is there twice, or does not go on where the one before it ended; or rows are gone, or back.
        """
        ordered = sorted(shards, key=lambda opened: opened.shard.header.seq)
        oldest = ordered[0].shard
        if oldest.header.first_row < self.stream.first_row:
            raise InputError(f"{oldest.path}: had left its stream and is there again; start again")
        newest = max([opened.shard.header.seq for opened in ordered] + [piece.header.seq for piece in self.pieces[-1:]])
        if not self.pieces:
            self.stream.first_row = oldest.header.first_row
            self.stream.reserve(sum(opened.shard.rows for opened in ordered))
        known = len(self.pieces)
        changed = [self._take(_without_lone_reset(shard) if shard.header.seq == newest else shard, file) for shard, file in ordered]
        # The one before may have ended with an episode that goes on now.
        self._end_cut_episodes(max(0, min(known, *changed) - 1))
        self._infos = None

    def drop(self, count: int = 1) -> None:
        """The oldest shards and their rows go."""
        gone, self.pieces = self.pieces[:count], self.pieces[count:]
        if gone:
            self.stream.drop(sum(piece.rows for piece in gone))
            self._infos = None
        for piece in gone:
            self._sources.forget(piece.path)

    def episodes(self) -> Sequence[EpisodeInfo]:
        """The episodes, joined over their segments; made when they are asked for, because there may be very many."""
        if self._infos is None:
            self._infos = list(_episodes(self.pieces))
        return self._infos

    def content(self, piece: Piece) -> str:
        """SHA-256 of rewards and flags: enough to tell whether rows that were read are still the same."""
        first = piece.header.first_row - self.stream.first_row
        columns = (self.stream.column(name, first, piece.rows).tobytes() for name in ("reward", "is_first", "terminated", "truncated"))
        return hashlib.sha256(b"".join(columns)).hexdigest()

    def _take(self, shard: Shard, file: OpenFile | None) -> int:
        """One shard: a new one at the end, or one that was read before; returns which piece it is now."""
        place = shard.header.seq - self.pieces[0].header.seq if self.pieces else 0
        at = place if 0 <= place < len(self.pieces) else len(self.pieces)
        before = self.pieces[at] if at < len(self.pieces) else None
        known = before.sources if before is not None and before.inode == shard.inode else {}
        sources = {name: self._sources.of(shard.big[name], name, file, known.get(name)) for name in self.stream.big}
        piece = Piece(shard.path, shard.header, shard.inode, shard.rows, shard.episodes, file, shard.commit, sources)
        if before is not None:
            _check_again(before, shard, last=at + 1 == len(self.pieces))
        if at:
            check_joint(self.pieces[at - 1], piece)
        self._put(piece, shard, before.rows if before is not None else 0)
        action = self.stream.rows["action"][self._end(piece) - 1].copy() if piece.rows else None
        self.pieces[at : at + 1] = [replace(piece, action=action)]
        return at

    def _put(self, piece: Piece, shard: Shard, known: int) -> None:
        """The rows of a shard, of which so many are in the stream already."""
        first, fresh = piece.header.first_row - self.stream.first_row, max(0, known - 1)
        for name in ("reward", *FLAGS) if known else ():
            there = self.stream.column(name, first, known)
            if (there != shard.steps[name][:known].astype(there.dtype)).any():
                raise InputError(f"{shard.path}: holds other rows than were read from it before; start again")
        # The last row that is known may have ended a cut episode: now its action is seen.
        self.stream.store(first + fresh, {name: column[fresh:] for name, column in shard.steps.items()})
        for name, column in self.stream.big.items():
            column.adopt(first, piece.rows, piece.sources[name])

    def _end(self, piece: Piece) -> int:
        """The row of the stream behind its last one."""
        return piece.header.first_row - self.stream.first_row + piece.rows

    def _end_cut_episodes(self, first: int) -> None:
        """Nobody saw what the last action of a cut episode did: it is the zero that no one takes, as everywhere."""
        for number, piece in enumerate(self.pieces[first:], first):
            ends = np.asarray(piece.episodes["start"], np.int64) + np.asarray(piece.episodes["length"], np.int64)
            cut = ~np.asarray(piece.episodes["complete"], bool)
            if piece.rows and number + 1 < len(self.pieces) and _goes_on(self.pieces[number + 1]):
                cut[-1:] = False
                self.stream.rows["action"][self._end(piece) - 1] = piece.action
            rows = piece.header.first_row - self.stream.first_row + ends[cut] - 1
            self.stream.rows["action"][rows] = 0


def check_joint(before: Piece | Shard, after: Piece | Shard) -> None:
    """See that a shard goes on where the one before it ends.

    Raises:
        InputError: it does not.
    """
    if after.header.seq == before.header.seq:
        raise InputError(f"{after.path}: is the same piece of its stream as {before.path}; leave one of them out")
    if after.header.seq != before.header.seq + 1 or after.header.first_row != before.header.first_row + before.rows:
        raise InputError(f"{after.path}: does not go on where {before.path} ends; bring back the shards in between")
    if not _goes_on(after):
        return
    old, new = before.episodes, after.episodes
    known = len(old["id"]) and not old["complete"][-1] and old["id"][-1] == new["id"][0]
    if not known or new["segment"][0] != old["segment"][-1] + 1:
        raise InputError(f"{after.path}: goes on with an episode that the shard before does not hold; bring that shard back")


def cut(shard: Shard, rows: int) -> Shard:
    """The first rows of a shard, as if no more had been written."""
    if rows >= shard.rows:
        return shard
    steps = {name: column[:rows] for name, column in shard.steps.items()}
    kept = int(np.searchsorted(shard.episodes["start"], rows))
    table = {name: column[:kept].copy() for name, column in shard.episodes.items()}
    if kept and table["start"][-1] + table["length"][-1] > rows:
        first = int(table["start"][-1])
        table["length"][-1] = rows - first
        table["return"][-1] = np.asarray(steps["reward"][first:], np.float64).sum()
        for flag in ("terminated", "truncated", "complete"):
            table[flag][-1] = 0
    # Its hash is that of the whole content.
    return replace(shard, rows=rows, steps=steps, episodes=table, header=replace(shard.header, sealed_sha256=""))


def _without_lone_reset(shard: Shard) -> Shard:
    """A live shard up to a reset that no action has followed yet; its writer drops it when none does."""
    return cut(shard, shard.rows - 1) if shard.state == "live" and shard.rows and shard.steps["is_first"][-1] else shard


def _check_again(before: Piece, shard: Shard, *, last: bool) -> None:
    """A shard that was read before still holds what was read; only the last one of a stream may hold more.

    Raises:
        InputError: another shard claims its place, or rows are gone.
    """
    if before.path != shard.path:
        raise InputError(f"{shard.path}: is the same piece of its stream as {before.path}; leave one of them out")
    fits = shard.rows >= before.rows if last else shard.rows == before.rows
    if not fits or shard.header.first_row != before.header.first_row:
        raise InputError(f"{shard.path}: holds {shard.rows} rows, {before.rows} were read from it before; start again")


def _goes_on(piece: Piece | Shard) -> bool:
    """Whether it begins inside an episode."""
    return bool(len(piece.episodes["segment"]) and piece.episodes["segment"][0] != 0)


def _episodes(pieces: Sequence[Piece]) -> Iterator[EpisodeInfo]:
    """The episodes of shards that go on from one another."""
    offset = 0
    joined: EpisodeInfo | None = None
    for piece in pieces:
        table = {name: column.tolist() for name, column in piece.episodes.items()}
        for number in range(len(table["start"])):
            found = _piece(piece, table, number, offset)
            if joined is not None and table["segment"][number] != 0:
                joined = _longer(joined, found)
                continue
            if joined is not None:
                yield joined
            joined = found
        offset += piece.rows
    if joined is not None:
        yield joined


def _piece(shard: Piece, table: dict[str, list[int]], number: int, offset: int) -> EpisodeInfo:
    start, length, identity = (table[name][number] for name in ("start", "length", "id"))
    terminated, truncated, complete = (bool(table[name][number]) for name in ("terminated", "truncated", "complete"))
    dream = {name: table[name][number] for name in ("context", "source_shard", "source_row") if name in table}
    return EpisodeInfo(
        stream=0,
        key=f"{shard.header.stream}/{identity}",
        start=offset + start,
        length=length,
        id=identity,
        seed=table["seed"][number],
        segments=1,
        complete=complete,
        episode_return=table["return"][number],
        terminated=terminated,
        truncated=truncated,
        spans=(Span(shard.path, start, length),),
        **dream,
    )


def _longer(info: EpisodeInfo, piece: EpisodeInfo) -> EpisodeInfo:
    return replace(
        info,
        length=info.length + piece.length,
        segments=info.segments + 1,
        complete=piece.complete,
        episode_return=info.episode_return + piece.episode_return,
        terminated=piece.terminated,
        truncated=piece.truncated,
        spans=info.spans + piece.spans,
    )
