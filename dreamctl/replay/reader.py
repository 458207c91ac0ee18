"""Opens replays: folders and files, several together, validated and joined into streams; they may be looked at again as they grow."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Episode, Row, TaskSpec
from dreamctl.core.spaces import spec_difference
from dreamctl.replay.format import Kind
from dreamctl.replay.shards.shard import read_shard
from dreamctl.replay.streams.episodes import EpisodeInfo
from dreamctl.replay.streams.holdout import hold_out
from dreamctl.replay.streams.join import Opened
from dreamctl.replay.streams.loading import load_episode, read_further
from dreamctl.replay.streams.pinned import share_out
from dreamctl.replay.streams.place import FileRecord, Place
from dreamctl.replay.streams.sources import Sources
from dreamctl.replay.streams.stream import Stream
from dreamctl.replay.streams.summary import KeySummary, ReplaySummary, summarise


class Replay:
    """Streams of rows with their episodes; small columns are in memory, the others are read when asked for.

    Args:
        spec: the task.
        streams: the rows.
        places: where those of them that were read from files come from, as they were named.
        sources: how big columns are read.
    """

    def __init__(self, spec: TaskSpec, streams: Sequence[Stream], places: Sequence[Place] = (), sources: Sources | None = None) -> None:
        self.spec = spec
        self._streams = list(streams)
        self._places = tuple(places)
        self._sources = sources or Sources(spec)
        self._whole = True
        self._lanes: dict[int, Stream] = {}
        self._adopted: dict[Path, tuple[Stream, int]] = {}
        self._writer: tuple[str, Path | None] = ("memory", None)

    @classmethod
    def empty(cls, spec: TaskSpec, lanes: int, collector: str = "memory") -> "Replay":
        """A replay without rows that `add` fills; its streams are named as `ReplayWriter` with this collector names them."""
        replay = cls(spec, [])
        replay._writer = (collector, None)
        for lane in range(lanes):
            replay.lane(lane)
        return replay

    def __repr__(self) -> str:
        return f"Replay({self.spec.name}, {self.kind}, streams={len(self._streams)}, rows={self.rows}, episodes={len(self.episodes())})"

    @property
    def name(self) -> str:
        """How messages call it: the paths it was read from."""
        return ", ".join(str(path) for path in self.paths) or "replay in memory"

    @property
    def paths(self) -> tuple[Path, ...]:
        """What the user named."""
        return tuple(place.path for place in self._places)

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """The files that it was read from, in a fixed order, with the rows that are taken of each."""
        return tuple(record for place in self._places for record in place.files)

    @property
    def live(self) -> tuple[Path, ...]:
        """Those of its files that were still being written when they were last looked at."""
        return tuple(piece.path for place in self._places for piece in place.pieces if piece.file is not None)

    @property
    def kind(self) -> Kind:
        """`imagined` as soon as one of the files is."""
        return "imagined" if any(piece.header.kind == "imagined" for place in self._places for piece in place.pieces) else "env"

    def snapshot(self) -> list[FileRecord]:
        """What `open_replay` opens again as it is now, even when the files have grown since."""
        return list(self.files)

    def refresh(self) -> bool:
        """Look for rows that others have written since, and for shards that they have removed; returns whether there are other rows.

        Rows keep their places, counted from the first that their stream ever had; the oldest may leave. Parts that `split` made before are
        of no use afterwards.

        Raises:
            InputError: a file is damaged, of another task, or has lost rows.
        """
        assert self._whole, "look again at the whole replay, and split it anew"
        before = [(stream.first_row, len(stream)) for stream in self._streams]
        for place in self._places:
            found = place.changed()
            _check_together(found, self.spec, self.name)
            self._streams += place.take(found, self.spec, self._sources)
        return [(stream.first_row, len(stream)) for stream in self._streams] != before

    def cache(self, size: int) -> None:
        """Keep up to so many bytes of decoded rows in memory from now on; none at first."""
        self._sources.keep(size)

    def adopt(self, path: Path) -> None:
        """A shard that the writer of the rows in memory has sealed takes the place of its big columns.

        Raises:
            InputError: it cannot be read.
        """
        shard = read_shard(path)
        (stream,) = (stream for stream in self._lanes.values() if stream.name == shard.header.stream)
        first = shard.header.first_row - stream.first_row
        assert 0 <= first <= len(stream) - shard.rows, f"{path} holds rows that were never added"
        for name, column in stream.big.items():
            column.adopt(first, shard.rows, self._sources.of(shard.big[name], name))
        self._adopted[path] = stream, shard.rows

    def drop(self, path: Path) -> None:
        """The rows of a shard go, the oldest of its stream; its file is no concern of ours any more."""
        if path in self._adopted:
            stream, rows = self._adopted.pop(path)
            stream.drop(rows)
            self._sources.forget(path)
        else:
            assert any(place.drop(path) for place in self._places), f"{path} is not the oldest shard of a stream"

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams, in a fixed order; new lanes come last."""
        return tuple(self._streams)

    @property
    def rows(self) -> int:
        """Rows in all."""
        return sum(len(stream) for stream in self._streams)

    @property
    def env_steps(self) -> int:
        """Actions taken in the environment: rows that are not first."""
        return sum(len(stream) - int(stream.columns["is_first"].sum()) for stream in self._streams)

    @property
    def extras(self) -> tuple[KeySummary, ...]:
        """Further columns that every file has alike."""
        pieces = [piece for place in self._places for piece in place.pieces]
        alike = [{field for field in piece.header.fields if field.role in ("extra", "truth")} for piece in pieces]
        shared = sorted(set.intersection(*alike), key=lambda field: field.path) if alike else []
        return tuple(KeySummary(field.name, field.dtype, field.shape) for field in shared)

    @property
    def extra_names(self) -> tuple[str, ...]:
        """Names of the further columns that every file has."""
        return tuple(extra.name.removeprefix("extra/") for extra in self.extras if extra.name.startswith("extra/"))

    @property
    def summary(self) -> ReplaySummary:
        """What `data info` tells."""
        infos = [info for number, stream in enumerate(self._streams) for info in stream.episodes(number)]
        return summarise(self.spec, self.kind, self._streams, infos, files=[record.path for record in self.files], extras=self.extras)

    def episodes(self) -> list[EpisodeInfo]:
        """The episodes, stream by stream; a lone row that no action followed is not one."""
        return [info for number, stream in enumerate(self._streams) for info in stream.episodes(number) if info.length > 1]

    def add(self, row: Row) -> None:
        """One more row, kept in memory only; each lane is a stream of its own, apart from those read from files."""
        self.lane(row.lane).append(row)

    def written_by(self, collector: str, place: Path) -> None:
        """Rows that are added are also written to `place`: their streams are named as `ReplayWriter` with this collector names them."""
        self._writer = (collector, place)
        for lane, stream in self._lanes.items():
            stream.name, stream.place = f"{collector}-e{lane}", place

    def load(self, info: EpisodeInfo, extra: Sequence[str] = (), truth: bool = False, *, rows: tuple[int, int] | None = None) -> Episode:
        """One episode, its segments joined.

        Args:
            info: which.
            extra: names of further columns to read from disk.
            truth: whether to read what really happened beside a dream.
            rows: the first row wanted and the one behind the last; all by default.

        Raises:
            InputError: a file has no such column, or cannot be read.
        """
        first, last = rows or (0, info.length)
        episode = load_episode(self._streams[info.stream], info, first, last)
        wanted = [f"extra/{name}" for name in extra]
        shared = {column.name for column in self.extras} if extra or truth else set()
        for column in wanted:
            if column not in shared or not info.spans:
                name = column.removeprefix("extra/")
                raise InputError(f"{self.name}: has no /steps/{column} for every row; collect with it, or leave {name!r} out")
        truths = sorted(name for name in shared if name.startswith("truth/")) if truth else []
        found = read_further(info, [*wanted, *truths, *(["truth_valid"] if truths else [])], first, last)
        return replace(
            episode,
            extra={column.removeprefix("extra/"): found[column] for column in wanted},
            truth={column.removeprefix("truth/"): found[column] for column in truths},
            truth_valid=np.asarray(found["truth_valid"], bool) if truths else None,
        )

    def locate(self, info: EpisodeInfo, row: int) -> tuple[int, int]:
        """Index into `files` and the row there of row `row` of an episode: a dream's source_shard and source_row."""
        for span in info.spans:
            if row < span.rows:
                return [record.path for record in self.files].index(span.path), span.first + row
            row -= span.rows
        return -1, -1

    def content_hash(self) -> str:
        """SHA-256 over the content of its files, wherever they lie and whatever they are called."""
        digest = hashlib.sha256()
        for record in self.files:
            digest.update(bytes.fromhex(record.sha256))
        return digest.hexdigest()

    def split(self, share: float) -> "tuple[Replay, Replay]":
        """The replay without the held-out episodes, and these in one stream; an episode keeps its side as the replay grows.

        Where all episodes would be held out none is: a single one is better learned from.
        """
        if share <= 0:
            return self, self._view([])
        kept, held = hold_out(self._streams, share, self.spec)
        return (self._view(kept), self._view(held)) if kept else (self, self._view([]))

    def _view(self, streams: Sequence[Stream]) -> "Replay":
        view = Replay(self.spec, streams, self._places, self._sources)
        view._whole = False
        return view

    def lane(self, lane: int) -> Stream:
        """The stream that a lane's rows are added to."""
        if lane not in self._lanes:
            collector, place = self._writer
            self._lanes[lane] = Stream.empty(f"{collector}-e{lane}", self.spec, place)
            self._streams.append(self._lanes[lane])
        return self._lanes[lane]


