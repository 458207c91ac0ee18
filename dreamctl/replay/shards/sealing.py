"""Live shard -> sealed shard of the same name: committed rows as chunks, the episode table made anew from their flags."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array
from dreamctl.core.files import sync_folder
from dreamctl.replay.format import Field
from dreamctl.replay.shards.attributes import Attributes, read_attributes
from dreamctl.replay.shards.header import MEND, first_line, header_of, opened
from dreamctl.replay.shards.layout import locate, look_at
from dreamctl.replay.shards.located import Contiguous, Layout
from dreamctl.replay.shards.sealed import write_sealed
from dreamctl.replay.shards.table import episode_table

PIECE = 1 << 20  # bytes of a column that are in memory at once


def seal_live(path: Path, *, ended: bool, rows: int | None = None) -> int:
    """Write a live shard anew as a sealed one, over itself, and return how many rows it holds; with none it is removed.

    Args:
        path: of the shard.
        ended: whether the stream ends here: a lone reset that no action followed is dropped, and the last action of an episode that was
            cut becomes 0, because nobody saw what it did.
        rows: so many and no more, where not all that are committed can be trusted.

    Raises:
        OutputError: the sealed shard cannot be written; the live one stays as it was.
        InputError: the live shard is damaged.
    """
    with opened(path) as file:
        fields = header_of(path, file).fields
        committed, _, layouts = locate(look_at(path, file, "live"), fields)
        try:
            attributes = read_attributes(file)
        except (ValueError, TypeError, KeyError, OSError, RuntimeError) as error:
            raise InputError(f"{path}: damaged root attributes ({first_line(error)}); {MEND}") from error
        descriptor = os.dup(file.id.get_vfd_handle())
    try:
        live = _Live(path, descriptor, fields, layouts, committed if rows is None else min(rows, committed))
        if ended and live.rows and live.read(live.field("/steps/is_first"), live.rows - 1, 1)[0]:
            live = replace(live, rows=live.rows - 1)
        if live.rows:
            _seal(live, attributes, ended)
        else:
            path.unlink()
            sync_folder(path.parent)
        return live.rows
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class _Live:
    """A live shard that is read: its descriptor, its schema, where each dataset lies, and how many rows count."""

    path: Path
    descriptor: int
    fields: Sequence[Field]
    layouts: Mapping[str, Layout]
    rows: int

    def read(self, field: Field, first: int, rows: int) -> Array:
        """Rows of a dataset (rows, ...), whether they are committed or not."""
        storage = self.layouts[field.path].storage
        assert isinstance(storage, Contiguous)
        out = np.empty((rows, *field.shape), field.dtype)
        if out.nbytes and os.preadv(self.descriptor, [out.data.cast("B")], storage.offset + first * field.row_bytes) != out.nbytes:
            raise InputError(f"{self.path}: {field.path} ends beyond the file; copy or collect it again")
        return out

    def column(self, name: str) -> Array:
        """A whole column of the rows, by its path."""
        return self.read(self.field(name), 0, self.rows)

    def field(self, path: str) -> Field:
        """The dataset of this path."""
        return next(field for field in self.fields if field.path == path)


def _seal(live: _Live, attributes: Attributes, ended: bool) -> None:
    is_first = live.column("/steps/is_first").astype(bool)
    starts = np.flatnonzero(is_first | (np.arange(live.rows) == 0))
    lasts = np.append(starts[1:], live.rows) - 1
    table = episode_table({name: live.column(f"/steps/{name}") for name in ("reward", "terminated", "truncated")}, starts, lasts)
    table |= _noted(live, starts)
    untaken = lasts[~table["complete"].astype(bool)]
    if not ended:
        untaken = untaken[untaken < live.rows - 1]

    def pieces(field: Field) -> Iterator[Array]:
        if field.per_episode:
            yield table[field.name]
            return
        size = max(1, PIECE // max(1, field.row_bytes))
        for first in range(0, live.rows, size):
            piece = live.read(field, first, min(size, live.rows - first))
            if field.role == "action":
                piece[untaken[(untaken >= first) & (untaken < first + len(piece))] - first] = 0
            yield piece

    write_sealed(live.path, {**attributes, "state": "sealed"}, live.fields, (live.rows, len(starts)), pieces)


def _noted(live: _Live, starts: NDArray[np.int64]) -> dict[str, Array]:
    """What rows do not tell of the episodes that begin at these rows, from the live table: it is noted before the first row is."""
    noted = {name: live.read(live.field(f"/episodes/{name}"), 0, len(starts)) for name in ("start", "seed", "id", "segment")}
    if (noted["start"] != starts).any():
        raise InputError(f"{live.path}: /episodes/start and /steps/is_first differ; copy or collect it again")
    return noted
