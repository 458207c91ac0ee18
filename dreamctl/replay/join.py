"""Shards of one stream -> the stream: rows one after another, episodes joined over their segments."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from dreamctl.core.errors import InputError
from dreamctl.replay.columns import MemoryRows
from dreamctl.replay.format import parted
from dreamctl.replay.shard import Shard, read_columns
from dreamctl.replay.sources import check_finite
from dreamctl.replay.stream import EpisodeInfo, Span, Stream, big_columns, row_dtype


def join_shards(shards: Sequence[Shard], place: Path | None = None) -> Stream:
    """The stream that the shards of one name are pieces of; oldest shards may be gone, but none in between.

    Args:
        shards: in any order.
        place: the folder or file that was named and that they lie in.

    Raises:
        InputError: a shard is missing, is there twice, or does not go on where the one before it ended.
    """
    ordered = sorted(shards, key=lambda shard: shard.header.seq)
    for before, after in pairwise(ordered):
        if after.header.seq == before.header.seq:
            raise InputError(f"{after.path}: is the same piece of its stream as {before.path}; leave one of them out")
        if after.header.seq != before.header.seq + 1 or after.header.first_row != before.header.first_row + before.rows:
            raise InputError(f"{after.path}: does not go on where {before.path} ends; bring back the shards in between")
    episodes = _episodes(ordered)
    rows = np.zeros(sum(shard.rows for shard in ordered), row_dtype(ordered[0].header.spec))
    columns = {name: rows[name] for name in rows.dtype.names or () if name != "action"} | parted(rows["action"])
    big = big_columns(ordered[0].header.spec)
    offset = 0
    for shard in ordered:
        for name, column in columns.items():
            column[offset : offset + shard.rows] = shard.steps[name]
        for name, found in read_columns(shard.path, list(big), 0, shard.rows).items():
            check_finite(shard.path, f"/steps/{name}", 0, found)
            big[name].extend(MemoryRows(found), shard.rows)
        offset += shard.rows
    # Nobody saw what the last action of a cut episode did: it is the zero that no one takes, as everywhere.
    rows["action"][[info.start + info.length - 1 for info in episodes if not info.complete]] = 0
    return Stream(ordered[0].header.stream, rows, episodes, big=big, place=place, first_row=ordered[0].header.first_row)


def _episodes(shards: Sequence[Shard]) -> list[EpisodeInfo]:
    joined: list[EpisodeInfo] = []
    segment, offset = -1, 0
    for shard in shards:
        table = {name: column.tolist() for name, column in shard.episodes.items()}
        for number in range(len(table["start"])):
            piece = _piece(shard, table, number, offset)
            if table["segment"][number] == 0 or not joined:
                joined.append(piece)
            elif joined[-1].complete or joined[-1].id != piece.id or table["segment"][number] != segment + 1:
                raise InputError(f"{shard.path}: goes on with an episode that the shard before does not hold; bring that shard back")
            else:
                joined[-1] = _longer(joined[-1], piece)
            segment = table["segment"][number]
        offset += shard.rows
    return joined


def _piece(shard: Shard, table: dict[str, list[int]], number: int, offset: int) -> EpisodeInfo:
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
