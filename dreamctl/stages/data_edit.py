"""`data merge`, `split`, `filter`, `prune`: replays made of replays."""

import math
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from dreamctl.core.errors import InputError, OutputError, UsageError
from dreamctl.core.locks import holder, lock_beside, sole_writer
from dreamctl.core.session import Session
from dreamctl.replay.editing.edit import Gathered, ShardAge, gather, oldest, remove_shards
from dreamctl.replay.editing.recording import write_recording
from dreamctl.replay.editing.selection import Conditions as Conditions
from dreamctl.replay.editing.selection import selected, split_by_share, whole_episodes
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.streams.episodes import EpisodeInfo
from dreamctl.stages.replacing import check_replay, replaced, ticking
from dreamctl.stages.tables import count, size


@dataclass(frozen=True)
class Written:
    """A replay that was written, and of how much of its source it is."""

    path: Path
    episodes: int
    env_steps: int
    of_episodes: int

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {**asdict(self), "path": str(self.path)}

    def summary(self) -> str:
        """One line."""
        return f"{self.path}: {count(self.env_steps, 'step')} in {self.episodes:,} of {count(self.of_episodes, 'episode')}"


@dataclass(frozen=True)
class Split:
    """The replays that one was split into."""

    parts: Sequence[Written]
    path: Path | None = None

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {"parts": [part.to_json() for part in self.parts]}

    def summary(self) -> str:
        """One line a part."""
        return "\n".join(part.summary() for part in self.parts)


@dataclass(frozen=True)
class Merged:
    """A replay of the shards of others."""

    path: Path
    shards: Gathered
    episodes: int
    env_steps: int
    dropped: int

    def to_json(self) -> dict[str, object]:
        """As one object."""
        counts = {"episodes": self.episodes, "env_steps": self.env_steps, "dropped": self.dropped}
        return {"path": str(self.path), **asdict(self.shards), **counts}

    def summary(self) -> str:
        """One line."""
        it = self.shards
        made = f"made of {count(sum(asdict(it).values()), 'shard')}"
        how = [made if self.path.suffix == ".h5" else f"{count(it.linked, 'shard')} linked"]
        how += [f"{it.copied} copied, for want of links between the file systems"] if it.copied else []
        how += [f"{it.doubled} there twice"] if it.doubled else []
        how += [f"{count(self.dropped, 'row')} of no whole episode left out"] if self.dropped else []
        return f"{self.path}: {count(self.env_steps, 'step')} in {count(self.episodes, 'episode')}; {', '.join(how)}"


@dataclass(frozen=True)
class Pruned:
    """Shards that went, or would go."""

    folder: Path
    gone: Sequence[ShardAge]
    left: Sequence[ShardAge]
    dry_run: bool

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder

    def to_json(self) -> dict[str, object]:
        """As one object."""
        removed = [{"path": str(shard.path), "env_steps": shard.steps, "bytes": shard.bytes} for shard in self.gone]
        left = {"env_steps": sum(shard.steps for shard in self.left), "shards": len(self.left)}
        return {"path": str(self.folder), "dry_run": self.dry_run, "removed": removed, "left": left}

    def summary(self) -> str:
        """What goes, and what is left."""
        verb = "would remove" if self.dry_run else "removed"
        lines = [f"{verb} {shard.path.name}: {count(shard.steps, 'step')}" for shard in self.gone]
        gone = f"{verb} {_amount(self.gone)}, {size(sum(shard.bytes for shard in self.gone))}" if self.gone else "nothing to remove"
        live = sum(shard.live for shard in self.left)
        return "\n".join([*lines, f"{self.folder}: {gone}; {_amount(self.left)} left{f', {live} of them live' if live else ''}"])


def _amount(shards: Sequence[ShardAge]) -> str:
    return f"{count(sum(shard.steps for shard in shards), 'step')} in {count(len(shards), 'shard')}"


def merge(sources: Sequence[Path], out: Path, session: Session) -> Merged:
    """All shards of several replays as one: a folder of hard links, or one file of their whole episodes.

    Raises:
        UsageError, InputError, OutputError, StoppedEarly, Interrupted: as DESIGN section 5 says.
    """
    check_replay(out, session, sources)
    with replaced(out) as new:
        folder = new.with_name("shards") if out.suffix == ".h5" else new
        shards = gather(sources, folder)
        replay = _opened([folder], sources)
        infos, dropped = replay.episodes(), 0
        if out.suffix == ".h5":
            infos = whole_episodes(replay)
            dropped = replay.rows - sum(info.length for info in infos)
            _write(new, replay, infos, "merge", session)
            shutil.rmtree(folder)
    return Merged(out, shards, len(infos), _steps(infos), dropped)


