"""Opens replays: folders and files, several together, validated and joined into streams."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array, Episode, Row, TaskSpec
from dreamctl.core.spaces import spec_difference
from dreamctl.replay.folder import shard_files
from dreamctl.replay.format import FLAGS, Kind
from dreamctl.replay.join import join_shards
from dreamctl.replay.shard import Shard, read_columns, read_shard
from dreamctl.replay.stream import EpisodeInfo, Stream
from dreamctl.replay.summary import KeySummary, ReplaySummary, summarise


class FileRecord(NamedTuple):
    """One file of a replay: what a checkpoint records of its inputs."""

    path: Path
    rows: int
    sealed_sha256: str


class Replay:
    """Streams of rows with their episodes; small columns are in memory, the others are read when asked for.

    Args:
        spec: the task.
        streams: the rows.
        kind: `imagined` as soon as one of the files is.
        files: the files it was read from, in a fixed order.
        paths: what the user named, for messages.
        extras: further columns that every file has, as dtype and shape.
    """

    def __init__(
        self,
        spec: TaskSpec,
        streams: Sequence[Stream],
        *,
        kind: Kind = "env",
        files: Sequence[FileRecord] = (),
        paths: Sequence[Path] = (),
        extras: Sequence[KeySummary] = (),
    ) -> None:
        self.spec = spec
        self.kind = kind
        self.files = tuple(files)
        self.paths = tuple(paths)
        self._streams = list(streams)
        self._extras = tuple(extras)
        self._lanes: dict[int, Stream] = {}
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
    def extra_names(self) -> tuple[str, ...]:
        """Names of the further columns that every file has."""
        return tuple(extra.name.removeprefix("extra/") for extra in self._extras if extra.name.startswith("extra/"))

    @property
    def summary(self) -> ReplaySummary:
        """What `data info` tells."""
        infos = [info for number, stream in enumerate(self._streams) for info in stream.episodes(number)]
        return summarise(self.spec, self.kind, self._streams, infos, [record.path for record in self.files], self._extras)

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

    def load(self, info: EpisodeInfo, extra: Sequence[str] = (), truth: bool = False) -> Episode:
        """One episode, its segments joined; `extra` names the further columns to read from disk.

        Raises:
            InputError: a file has no such column, or cannot be read.
        """
        stream = self._streams[info.stream]
        columns = {name: np.array(stream.column(name, info.start, info.length)) for name in (*stream.columns, *stream.big)}
        facts = self._truth(info) if truth else {}
        valid = facts.pop("truth_valid", None)
        return Episode(
            observation={name.removeprefix("observation/"): c for name, c in columns.items() if name.startswith("observation/")},
            action=columns["action"],
            reward=np.asarray(columns["reward"], np.float32),
            **{flag: np.asarray(columns[flag], bool) for flag in FLAGS},  # type: ignore[arg-type]
            extra=self._read(info, "extra", extra),
            truth=facts,
            truth_valid=None if valid is None else np.asarray(valid, bool),
            **{name: getattr(info, name) for name in ("seed", "id", "complete", "context", "source_shard", "source_row")},
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
            digest.update(bytes.fromhex(record.sealed_sha256))
        return digest.hexdigest()

    def split(self, share: float) -> "tuple[Replay, Replay]":
        """The replay without the held-out episodes, and these in one stream; an episode keeps its side as the replay grows.

        Where all episodes would be held out none is: a single one is better learned from.
        """
        if share <= 0:
            return self, self._view([])
        kept: list[Stream] = []
        held: list[tuple[Stream, EpisodeInfo]] = []
        for stream in self._streams:
            pieces = [(stream, info) for info in stream.episodes(0) if info.length > 1]
            held += [piece for piece in pieces if held_out(piece[1].key, share)]
            rest = [piece for piece in pieces if not held_out(piece[1].key, share)]
            kept += [Stream.gathered(stream.name, len(kept), rest, self.spec)] if rest else []
        if not kept:
            return self, self._view([])
        return self._view(kept), self._view([Stream.gathered("holdout", 0, held, self.spec)] if held else [])

    def _view(self, streams: Sequence[Stream]) -> "Replay":
        return Replay(self.spec, streams, kind=self.kind, files=self.files, paths=self.paths, extras=self._extras)

    def lane(self, lane: int) -> Stream:
        """The stream that a lane's rows are added to."""
        if lane not in self._lanes:
            collector, place = self._writer
            self._lanes[lane] = Stream.empty(f"{collector}-e{lane}", self.spec, place)
            self._streams.append(self._lanes[lane])
        return self._lanes[lane]

    def _truth(self, info: EpisodeInfo) -> dict[str, Array]:
        """What really happened beside a dream, and where that is known; nothing where there is no truth."""
        names = [extra.name.removeprefix("truth/") for extra in self._extras if extra.name.startswith("truth/")]
        valid = self._read(info, "", ["truth_valid"]) if names else {}
        return {**self._read(info, "truth", names), **valid}

    def _read(self, info: EpisodeInfo, group: str, names: Sequence[str]) -> dict[str, Array]:
        known = {extra.name for extra in self._extras} | {"truth_valid"}
        wanted = {f"{group}/{name}".lstrip("/"): name for name in names}
        for column, name in wanted.items():
            if column not in known or not info.spans:
                raise InputError(f"{self.name}: has no /steps/{column} for every row; collect with it, or leave {name!r} out")
        pieces: list[Mapping[str, Array]] = [read_columns(*_asked(span, list(wanted))) for span in info.spans] if wanted else []
        return {name: np.concatenate([piece[column] for piece in pieces]) for column, name in wanted.items()}


