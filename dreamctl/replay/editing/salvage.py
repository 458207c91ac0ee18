"""What can still be read of damaged replays: their episodes, each up to the first row that is lost, written to a new file."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array
from dreamctl.replay.editing.recording import Recording, write_recording
from dreamctl.replay.editing.selection import DREAM_TABLE, exact_spaces, origin_of
from dreamctl.replay.folder import shard_files
from dreamctl.replay.format import Field
from dreamctl.replay.shards.wreck import Wreck, examine


@dataclass(frozen=True)
class Salvaged:
    """What was written: episodes and rows, and how many rows of the files that could be opened were not."""

    episodes: int
    rows: int
    lost: int


@dataclass
class Saved:
    """One episode that is being put together.

    Attributes:
        facts: what the episode table says of it; nothing where that is lost.
        spans: wreck, first row there and the row behind the last one.
        cut: whether rows that belong to it are lost.
    """

    facts: Mapping[str, int]
    spans: list[tuple[Wreck, int, int]] = field(default_factory=list)
    cut: bool = False

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(last - first for _, first, last in self.spans)

    @property
    def ended(self) -> bool:
        """Whether its last row ended it."""
        return bool(self.spans) and (self.last("terminated") or self.last("truncated"))

    def last(self, flag: str) -> bool:
        """A flag of its last row."""
        wreck, _, last = self.spans[-1]
        return bool(wreck.kept[flag][last - 1])

    @property
    def usable(self) -> bool:
        """Whether it can be written: a dream only as it was dreamt, context and all."""
        dreamt = bool(self.spans) and self.spans[0][0].header.kind == "imagined"
        return self.rows > 1 and not (dreamt and (self.cut or not self.facts))

    def entry(self) -> dict[str, float]:
        """Its row of the episode table."""
        total = sum(wreck.kept["reward"][first:last].sum(dtype=np.float64) for wreck, first, last in self.spans)
        flags = {flag: self.last(flag) for flag in ("terminated", "truncated")}
        dream = {name: self.facts[name] for name in DREAM_TABLE if name in self.facts}
        complete = bool(self.facts["complete"]) if dream else self.ended
        return {"length": self.rows, "seed": self.facts.get("seed", -1), "return": float(total), "complete": complete, **flags, **dream}


def salvage(paths: Sequence[Path], target: Path, command: Sequence[str] = ()) -> Salvaged:
    """Write all that can be read of these replays to one new file; they themselves are left as they are.

    Args:
        paths: folders and files of one task.
        target: a .h5 file, or a folder that is not there.
        command: recorded.

    Raises:
        InputError: a path is not there, nothing can be saved, or the files are of several tasks or columns.
        OutputError: it cannot be written.
    """
    wrecks = [wreck for path in paths for file in shard_files(path) if (wreck := examine(file)) is not None]
    for wreck in wrecks[1:]:
        if wreck.header.fields != wrecks[0].header.fields or wreck.header.kind != wrecks[0].header.kind:
            raise InputError(f"{wreck.path}: has other columns than {wrecks[0].path}; save each of them by itself")
    ordered = sorted(wrecks, key=lambda wreck: (wreck.header.stream, wreck.header.seq))
    streams = groupby(ordered, key=lambda wreck: wreck.header.stream)
    saved = [episode for _, stream in streams for episode in _episodes(stream) if episode.usable]
    if not saved:
        raise InputError(f"{', '.join(map(str, paths))}: no episode can be read; copy or collect it again")
    write_recording(target, _recording(saved, [wreck.path for wreck in wrecks], command))
    rows = sum(episode.rows for episode in saved)
    return Salvaged(len(saved), rows, sum(len(wreck.good) for wreck in wrecks) - rows)


def _episodes(stream: Iterable[Wreck]) -> Iterator[Saved]:
    """The episodes of one stream whose first row can be read, as far as they go."""
    current: Saved | None = None
    before: Wreck | None = None
    for wreck in stream:
        for first, last in pairwise(wreck.edges):
            begins = bool(wreck.kept["is_first"][first])
            if current is not None and (begins or (first == 0 and not wreck.follows(before))):
                yield current
                current = None
            current = Saved(wreck.facts(first)) if begins else current
            if current is None:
                continue
            readable = int(wreck.good[first:last].cumprod().sum())
            current.spans += [(wreck, first, first + readable)] if readable else []
            current.cut |= readable < last - first
            if current.cut or current.ended:
                yield current
                current = None
        before = wreck
    if current is not None:
        yield current


def _recording(saved: Sequence[Saved], files: Sequence[Path], command: Sequence[str]) -> Recording:
    """The episodes as they are written, read from their files once more."""
    header = saved[0].spans[0][0].header
    entries = [episode.entry() for episode in saved]
    table = {name: np.array([entry[name] for entry in entries]) for name in entries[0]}

    def column(wanted: Field, first: int, last: int) -> Iterator[Array]:
        for episode in saved[first:last]:
            for wreck, begin, end in episode.spans:
                yield from wreck.read(wanted, begin, end)

    fields = [it for it in header.fields if not it.per_episode]
    return Recording(origin_of(files, header, command), fields, table, column, exact_spaces(files[0]))