def open_replay(paths: Sequence[Path], pinned: Sequence[FileRecord] | None = None) -> Replay:
    """The rows of folders and files together, validated.

    Args:
        paths: folders and files.
        pinned: what a snapshot recorded: exactly these rows of these files are opened.

    Raises:
        InputError: a file is missing, damaged, or of another task than the others; there are no rows; or what is pinned is not there.
    """
    assert paths, "no path given"
    places = [Place(path) for path in paths]
    shares = [] if pinned is None else share_out(places, pinned)
    places = [place for place, _ in shares] or places
    found = [place.pinned(share) for place, share in shares] or [place.changed() for place in places]
    every = [opened for opened_here in found for opened in opened_here]
    _check_once([opened.shard.path for opened in every])
    if not any(opened.shard.rows for opened in every):
        raise InputError(f"{paths[0]}: holds no rows; collect some with `dreamctl collect`")
    spec = every[0].shard.header.spec
    _check_together(every, spec, str(every[0].shard.path))
    sources = Sources(spec)
    streams = [stream for place, opened in zip(places, found, strict=True) for stream in place.take(opened, spec, sources)]
    for place in places:
        place.check_pinned()
    return Replay(spec, streams, places, sources)


def _check_together(found: Sequence[Opened], spec: TaskSpec, where: str) -> None:
    for opened in found:
        difference = spec_difference(opened.shard.header.spec, spec)
        if difference:
            raise InputError(f"{opened.shard.path}: {difference} as in {where}; replays of one task go together")


def _check_once(paths: Sequence[Path]) -> None:
    """No file is there twice, whatever the paths, links and names are that it is reached by."""
    seen: dict[tuple[int, int], Path] = {}
    for path in paths:
        with suppress(FileNotFoundError):  # it was removed since
            status = path.stat()
            file = (status.st_dev, status.st_ino)
            if file in seen:
                also = f", also as {seen[file]}" if seen[file] != path else ""
                raise InputError(f"{path}: is given twice{also}; name it once")
            seen[file] = path
