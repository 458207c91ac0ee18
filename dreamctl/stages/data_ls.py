"""`data ls`: the files of replays one a line, damaged ones too, or their episodes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dreamctl.core.errors import InputError
from dreamctl.replay.figures.verify import present
from dreamctl.replay.folder import is_gone
from dreamctl.replay.reader import open_replay
from dreamctl.replay.shards.facts import read_facts
from dreamctl.replay.shards.shard import read_shard
from dreamctl.replay.writing.recovery import abandoned
from dreamctl.stages.listed import ListedEpisode, episode_table, running
from dreamctl.stages.tables import size, table


@dataclass(frozen=True)
class Listed:
    """One file, sound or not; what cannot be read of a damaged one is None.

    Attributes:
        episodes: that begin or go on in it.
        damage: in words, or None.
        abandoned: whether it is live and no process writes it any more.
    """

    file: Path
    bytes: int
    state: str | None = None
    stream: str | None = None
    seq: int | None = None
    first_row: int | None = None
    rows: int | None = None
    episodes: int | None = None
    created: str | None = None
    damage: str | None = None
    abandoned: bool = False


@dataclass(frozen=True)
class Listing:
    """The files of replays, one a line."""

    files: Sequence[Listed]
    path: Path | None = None

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {"files": [{**asdict(listed), "file": str(listed.file)} for listed in self.files]}

    def summary(self) -> str:
        """A table; what is wrong with a damaged file stands in the last column."""
        head = ("file", "state", "rows", "episodes", "size", "stream", "seq", "first row", "created", "")
        rows = [head, *((*_cells(listed), listed.damage or "") for listed in self.files)]
        return table(rows, right={2, 3, 4, 6, 7})


@dataclass(frozen=True)
class EpisodeListing:
    """The episodes of replays, one a line."""

    episodes: Sequence[ListedEpisode]
    path: Path | None = None

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {"episodes": [episode.to_json() for episode in self.episodes]}

    def summary(self) -> str:
        """One table."""
        return episode_table(self.episodes)


def ls(paths: Sequence[Path]) -> Listing:
    """The files of these replays, damaged ones too.

    Raises:
        InputError: a path is not there, or is a folder without shards.
    """
    # What is removed while this goes on, by a run that keeps its newest rows say, is neither there nor damaged.
    files = [listed for path in paths for file in present(path) if (listed := _listed(file)) is not None]
    folders = {listed.file.parent for listed in files if listed.state == "live"}
    left = {file for folder in folders for file in abandoned(folder)}
    return Listing([replace(listed, abandoned=listed.file in left) for listed in files])


def ls_episodes(paths: Sequence[Path]) -> EpisodeListing:
    """The episodes of these replays, joined over their shards.

    Raises:
        InputError: one of them is not a replay, is damaged, or is of another task.
    """
    replay = open_replay(paths)
    unended = running(replay)
    return EpisodeListing([ListedEpisode.of(info, running=info.key in unended) for info in replay.episodes()])


def _listed(file: Path) -> Listed | None:
    """One file; what can be read of it. None where it is gone."""
    try:
        held = file.stat().st_size if file.is_file() else 0
    except FileNotFoundError:
        return None
    try:
        facts = read_facts(file)
        shard = read_shard(file)
    except InputError as error:
        if is_gone(file):
            return None
        return Listed(file, held, damage=str(error).removeprefix(str(file)).lstrip(": "))
    header = shard.header
    places = (header.stream, header.seq, header.first_row)
    return Listed(file, held, facts.state, *places, shard.rows, len(shard.episodes["start"]), facts.created_at)


def _cells(listed: Listed) -> tuple[str, ...]:
    """What stands in the columns of a listing."""
    state = "damaged" if listed.damage else "abandoned" if listed.abandoned else str(listed.state)
    numbers = [_number(value) for value in (listed.rows, listed.episodes)]
    where = [listed.stream or "-", _number(listed.seq), _number(listed.first_row)]
    return (str(listed.file), state, *numbers, size(listed.bytes), *where, listed.created or "-")


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
