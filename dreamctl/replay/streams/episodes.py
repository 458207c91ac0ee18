"""What is known of an episode without its rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Span(NamedTuple):
    """Rows of a file in which a piece of an episode lies."""

    path: Path
    first: int
    rows: int


@dataclass(frozen=True)
class EpisodeInfo:
    """One episode of a replay, joined over its segments.

    Attributes:
        stream: index into the replay's streams.
        key: stream name and id: what the episode is known by however its replay grows.
        start: its first row in the stream.
        length: rows, T+1.
        segments: of how many pieces it was written.
        complete: whether the environment itself ended it.
        context, source_shard, source_row: dreams only; see Episode.
        spans: where it lies on disk; empty for rows that were only added in memory.
    """

    stream: int
    key: str
    start: int
    length: int
    id: int
    seed: int
    segments: int
    complete: bool
    episode_return: float
    terminated: bool
    truncated: bool
    context: int = 0
    source_shard: int = -1
    source_row: int = -1
    spans: tuple[Span, ...] = ()

    @property
    def ending(self) -> str:
        """How it ended, in a word; `cut` where nobody saw its end."""
        return "terminated" if self.terminated else "truncated" if self.truncated else "cut"
