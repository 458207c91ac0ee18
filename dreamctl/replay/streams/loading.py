"""Rows of one episode as the rest of dreamctl knows them."""

from collections.abc import Sequence

import numpy as np

from dreamctl.core.experience import Array, Episode
from dreamctl.replay.format import FLAGS
from dreamctl.replay.shards.shard import read_columns
from dreamctl.replay.streams.episodes import EpisodeInfo
from dreamctl.replay.streams.stream import Stream


def load_episode(stream: Stream, info: EpisodeInfo, first: int, last: int) -> Episode:
    """Rows first to last of an episode of a stream, without further columns; without its end it is not complete.

    Raises:
        InputError: a big column cannot be read.
    """
    at, rows = info.start + first, last - first
    columns = {name: stream.column(name, at, rows).copy() for name in stream.columns}
    columns |= {name: stream.column(name, at, rows) for name in stream.big}  # copies as they are
    return Episode(
        observation={name.removeprefix("observation/"): c for name, c in columns.items() if name.startswith("observation/")},
        action=columns["action"],
        reward=np.asarray(columns["reward"], np.float32),
        **{flag: np.asarray(columns[flag], bool) for flag in FLAGS},  # type: ignore[arg-type]
        complete=info.complete and last == info.length,
        **{name: getattr(info, name) for name in ("seed", "id", "context", "source_shard", "source_row")},
    )


def read_further(info: EpisodeInfo, names: Sequence[str], first: int, last: int) -> dict[str, Array]:
    """Further columns of rows first to last of an episode, from disk, by their name below /steps.

    Raises:
        InputError: a file cannot be read.
    """
    pieces = []
    for path, start, rows in info.spans:
        low, high = max(0, first), min(rows, last)
        if names and low < high:
            pieces.append(read_columns(path, names, start + low, high - low))
        first, last = first - rows, last - rows
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in names}
