"""Episodes and rows of a replay, each as one line."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array
from dreamctl.replay.format import parted
from dreamctl.replay.reader import Replay
from dreamctl.replay.shards.header import read_header
from dreamctl.replay.streams.episodes import EpisodeInfo
from dreamctl.replay.streams.stream import Stream
from dreamctl.stages.tables import figure, table

NUMBERS = 6  # of an observation in the text; JSON has none of them


@dataclass(frozen=True)
class ListedEpisode:
    """One episode: its key, its steps, how it ended, and the file in which it begins."""

    key: str
    steps: int
    episode_return: float
    seed: int
    end: str
    segments: int
    file: str

    @classmethod
    def of(cls, info: EpisodeInfo, *, running: bool = False) -> "ListedEpisode":
        """An episode of a replay; one that is running has no end yet."""
        end = "running" if running else info.ending
        place = str(info.spans[0].path) if info.spans else ""
        return cls(info.key, info.length - 1, info.episode_return, info.seed, end, info.segments, place)

    def to_json(self) -> dict[str, object]:
        """As one object."""
        values = asdict(self)
        return {"return": values.pop("episode_return"), **values}

    @property
    def cells(self) -> tuple[str, ...]:
        """As the cells of a table."""
        seed = "-" if self.seed < 0 else str(self.seed)  # only the first episode of a lane is seeded
        return self.key, f"{self.steps:,}", figure(self.episode_return), self.end, seed, self.file


def running(replay: Replay) -> set[str]:
    """Keys of the episodes that a live shard ends with."""
    lasts = {info.stream: info for info in replay.episodes()}.values()
    return {info.key for info in lasts if not info.complete and info.spans and _is_live(info.spans[-1].path)}


def _is_live(path: Path) -> bool:
    try:
        return read_header(path).state == "live"
    except InputError:  # it is gone by now
        return False


EPISODE_HEAD = ("episode", "steps", "return", "end", "seed", "file")
EPISODE_RIGHT = frozenset({1, 2, 4})


def episode_table(episodes: Sequence[ListedEpisode]) -> str:
    """One line an episode, below a heading."""
    return table([EPISODE_HEAD, *(episode.cells for episode in episodes)], right=EPISODE_RIGHT)


@dataclass(frozen=True)
class ListedRow:
    """One row: where it is in its stream, the numbers that are small, and the beginning of what was observed."""

    stream: str
    row: int
    action: dict[str, object]
    reward: float
    flags: tuple[str, ...]
    observation: str

    @classmethod
    def of(cls, stream: Stream, row: int) -> "ListedRow":
        """Row `row` of those that a stream holds."""
        columns = {name: column[row] for name, column in stream.columns.items()}
        flags = tuple(flag for flag in ("is_first", "terminated", "truncated") if columns[flag])
        action = {name: leaf.tolist() for name, leaf in parted(stream.columns["action"][row : row + 1][0]).items()}
        seen = [
            f"{name.removeprefix('observation/')} {_short(value)}" for name, value in columns.items() if name.startswith("observation/")
        ]
        return cls(stream.name, stream.first_row + row, action, float(columns["reward"]), flags, ", ".join(seen))

    def to_json(self) -> dict[str, object]:
        """As one object, without the observation."""
        return {"stream": self.stream, "row": self.row, "action": self.action, "reward": self.reward, "flags": list(self.flags)}

    @property
    def cells(self) -> tuple[str, ...]:
        """As the cells of a table."""
        action = ", ".join(_short(np.asarray(value)) for value in self.action.values())
        return self.stream, f"{self.row:,}", action, figure(self.reward), " ".join(self.flags) or "-", self.observation


ROW_HEAD = ("stream", "row", "action", "reward", "flags", "observation")
ROW_RIGHT = frozenset({1, 3})


def _short(value: Array) -> str:
    """The first numbers of a value."""
    numbers = [figure(float(number)) for number in np.ravel(value)[:NUMBERS]]
    return " ".join(numbers) + (" ..." if np.size(value) > NUMBERS else "")
