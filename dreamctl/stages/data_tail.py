"""`data tail`: the last episodes or rows of replays, and those that come while they grow."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.shards.facts import read_facts
from dreamctl.replay.streams.episodes import EpisodeInfo
from dreamctl.stages.listed import EPISODE_HEAD, EPISODE_RIGHT, ROW_HEAD, ROW_RIGHT, ListedEpisode, ListedRow, running
from dreamctl.stages.tables import Columns

Listed = ListedEpisode | ListedRow
Goes = Callable[[], bool]


class Tail(Protocol):
    """What is told one a line."""

    def last(self, number: int) -> Sequence[Listed]:
        """The last ones that are there, oldest first; they are behind us then."""

    def new(self) -> Sequence[Listed]:
        """Those that came since."""


@dataclass(frozen=True)
class TailResult:
    """Some lines, oldest first."""

    lines: Sequence[Listed]
    rows: bool
    text: str
    path: Path | None = None

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {"rows" if self.rows else "episodes": [line.to_json() for line in self.lines]}

    def summary(self) -> str:
        """One table."""
        return self.text


class EpisodeTail:
    """Episodes in the order in which they ended, as far as their shards tell."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._told: set[str] = set()

    def last(self, number: int) -> Sequence[ListedEpisode]:
        """The last ones, those that are running included; only these may be told again."""
        infos, unended = self._replay.episodes(), running(self._replay)
        begun = self._begun()
        infos.sort(key=lambda info: (begun[_collector(info)], self._end(info)))
        self._told |= {info.key for info in infos if info.key not in unended}
        return [ListedEpisode.of(info, running=info.key in unended) for info in infos[-number:]] if number else []

    def new(self) -> Sequence[ListedEpisode]:
        """Those that ended since."""
        unended = running(self._replay)
        found = [info for info in self._replay.episodes() if info.key not in self._told and info.key not in unended]
        self._told |= {info.key for info in found}
        return [ListedEpisode.of(info) for info in sorted(found, key=self._end)]

    def _begun(self) -> dict[str, int]:
        """When each collector began: its lanes go on in step, so their rows tell what came later."""
        begun: dict[str, int] = {}
        for info in self._replay.episodes():
            created = read_facts(info.spans[0].path).created if info.spans else 0
            begun[_collector(info)] = min(created, begun.get(_collector(info), created))
        return begun

    def _end(self, info: EpisodeInfo) -> int:
        """The row of its stream behind an episode."""
        return self._replay.streams[info.stream].first_row + info.start + info.length


def _collector(info: EpisodeInfo) -> str:
    """Whose lane an episode was collected in."""
    return info.key.rpartition("/")[0].rpartition("-e")[0]


class RowTail:
    """Rows, stream by stream; the newest one of an episode that is running waits until its action is known."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._behind: dict[str, int] = {}

    def last(self, number: int) -> Sequence[ListedRow]:
        """The last rows of each stream."""
        ends = self._ends()
        return self._since({stream.name: max(stream.first_row, ends[stream.name] - number) for stream in self._replay.streams}, ends)

    def new(self) -> Sequence[ListedRow]:
        """Those that came since."""
        return self._since(self._behind, self._ends())

    def _since(self, behind: dict[str, int], ends: dict[str, int]) -> list[ListedRow]:
        found = []
        for stream in self._replay.streams:
            rows = range(max(stream.first_row, behind.get(stream.name, 0)), ends[stream.name])
            found += [ListedRow.of(stream, row - stream.first_row) for row in rows]
        self._behind = ends
        return found

    def _ends(self) -> dict[str, int]:
        """How far the rows of each stream are known."""
        unended = running(self._replay)
        ends = {stream.name: stream.first_row + len(stream) for stream in self._replay.streams}
        return {name: end - (name in {key.rpartition("/")[0] for key in unended}) for name, end in ends.items()}


def tail(paths: Sequence[Path], number: int, *, rows: bool) -> TailResult:
    """The last episodes, or the last rows of each stream.

    Raises:
        InputError: one of the paths is not a replay, is damaged, or is of another task.
    """
    return next(follow(paths, number, lambda: False, rows=rows))


def follow(paths: Sequence[Path], number: int, goes: Goes, *, rows: bool) -> Iterator[TailResult]:
    """The last ones, and then each time those that came since, as long as anyone reads them.

    Args:
        paths: replays of one task, some of which grow.
        number: how many of those that are there.
        goes: waits a while; False where nobody reads any more.
        rows: rows instead of episodes.

    Raises:
        InputError: one of the paths is not a replay, or becomes none.
    """
    replay = open_replay(paths)
    tail: Tail = RowTail(replay) if rows else EpisodeTail(replay)
    head, columns = (ROW_HEAD, Columns(ROW_RIGHT)) if rows else (EPISODE_HEAD, Columns(EPISODE_RIGHT))
    last = tail.last(number)
    yield TailResult(last, rows, columns.text([head, *(line.cells for line in last)]))
    while goes():
        replay.refresh()
        # Asked even where no row came: a shard that is sealed ends the episode that was running in it.
        new = tail.new()
        if new:
            yield TailResult(new, rows, columns.text([line.cells for line in new]))