def open_replay(paths: Sequence[Path]) -> Replay:
    """The rows of folders and files together, validated.

    Raises:
        InputError: a file is missing, is not a sealed shard, is damaged, or is of another task than the others; or there are no rows.
    """
    assert paths, "no path given"
    shards: list[Shard] = []
    streams: list[Stream] = []
    for path in paths:
        found = [read_shard(file) for file in shard_files(path)]
        _check_together([*shards[:1], *found])
        names = sorted({shard.header.stream for shard in found})
        streams += [join_shards([shard for shard in found if shard.header.stream == name], path) for name in names]
        shards += sorted(found, key=lambda shard: (shard.header.stream, shard.header.seq))
    _check_once([shard.path for shard in shards])
    if not any(shard.rows for shard in shards):
        raise InputError(f"{paths[0]}: holds no rows; collect some with `dreamctl collect`")
    return Replay(
        shards[0].header.spec,
        streams,
        kind="imagined" if any(shard.header.kind == "imagined" for shard in shards) else "env",
        files=[FileRecord(shard.path, shard.rows, shard.header.sealed_sha256) for shard in shards],
        paths=paths,
        extras=_shared_extras(shards),
    )


def held_out(key: str, share: float) -> bool:
    """Whether an episode belongs to the held-out share: a property of its key alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) < share * 2**64


def _check_together(shards: Sequence[Shard]) -> None:
    for shard in shards[1:]:
        difference = spec_difference(shard.header.spec, shards[0].header.spec)
        if difference:
            raise InputError(f"{shard.path}: {difference} as in {shards[0].path}; replays of one task go together")


def _check_once(paths: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise InputError(f"{path}: is given twice; name it once")
        seen.add(path.resolve())


def _shared_extras(shards: Sequence[Shard]) -> list[KeySummary]:
    """The further columns that every shard has alike."""
    alike = [{f for f in shard.header.fields if f.role in ("extra", "truth")} for shard in shards]
    shared = sorted(set.intersection(*alike), key=lambda field: field.path)
    return [KeySummary(field.name, field.dtype, field.shape) for field in shared]


def _asked(span: tuple[Path, int, int], columns: list[str]) -> tuple[Path, list[str], int, int]:
    path, first, rows = span
    return path, columns, first, rows
