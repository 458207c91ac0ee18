"""One file that may be damaged: which of its rows can be read and make sense, chunk by chunk."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dreamctl.core.codec import ActionCodec
from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array, TaskSpec
from dreamctl.core.parts import LeafCodec, leaf_codec
from dreamctl.core.spaces import is_image
from dreamctl.replay.format import FLAGS, Field
from dreamctl.replay.shards.chunks import read_rows
from dreamctl.replay.shards.header import Header, header_of, opened
from dreamctl.replay.shards.layout import locate, look_at
from dreamctl.replay.shards.located import Chunked, Layout
from dreamctl.replay.shards.shard import UNREADABLE

PIECE = 4 << 20  # bytes that are read at once where there are no chunks
KEPT = ("reward", *FLAGS)


class Piece(NamedTuple):
    """Some rows of a column; None where they cannot be read."""

    first: int
    last: int
    rows: Array | None


@dataclass(frozen=True)
class Wreck:
    """A file that could be opened.

    Attributes:
        layouts: where its columns lie, by path.
        good: (rows,): whether everything of a row can be read and makes sense.
        kept: rewards and flags by name, zero where they cannot be read.
        table: the episode table by name; empty where it cannot be read.
    """

    path: Path
    header: Header
    layouts: Mapping[str, Layout]
    good: NDArray[np.bool_]
    kept: Mapping[str, Array]
    table: Mapping[str, Array]

    @property
    def edges(self) -> Sequence[int]:
        """Rows between which pieces of episodes lie."""
        return sorted({0, *np.flatnonzero(self.kept["is_first"]).tolist(), len(self.good)})

    def follows(self, before: "Wreck | None") -> bool:
        """Whether it goes on where another one ends."""
        if before is None:
            return False
        ours, theirs = self.header, before.header
        return (ours.seq, ours.first_row) == (theirs.seq + 1, theirs.first_row + len(before.good))

    def facts(self, row: int) -> dict[str, int]:
        """What the table says of the episode that begins in this row."""
        if "start" not in self.table:
            return {}
        found = np.flatnonzero(self.table["start"] == row)[:1].tolist()
        return {name: int(column[number]) for number in found for name, column in self.table.items() if column.dtype.kind != "f"}

    def read(self, field: Field, first: int, last: int) -> Iterator[Array]:
        """Rows of a column, in pieces.

        Raises:
            InputError: they cannot be read any more.
        """
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            step = max(1, PIECE // max(1, field.row_bytes))
            for begin in range(first, last, step):
                yield read_rows(descriptor, self.layouts[field.path], begin, min(step, last - begin))
        finally:
            os.close(descriptor)


def examine(path: Path) -> Wreck | None:
    """What can be read of a file; None where it cannot be opened, or nobody can tell what lies where."""
    try:
        with opened(path) as file:
            header = header_of(path, file)
            found = look_at(path, file, header.state)
            rows, _, layouts = locate(found, header.fields)
            good, kept = _scan(found.descriptor, header, layouts, rows)
            return Wreck(path, header, layouts, good, kept, _table(found.descriptor, header, layouts))
    except (*UNREADABLE, InputError):
        return None


def _scan(descriptor: int, header: Header, layouts: Mapping[str, Layout], rows: int) -> tuple[NDArray[np.bool_], dict[str, Array]]:
    """Which rows are good, and the columns that are kept; every byte is looked at."""
    good, zero = np.ones(rows, bool), np.zeros(rows, bool)
    kept: dict[str, Array] = {name: np.zeros(rows, np.float64 if name == "reward" else bool) for name in KEPT}
    leaves = _leaves(header.spec)
    for field in header.fields:
        for first, last, part in _pieces(descriptor, layouts[field.path]) if not field.per_episode else ():
            if part is None:
                good[first:last] = False
                continue
            odd = _odd(field, part, leaves.get(field.name))
            if field.role == "action":
                # The zero that no one takes need not be a choice.
                zero[first:last] |= odd & (part.reshape(len(part), -1) == 0).all(1)
                odd &= ~zero[first:last]
            good[first:last] &= ~odd
            if field.name in kept:
                kept[field.name][first:last] = part
    flags = {name: np.asarray(kept[name], bool) for name in FLAGS}
    ends = flags["terminated"] | flags["truncated"] | np.append(flags["is_first"][1:], True)
    return good & ~(zero & ~ends), kept


def _odd(field: Field, part: Array, leaf: LeafCodec | None) -> NDArray[np.bool_]:
    """Rows of a column that hold what no environment gives."""
    if field.name == "reward":
        odd = ~np.isfinite(part)
    elif field.name in FLAGS:
        odd = part.view(np.uint8) > 1
    else:
        odd = np.zeros(len(part), bool) if leaf is None else leaf.outside(part)
    return np.asarray(odd.reshape(len(part), -1).any(1), bool)


def _leaves(spec: TaskSpec) -> dict[str, LeafCodec]:
    """What the values of a column may be, by name; of images anything."""
    action = ActionCodec(spec.action)
    known = {f"action/{name}" if action.nested else "action": leaf for name, leaf in action.leaves.items()}
    return known | {f"observation/{name}": leaf_codec(it, scaled=False) for name, it in spec.observation.items() if not is_image(it)}


def _table(descriptor: int, header: Header, layouts: Mapping[str, Layout]) -> dict[str, Array]:
    """The episode table; nothing where some of it cannot be read."""
    table: dict[str, Array] = {}
    for field in header.fields:
        if field.per_episode:
            parts = [part for _, _, part in _pieces(descriptor, layouts[field.path])]
            readable = [part for part in parts if part is not None]
            if len(readable) < len(parts):
                return {}
            table[field.name] = np.concatenate(readable) if readable else np.zeros(0, np.dtype(field.dtype))
    return table


def _pieces(descriptor: int, layout: Layout) -> Iterator[Piece]:
    """All rows of a dataset, chunk by chunk."""
    row_bytes = max(1, layout.dtype.itemsize * math.prod(layout.shape))
    height = layout.storage.shape[0] if isinstance(layout.storage, Chunked) else max(1, PIECE // row_bytes)
    for first in range(0, layout.rows, height):
        last = min(first + height, layout.rows)
        try:
            yield Piece(first, last, read_rows(descriptor, layout, first, last - first))
        except InputError:
            yield Piece(first, last, None)
