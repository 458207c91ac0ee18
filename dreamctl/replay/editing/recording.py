"""Whole episodes from anywhere -> sealed shards or one sealed file, column by column, never all of them in memory."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dreamctl.core.experience import Array
from dreamctl.replay.format import Field, episode_fields
from dreamctl.replay.shards.origin import Origin
from dreamctl.replay.shards.sealed import Pieces, write_sealed

SHARD_BYTES = 32 << 20  # of rows before compression
NAMING_ROWS = 16  # of each observation, that go into the name of a stream
# Told after each piece: rows of columns that are done, and of how many. What it raises ends the writing.
Tick = Callable[[int, int], object]


@dataclass(frozen=True)
class Recording:
    """Whole episodes that are read column by column.

    Attributes:
        origin: where they come from.
        fields: the step datasets.
        table: an entry an episode, by name below /episodes: length (rows, T+1), seed, return, terminated, truncated, complete; of dreams
            also context, source_shard and source_row.
        column: (field, first, last) -> the rows of episodes `first` to `last`, in pieces; flags are not asked for.
        attributes: root attributes that stand for those of the origin.
    """

    origin: Origin
    fields: Sequence[Field]
    table: Mapping[str, Array]
    column: Callable[[Field, int, int], Iterable[Array]]
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(E,): rows of each episode."""
        return np.asarray(self.table["length"], np.int64)

    def episodes(self, tick: Tick | None = None) -> Iterator[dict[str, Array]]:
        """Every episode in turn: its step columns and flags by their names below /steps, (T+1, ...)."""
        told = _Told(tick, int(self.lengths.sum()))
        pieces = _pieces(self, 0, len(self.lengths), None)
        names = [field.name for field in self.fields]
        columns = [_by_episode(pieces(field), self.lengths) for field in self.fields]
        for arrays in zip(*columns, strict=True):
            yield dict(zip(names, arrays, strict=True))
            told.count(len(arrays[0]))

    @property
    def collector(self) -> str:
        """Eight hex digits that name the stream: the same episodes twice give the same name.

        It is made of the table of episodes, all actions and rewards, and the first rows of the observations, so that large ones are read
        once only. Others have another name, but where they differ in later observations alone: these are refused as one replay.
        """
        digest = hashlib.sha256(b"".join(np.ascontiguousarray(self.table[name]).tobytes() for name in sorted(self.table)))
        whole, first = (_pieces(self, 0, episodes, None) for episodes in (len(self.lengths), 1))
        told = [whole(column) for column in self.fields if column.role in ("action", "reward")]
        told += [_first_rows(first(column), NAMING_ROWS) for column in self.fields if column.role == "observation"]
        for piece in chain.from_iterable(told):
            digest.update(np.ascontiguousarray(piece).tobytes())
        return self.origin.collector(int.from_bytes(digest.digest()[:8]))


def write_recording(path: Path, recording: Recording, tick: Tick | None = None) -> None:
    """Write the episodes as one file where `path` ends in .h5, otherwise as shards of whole episodes into a new folder.

    Raises:
        OutputError: it cannot be written; shards that are complete stay in the folder.
        InputError: the source cannot be read, or does not hold what was expected.
    """
    assert len(recording.lengths), "no episodes to write"
    single = path.suffix == ".h5"
    if not single:
        path.mkdir()
    stream = f"{recording.collector}-e0"
    told, first_row = _Told(tick, int(recording.lengths.sum()) * len(recording.fields)), 0
    for seq, (first, last) in enumerate([(0, len(recording.lengths))] if single else _parts(recording)):
        rows = int(recording.lengths[first:last].sum())
        fields = [*recording.fields, *episode_fields(recording.origin.kind)]
        attributes = recording.origin.attributes(fields, stream=stream, seq=seq, first_row=first_row)
        attributes |= recording.attributes
        place = path if single else path / f"{stream}-{seq:06d}.h5"
        write_sealed(place, attributes, fields, (rows, last - first), _pieces(recording, first, last, told))
        first_row += rows


@dataclass
class _Told:
    """Counts what is done."""

    tick: Tick | None
    total: int
    done: int = 0

    def count(self, rows: int) -> None:
        self.done += rows
        if self.tick:
            self.tick(self.done, self.total)

    def counted(self, pieces: Iterable[Array]) -> Iterator[Array]:
        for piece in pieces:
            yield piece
            self.count(len(piece))


def _parts(recording: Recording) -> list[tuple[int, int]]:
    """First and last episode of each shard: as many whole ones as fit, at least one."""
    row_bytes = sum(field.row_bytes for field in recording.fields)
    parts, first, size = [], 0, 0
    for number, length in enumerate(recording.lengths.tolist()):
        if size and size + length * row_bytes > SHARD_BYTES:
            parts.append((first, number))
            first, size = number, 0
        size += length * row_bytes
    return [*parts, (first, len(recording.lengths))]


def _pieces(recording: Recording, first: int, last: int, told: _Told | None) -> Pieces:
    """The pieces of every dataset of some episodes."""
    made = _made(recording, first, last)
    ends = np.cumsum(recording.lengths[first:last])

    def pieces(field: Field) -> Iterable[Array]:
        if field.per_episode:
            return [made[field.path]]
        if field.path in made:
            found: Iterable[Array] = [made[field.path]]
        else:
            found = (piece.astype(field.dtype, copy=False) for piece in recording.column(field, first, last))
        found = _ended(found, ends) if field.role == "action" else found
        return told.counted(found) if told else found

    return pieces


def _made(recording: Recording, first: int, last: int) -> dict[str, Array]:
    """The datasets that the table of episodes tells: itself and the flags of the rows."""
    table = {name: np.asarray(column)[first:last] for name, column in recording.table.items()}
    lengths = recording.lengths[first:last]
    ends = np.cumsum(lengths)
    starts = ends - lengths
    table |= {"start": starts, "id": np.arange(first, last), "segment": np.zeros(last - first, np.int64)}
    flags = {"is_first": np.zeros(ends[-1], bool)}
    flags["is_first"][starts] = True
    for name in ("terminated", "truncated"):
        flags[name] = np.zeros(ends[-1], bool)
        flags[name][ends - 1] = table[name].astype(bool)
    return {f"/episodes/{name}": column for name, column in table.items()} | {f"/steps/{name}": flag for name, flag in flags.items()}


def _ended(pieces: Iterable[Array], ends: NDArray[np.int64]) -> Iterator[Array]:
    """Actions with the zero that no one takes on each last row: nobody saw what another one there did."""
    done = 0
    for piece in pieces:
        lasts = ends[np.searchsorted(ends, done, "right") : np.searchsorted(ends, done + len(piece), "right")] - 1 - done
        changed = np.array(piece)
        changed[lasts] = 0
        done += len(piece)
        yield changed


def _first_rows(pieces: Iterable[Array], rows: int) -> Iterator[Array]:
    """The pieces up to so many rows, none behind them read."""
    for piece in pieces:
        yield piece[:rows]
        rows -= len(piece)
        if rows <= 0:
            return


def _by_episode(pieces: Iterable[Array], lengths: NDArray[np.int64]) -> Iterator[Array]:
    """The rows of each episode, whatever pieces they come in."""
    source = iter(pieces)
    rest: Array | None = None
    for length in lengths.tolist():
        parts: list[Array] = [] if rest is None else [rest]
        while sum(len(part) for part in parts) < length:
            parts.append(next(source))
        whole = np.concatenate(parts) if len(parts) > 1 else parts[0]
        yield whole[:length]
        rest = whole[length:]
