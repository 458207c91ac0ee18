"""The episode table of a shard; that of a live one lags behind its rows, so what they themselves tell is added."""

from collections.abc import Mapping

import numpy as np

from dreamctl.core.experience import Array
from dreamctl.replay.shards.header import State


def table_of(state: State, table: Mapping[str, Array], episodes: int, steps: Mapping[str, Array]) -> Mapping[str, Array]:
    """The episodes of the rows that are committed.

    Args:
        state: of the shard.
        table: as stored, by name; of a live shard with the row behind the committed ones, where the open episode is announced.
        episodes: how many of them are committed.
        steps: the small columns, by name.
    """
    if state == "sealed":
        return table
    rows = len(steps["is_first"])
    ends = np.asarray(table["start"][:episodes], np.int64) + np.asarray(table["length"][:episodes], np.int64)
    # Rows were counted before episodes were: one that ends beyond them is still open here.
    closed = int((ends <= rows).cumprod().sum())
    end = int(ends[closed - 1]) if closed else 0
    # A table that says nonsense is left as it is, for the check to refuse.
    if not 0 <= end < rows:
        return {name: column[:closed] for name, column in table.items()}
    opened = _opened(end, steps, {name: column[closed : closed + 1] for name, column in table.items()}, table["id"][:closed])
    return {name: np.concatenate([column[:closed], opened[name].astype(column.dtype)]) for name, column in table.items()}


def _opened(end: int, steps: Mapping[str, Array], announced: Mapping[str, Array], ids: Array) -> dict[str, Array]:
    """Entries for the rows from `end` on: usually one, of an episode that goes on."""
    rows = len(steps["is_first"])
    starts = np.flatnonzero(steps["is_first"]).astype(np.int64)
    starts = np.concatenate([[end], starts[starts > end]])
    lasts = np.append(starts[1:], rows) - 1
    number, seed, segment = int(ids[-1]) + 1 if len(ids) else 0, -1, int(not steps["is_first"][end])
    if announced["start"].tolist() == [end]:
        number, seed, segment = (int(announced[name][0]) for name in ("id", "seed", "segment"))
    terminated, truncated = (np.asarray(steps[flag], bool)[lasts] for flag in ("terminated", "truncated"))
    later = np.arange(len(starts)) > 0
    nothing = np.full(len(starts), -1)
    return {
        "start": starts,
        "length": lasts - starts + 1,
        "seed": np.where(later, -1, seed),
        "id": number + np.arange(len(starts)),
        "segment": np.where(later, 0, segment),
        "return": np.add.reduceat(np.asarray(steps["reward"], np.float64), starts),
        "terminated": terminated,
        "truncated": truncated,
        "complete": terminated | truncated,
        "context": np.zeros(len(starts)),
        "source_shard": nothing,
        "source_row": nothing,
    }