def split(sources: Sequence[Path], parts: Sequence[tuple[Path, float | None]], session: Session) -> Split:
    """Whole episodes to several replays by the hash of their keys, so that an episode keeps its side as a replay grows.

    Args:
        sources: files or folders.
        parts: each output with its share of the episodes; one may be without, and takes the rest.
        session: how it is run.

    Raises:
        UsageError, InputError, OutputError, StoppedEarly, Interrupted: as DESIGN section 5 says.
    """
    shares = _shares(parts)
    for out, _ in parts:
        check_replay(out, session, sources)
    replay = open_replay(sources)
    infos = whole_episodes(replay)
    chosen = split_by_share(infos, shares)
    for (out, _), share, part in zip(parts, shares, chosen, strict=True):
        if not part:
            raise InputError(f"{replay.name}: none of {len(infos)} episodes falls to {out} ({share:g}); give it a larger share")
    with ExitStack() as all_or_none:
        for (out, _), part in zip(parts, chosen, strict=True):
            _write(all_or_none.enter_context(replaced(out)), replay, part, "split", session)
    return Split([Written(out, len(part), _steps(part), len(infos)) for (out, _), part in zip(parts, chosen, strict=True)])


def filter_episodes(sources: Sequence[Path], conditions: Conditions, out: Path, session: Session) -> Written:
    """The whole episodes that satisfy conditions, as a new replay.

    Raises:
        UsageError, InputError, OutputError, StoppedEarly, Interrupted: as DESIGN section 5 says.
    """
    _check(conditions)
    check_replay(out, session, sources)
    replay = open_replay(sources)
    infos = whole_episodes(replay)
    passing = [info for info in infos if conditions.hold(info)]
    if not passing:
        raise InputError(f"{replay.name}: none of {len(infos)} episodes passes{_ranges(infos)}; ask for less")
    with replaced(out) as new:
        _write(new, replay, passing, "filter", session)
    return Written(out, len(passing), _steps(passing), len(infos))


def _check(conditions: Conditions) -> None:
    """Refuse conditions that no episode could satisfy, or every one.

    Raises:
        UsageError: they are such.
    """
    if conditions.empty:
        raise UsageError("filter: no condition was given; give one such as --min-return or --complete")
    for name in ("return", "length"):
        low, high = getattr(conditions, f"min_{name}"), getattr(conditions, f"max_{name}")
        if not (-math.inf if low is None else low) <= (math.inf if high is None else high):
            bounds = " and ".join(f"--{side}-{name} {value:g}" for side, value in (("min", low), ("max", high)) if value is not None)
            raise UsageError(f"filter: no {name} satisfies {bounds}; give other bounds")


def _ranges(infos: Sequence[EpisodeInfo]) -> str:
    """What there is to choose from, as part of a message."""
    if not infos:
        return ""
    returns, lengths = [info.episode_return for info in infos], [info.length - 1 for info in infos]
    return f"; returns are {min(returns):g} to {max(returns):g}, lengths {min(lengths)} to {max(lengths)}"


def prune(folder: Path, keep_steps: int, dry_run: bool) -> Pruned:
    """Remove the oldest sealed shards of a folder while at least so many steps are left; its writers may go on meanwhile.

    Raises:
        UsageError: a single file.
        InputError: it is no replay.
        OutputError: another process prunes it, or a shard cannot be removed.
    """
    if os.path.isfile(folder):
        raise UsageError(f"{folder}: is one file, and shards are removed whole; `dreamctl data filter` or `split` write a smaller one")
    if dry_run:
        return Pruned(folder, *oldest(folder, keep_steps), dry_run)
    if not os.path.isdir(folder):
        raise InputError(f"{folder}: no such folder; prune needs a replay folder written by `dreamctl collect`")
    # A run counts the steps in its replay and keeps to replay.capacity by itself.
    run = folder.absolute().parent
    who = holder(lock_beside(run))
    if who:
        raise OutputError(f"{folder}: belongs to {run}, {who}; set replay.capacity there, or wait for it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: cannot be written to, so nothing can be removed; ask its owner")
    with sole_writer(folder / "prune"):
        gone, left = oldest(folder, keep_steps)
        remove_shards(folder, gone)
    return Pruned(folder, gone, left, dry_run)


def _shares(parts: Sequence[tuple[Path, float | None]]) -> list[float]:
    """The share of each part; the one without takes the rest.

    Raises:
        UsageError: not between 0 and 1, more than 1 in all, or several without one.
    """
    given = [share for _, share in parts if share is not None]
    if len(given) + 1 < len(parts):
        raise UsageError(f"{parts[-1][0]}: only one output can take the rest; write -o OUT=SHARE, e.g. {parts[-1][0]}=0.1")
    if len({out.absolute() for out, _ in parts}) < len(parts):
        raise UsageError(f"{parts[-1][0]}: an output is named twice; give each part a name of its own")
    rest = 1 - sum(given)
    if any(not 0 < share <= 1 for share in given) or rest < -1e-9 or (len(given) < len(parts) and rest < 1e-9):
        raise UsageError(f"split: shares {', '.join(f'{share:g}' for share in given)}; each is above 0, all together at most 1")
    return [rest if share is None else share for _, share in parts]


def _opened(paths: Sequence[Path], sources: Sequence[Path]) -> Replay:
    """What was gathered, validated; messages name what the user named."""
    try:
        return open_replay(paths)
    except InputError as error:
        names = ", ".join(map(str, sources))
        raise InputError(str(error).replace(str(paths[0]), f"{names} together")) from error


def _write(new: Path, replay: Replay, infos: Sequence[EpisodeInfo], label: str, session: Session) -> None:
    write_recording(new, selected(replay, infos, session.command), ticking(label, new, session))


def _steps(infos: Sequence[EpisodeInfo]) -> int:
    return sum(info.length - 1 for info in infos)
