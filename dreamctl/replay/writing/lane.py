"""One lane of a writer: where its stream stands; and the columns of whole episodes."""

from dataclasses import dataclass
from pathlib import Path

from dreamctl.core.experience import Array, Episode
from dreamctl.replay.format import parted
from dreamctl.replay.shards.live import NO_EPISODE, LiveShard, OpenEpisode


@dataclass
class Lane:
    """What is known of the stream of a lane.

    Attributes:
        stream: its name.
        shard: that takes rows; None before the first one, and between two.
        seq, first_row: of that shard, or of the next one.
        open_episode: as the shard before left it.
    """

    stream: str
    shard: LiveShard | None = None
    seq: int = 0
    first_row: int = 0
    open_episode: OpenEpisode = NO_EPISODE

    def path(self, folder: Path) -> Path:
        """Where the shard lies."""
        return folder / f"{self.stream}-{self.seq:06d}.h5"

    def leave(self, shard: LiveShard) -> None:
        """Go on behind a shard that takes no more rows."""
        self.shard, self.open_episode = None, shard.open_episode
        self.seq, self.first_row = self.seq + 1, self.first_row + shard.rows


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
