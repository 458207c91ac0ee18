"""The open shard of one lane: rows in memory until they are sealed, and where its open episode stands."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dreamctl.core.experience import Array, Episode, Row
from dreamctl.replay.format import parted


@dataclass(frozen=True)
class OpenEpisode:
    """The episode that the last sealed row belongs to, and the segment that the next row would begin (0: it has ended)."""

    id: int = -1
    segment: int = 0
    seed: int = -1


@dataclass(frozen=True)
class Lane:
    """What is known of a lane besides its sealed shards; `rows` is the one thing that grows.

    Attributes:
        rows: of the open shard.
        seq, first_row: of the open shard.
        open_episode: as the shard before left it.
    """

    rows: list[Row] = field(default_factory=list)
    seq: int = 0
    first_row: int = 0
    open_episode: OpenEpisode = OpenEpisode()

    def ended(self) -> "Lane":
        """The lane when no more rows come: the open episode is cut, and a lone reset that no action followed is dropped."""
        rows = self.rows[:-1] if self.rows and self.rows[-1].is_first else list(self.rows)
        if rows and not rows[-1].is_last:
            rows[-1] = replace(rows[-1], action=np.zeros_like(rows[-1].action))
        return replace(self, rows=rows)

    def columns(self) -> tuple[dict[str, Array], OpenEpisode]:
        """The datasets of the open shard by path, and where the open episode stands behind it."""
        episode = Episode.from_rows(self.rows)
        starts = np.flatnonzero(episode.is_first | (np.arange(len(episode)) == 0))
        lasts = np.append(starts[1:], len(episode)) - 1
        ends = episode.terminated | episode.truncated
        # An episode that another one follows without an end of its own was cut: nobody saw what its last action did.
        episode.action[lasts[:-1][~ends[lasts[:-1]]]] = 0
        inside = not episode.is_first[0]
        seeds = np.array([self.rows[start].seed for start in starts])
        ids = self.open_episode.id + (0 if inside else 1) + np.arange(len(starts))
        segments = np.zeros(len(starts), np.int64)
        if inside:
            seeds[0], segments[0] = self.open_episode.seed, self.open_episode.segment
        behind = OpenEpisode(int(ids[-1]), 0 if ends[-1] else int(segments[-1]) + 1, int(seeds[-1]))
        table = episode_table(episode, starts, lasts, ends[lasts])
        return {**step_columns(episode), **table, **_paths({"seed": seeds, "id": ids, "segment": segments})}, behind

    def sealed(self, behind: OpenEpisode) -> "Lane":
        """The lane once its open shard is sealed."""
        return Lane([], self.seq + 1, self.first_row + len(self.rows), behind)


def step_columns(episode: Episode) -> dict[str, Array]:
    """The step datasets of rows, by path."""
    columns = {f"/steps/observation/{key}": column for key, column in episode.observation.items()}
    columns |= {f"/steps/extra/{key}": column for key, column in episode.extra.items()}
    columns |= {f"/steps/truth/{key}": column for key, column in episode.truth.items()}
    columns |= {f"/steps/{name}": column for name, column in parted(episode.action).items()}
    for name in ("reward", "is_first", "terminated", "truncated", "truth_valid"):
        column = getattr(episode, name)
        columns |= {} if column is None else {f"/steps/{name}": column}
    return columns


def episode_table(
    episode: Episode, starts: NDArray[np.int64], lasts: NDArray[np.int64], complete: Sequence[bool] | NDArray[np.bool_]
) -> dict[str, Array]:
    """The episode datasets that the rows themselves tell, by path."""
    return _paths(
        {
            "start": starts,
            "length": lasts - starts + 1,
            "return": np.add.reduceat(episode.reward.astype(np.float64), starts),
            "terminated": episode.terminated[lasts],
            "truncated": episode.truncated[lasts],
            "complete": np.asarray(complete, bool),
        }
    )


def _paths(table: dict[str, Array]) -> dict[str, Array]:
    return {f"/episodes/{name}": column for name, column in table.items()}
