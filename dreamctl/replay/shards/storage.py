"""How the datasets of a shard lie on disk: the table of format.py, filled in for one file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py

from dreamctl.core.errors import InputError
from dreamctl.replay.format import Field
from dreamctl.replay.shards.header import MEND, first_line, header_of, opened
from dreamctl.replay.shards.layout import COMMIT, locate, look_at
from dreamctl.replay.shards.shard import UNREADABLE

FILTERS = {h5py.h5z.FILTER_DEFLATE: "gzip", h5py.h5z.FILTER_SHUFFLE: "shuffle", h5py.h5z.FILTER_FLETCHER32: "fletcher32"}


@dataclass(frozen=True)
class Stored:
    """One dataset of a file.

    Attributes:
        path, dtype, shape, role: as in the schema; the shape of one row.
        rows: how many are committed; `capacity` is how many there is a place for.
        layout: `chunked` or `contiguous`.
        chunk_rows: rows of a chunk; None where it is contiguous.
        filters: in the order in which they are applied.
        bytes: on disk.
        decoded_bytes: of the committed rows in memory.
    """

    path: str
    dtype: str
    shape: tuple[int, ...]
    role: str
    rows: int
    capacity: int
    layout: str
    chunk_rows: int | None
    filters: tuple[str, ...]
    bytes: int
    decoded_bytes: int

    @property
    def ratio(self) -> float | None:
        """How many times smaller it is on disk than in memory; None where it takes no room."""
        return self.decoded_bytes / self.bytes if self.bytes else None


def stored_columns(path: Path) -> list[Stored]:
    """The datasets of one shard, in the order of its schema.

    Raises:
        InputError: not a shard, or a dataset is missing.
    """
    try:
        with opened(path) as file:
            header = header_of(path, file)
            # Nothing is opened before it is known to lie in this file.
            rows, episodes, _ = locate(look_at(path, file, header.state), header.fields)
            lengths = {field.path: episodes if field.per_episode else rows for field in header.fields}
            return [_stored(field, file[field.path], lengths.get(field.path, 4)) for field in (*header.fields, COMMIT)]
    except UNREADABLE as error:
        raise InputError(f"{path}: damaged ({first_line(error)}); {MEND}") from error


def total(parts: Sequence[Stored]) -> Stored:
    """The same dataset of several files as if it were one."""
    numbers = {name: sum(getattr(part, name) for part in parts) for name in ("rows", "capacity", "bytes", "decoded_bytes")}
    return replace(parts[0], chunk_rows=max((part.chunk_rows or 0) for part in parts) or None, **numbers)


def _stored(field: Field, dataset: h5py.Dataset, rows: int) -> Stored:
    properties = dataset.id.get_create_plist()
    codes = [properties.get_filter(index) for index in range(properties.get_nfilters())]
    return Stored(
        path=field.path,
        dtype=field.dtype,
        shape=field.shape,
        role=field.role,
        rows=rows,
        capacity=dataset.shape[0],
        layout="chunked" if dataset.chunks else "contiguous",
        chunk_rows=dataset.chunks[0] if dataset.chunks else None,
        filters=tuple(_filter_name(code, values) for code, _, values, _ in codes),
        bytes=int(dataset.id.get_storage_size()),
        decoded_bytes=rows * field.row_bytes,
    )


def _filter_name(code: int, values: tuple[int, ...]) -> str:
    name = FILTERS.get(code, f"filter {code}")
    return f"{name}-{values[0]}" if code == h5py.h5z.FILTER_DEFLATE and values else name
