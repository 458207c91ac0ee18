"""`data info`: what replays hold, all of them together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dreamctl.replay.reader import open_replay
from dreamctl.replay.shards.facts import Facts, alike, read_facts
from dreamctl.replay.streams.summary import ReplaySummary
from dreamctl.replay.writing.recovery import abandoned
from dreamctl.stages.listed import running
from dreamctl.stages.tables import count, indented, size, table


@dataclass(frozen=True)
class DataInfo:
    """Figures of one or several replays together.

    Attributes:
        facts: of each file.
        open_episodes: that live shards end with.
        abandoned: live shards and unfinished files that no process writes any more.
    """

    paths: Sequence[Path]
    figures: ReplaySummary
    facts: Sequence[Facts]
    content_hash: str
    open_episodes: int = 0
    abandoned: Sequence[Path] = ()
    path: Path | None = None

    def to_json(self) -> dict[str, object]:
        """As one object."""
        origin = {
            "created": sorted(facts.created_at for facts in self.facts)[0],
            "last_created": sorted(facts.created_at for facts in self.facts)[-1],
            "seeds": alike([facts.seed for facts in self.facts]),
            "policies": alike([facts.policy for facts in self.facts]),
            "versions": alike([dict(facts.versions) for facts in self.facts]),
            "live": len(self._live),
            "open_episodes": self.open_episodes,
            "abandoned": [str(path) for path in self.abandoned],
            "writers": alike([dict(facts.writer) for facts in self._live]),
        }
        paths = [str(path) for path in self.paths]
        return {"paths": paths, **self.figures.to_json(), **origin, "content_hash": self.content_hash}

    def summary(self) -> str:
        """A few lines and one a column."""
        f = self.figures
        what = "imagined rollouts" if f.kind == "imagined" else "replay"
        frames = "" if f.frames == f.env_steps else f" ({f.frames:,} frames)"
        lines = [
            f"{', '.join(map(str, self.paths))}: {what} of {f.env}",
            f"  {count(f.env_steps, 'step')}{frames} in {count(f.episodes, 'episode')}, {f.complete:,} of them complete; {f.rows:,} rows",
            f"  {count(f.streams, 'stream')} in {count(f.files, 'file')}, {self._room}, content {self.content_hash[:12]}",
        ]
        if f.return_mean is not None:
            lines.append(f"  return {f.return_mean:.1f} ({f.return_min:.1f} to {f.return_max:.1f}), length {f.length_mean:.1f}")
        columns = table([(key.name, key.dtype, str(key.shape)) for key in f.keys])
        return "\n".join([*lines, *self._growing, *self._origin, indented(columns)])

    @property
    def _live(self) -> list[Facts]:
        return [facts for facts in self.facts if facts.state == "live"]

    @property
    def _room(self) -> str:
        f = self.figures
        ratio = f", {f.decoded_bytes / f.bytes:.1f} times as much" if f.decoded_bytes > f.bytes > 0 else ""
        return f"{size(f.bytes)} on disk, {size(f.decoded_bytes)} decoded{ratio}"

    @property
    def _growing(self) -> list[str]:
        if not self._live:
            return []
        writers = ", ".join(map(str, alike([facts.written_by for facts in self._live])))
        lines = [f"  {count(len(self._live), 'live shard')}, {count(self.open_episodes, 'open episode')}, written by {writers}"]
        left = f"  {count(len(self.abandoned), 'file')} left by a writer that died; `dreamctl data repair` seals what it wrote"
        return [*lines, left] if self.abandoned else lines

    @property
    def _origin(self) -> list[str]:
        """Two lines: who acted with which seeds, and when with which versions."""
        who = "actions" if self.figures.kind == "imagined" else "policy"
        policies = ", ".join(map(str, alike([facts.acted for facts in self.facts])))
        seeds = alike([facts.seed for facts in self.facts])
        versions = ", ".join(map(str, alike([facts.versions.get("dreamctl") for facts in self.facts])))
        created = sorted(facts.created_at for facts in self.facts)
        when = created[0] if created[0] == created[-1] else f"{created[0]} to {created[-1]}"
        return [
            f"  {who} {policies}, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}",
            f"  written {when} by dreamctl {versions}",
        ]


def info(paths: Sequence[Path]) -> DataInfo:
    """What these files and folders hold, validated.

    Raises:
        InputError: one of them is not a replay, is damaged, or is of another task.
    """
    replay = open_replay(paths)
    facts = [read_facts(record.path) for record in replay.files]
    left = [file for path in paths if path.is_dir() for file in abandoned(path)]
    return DataInfo(paths, replay.summary, facts, replay.content_hash(), len(running(replay)), left)
