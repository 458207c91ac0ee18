"""The episode table of a shard, as rows tell it; that of a live one lags behind them, so what they tell is added."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

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
    # An id that has no next one is refused later, as every number that cannot be.
    number, seed, segment = min(int(ids[-1]) + 1, 2**62) if len(ids) else 0, -1, int(not steps["is_first"][end])
    if announced["start"].tolist() == [end]:
        number, seed, segment = (int(announced[name][0]) for name in ("id", "seed", "segment"))
    later = np.arange(len(starts)) > 0
    nothing = np.full(len(starts), -1)
    return {
        **episode_table(steps, starts, lasts),
        "seed": np.where(later, -1, seed),
        "id": number + np.arange(len(starts)),
        "segment": np.where(later, 0, segment),
        "context": np.zeros(len(starts)),
        "source_shard": nothing,
        "source_row": nothing,
    }


def episode_table(steps: Mapping[str, Array], starts: NDArray[np.int64], lasts: NDArray[np.int64]) -> dict[str, Array]:
    """What the rows themselves tell of episodes, by name.

    Args:
        steps: reward, terminated and truncated, (N,).
        starts: first row of each, (E,).
        lasts: last row of each, (E,).
    """
    terminated, truncated = (steps[name][lasts].astype(bool) for name in ("terminated", "truncated"))
    total = np.add.reduceat(steps["reward"].astype(np.float64), starts)
    ends = {"terminated": terminated, "truncated": truncated, "complete": terminated | truncated}
    return {"start": starts, "length": lasts - starts + 1, "return": total, **ends}
