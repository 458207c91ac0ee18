"""Where the rows of a shard lie in its file: each dataset of the schema, believed only where its bytes can be there."""

import functools
import math
import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from dreamctl.core.errors import InputError
from dreamctl.replay.format import CHUNK_LIMIT, Field
from dreamctl.replay.shards.chunks import DEFLATE, DEFLATE_RATIO, FLETCHER32, ORDER, read_rows
from dreamctl.replay.shards.located import Chunked, Contiguous, Layout

COMMIT = Field("/commit", "<i8", (), "commit")
# Small columns are read as a whole: up to so many bytes, and beyond them so many for each byte of the file.
FREE_BYTES, LARGEST_RATIO = 64 << 20, 256


@dataclass(frozen=True)
class Found:
    """The file that is looked at.

    Attributes:
        path, file: it, open.
        live: whether rows are still added to it.
        status: of the open file, whatever has its name by now.
    """

    path: Path
    file: h5py.File
    live: bool
    status: os.stat_result

    @functools.cached_property
    def descriptor(self) -> int:
        """HDF5's own descriptor of it."""
        return int(self.file.id.get_vfd_handle())

    @functools.cached_property
    def root(self) -> h5py.h5f.FileID:
        """HDF5's own name of it."""
        return self.file.id

    @functools.cached_property
    def stored(self) -> int:
        """Bytes that it takes on disk, holes left out."""
        return min(self.status.st_size, max(4096, self.status.st_blocks * 512))

    def wrong(self, what: str) -> InputError:
        """The error that says so."""
        return InputError(f"{self.path}: {what}; copy or collect it again")


def look_at(path: Path, file: h5py.File, state: str) -> Found:
    """What `locate` needs to know of an open file."""
    return Found(path, file, state == "live", os.fstat(file.id.get_vfd_handle()))


def locate(found: Found, fields: Sequence[Field]) -> tuple[int, int, Mapping[str, Layout]]:
    """Committed rows and episodes, and where the dataset of each path lies, that of /commit too.

    Raises:
        InputError: a dataset is missing, linked, virtual, external, of another type, or longer or shorter than committed.
    """
    _own_links(found, [field.path for field in (COMMIT, *fields)])
    # Counters come first: rows that are added from now on are not among those that are read.
    rows, episodes, layout = _committed(found)
    layouts = {field.path: _layout(found, field, episodes if field.per_episode else rows) for field in fields}
    _apart(found, [layout, *layouts.values()])
    small = sum(layouts[field.path].rows * field.row_bytes for field in fields if not field.big)
    if small > FREE_BYTES + LARGEST_RATIO * found.stored:
        raise found.wrong(f"claims {small >> 20} MiB of small columns on {found.stored >> 10} KiB of disk")
    return rows, episodes, {COMMIT.path: layout, **layouts}


def read_bytes(file: h5py.File, name: str, limit: int) -> bytes:
    """What a dataset of bytes outside the schema holds.

    Raises:
        InputError: it is not there, is of another form, or is longer than `limit`.
    """
    found = look_at(Path(file.filename), file, "sealed")
    _own_links(found, [name])
    field = Field(name, "|u1", (), "meta")
    rows = _form(_dataset(found, field), field)[0]
    if rows > limit:
        raise found.wrong(f"{name} is of {rows} bytes, more than {limit >> 20} MiB")
    return read_rows(found.descriptor, _layout(found, field, rows)).tobytes()


def _committed(found: Found) -> tuple[int, int, Layout]:
    """Rows and episodes that /commit counts, and where it lies."""
    layout = _layout(found, COMMIT, 4)
    rows, episodes, durable, generation = read_rows(found.descriptor, layout).tolist()
    if min(rows, episodes, durable, generation) < 0 or durable > rows:
        raise found.wrong(f"/commit is {[rows, episodes, durable, generation]}, wanted counts, at most {rows} rows of them durable")
    return rows, episodes, layout


def _own_links(found: Found, names: Sequence[str]) -> None:
    """Every group and dataset on the way is in this file under a name of its own."""
    links = found.file.id.links
    for prefix in _ways(tuple(names)):
        try:
            kind = links.get_info(prefix).type
        except RuntimeError:
            if links.exists(prefix):
                raise
            raise found.wrong(f"{prefix.decode()} is missing, wanted a dataset") from None
        if kind != h5py.h5l.TYPE_HARD:
            raise found.wrong(f"{prefix.decode()} is a link, wanted a dataset of its own")


@functools.lru_cache(maxsize=8)
def _ways(names: tuple[str, ...]) -> tuple[bytes, ...]:
    """Every group and dataset on the way to some paths, groups before what is in them."""
    split = [name.split("/") for name in names]
    return tuple(dict.fromkeys("/".join(parts[:depth]).encode() for parts in split for depth in range(2, len(parts) + 1)))


def _layout(found: Found, field: Field, rows: int) -> Layout:
    """Where the dataset of a field lies, of which so many rows are committed."""
    dataset = _dataset(found, field)
    capacity, problem = _form(dataset, field)
    if problem:
        raise found.wrong(f"{field.path} {problem}")
    # Appended rows fill a place that was there before; what is sealed is as long as it says.
    if rows > capacity or (rows < capacity and not found.live):
        raise found.wrong(f"{field.path} holds {capacity} rows, {'wanted' if field is COMMIT else '/commit says'} {rows}")
    try:
        storage = _storage(found, dataset, field, capacity)
    except ValueError as error:
        raise found.wrong(f"{field.path} {error}") from error
    status = found.status
    # Behind the committed episodes of a live shard the open one is announced.
    rows += found.live and field.per_episode and rows < capacity
    return Layout(found.path, status.st_ino, status.st_size, field.path, np.dtype(field.dtype), field.shape, rows, capacity, storage)


def _dataset(found: Found, field: Field) -> h5py.h5d.DatasetID:
    opened = h5py.h5o.open(found.root, field.path.encode())
    if not isinstance(opened, h5py.h5d.DatasetID):
        raise found.wrong(f"{field.path} is not a dataset")
    return opened


def _form(dataset: h5py.h5d.DatasetID, field: Field) -> tuple[int, str | None]:
    """Rows of the dataset, and what is wrong with type and shape: None where nothing is."""
    if not dataset.get_type().equal(_stored_type(field.dtype)):
        return 0, f"is of dtype {_shown_type(dataset)}, the schema says {field.dtype}"
    space = dataset.get_space()
    shape = space.get_simple_extent_dims() or ()
    if not shape or shape[1:] != field.shape:
        return 0, f"is of shape {shape}, the schema says (rows, {', '.join(map(str, field.shape))})"
    # The index of one that can grow may count chunks that are long gone, one by one.
    if space.get_simple_extent_dims(True) != shape:
        return 0, "can be resized, wanted a fixed shape"
    return int(shape[0]), None


@functools.cache
def _stored_type(dtype: str) -> h5py.h5t.TypeID:
    return h5py.h5t.py_create(np.dtype(dtype), logical=True)


def _shown_type(dataset: h5py.h5d.DatasetID) -> str:
    try:
        return str(dataset.dtype.str)
    except TypeError:
        return "another kind"


def _storage(found: Found, dataset: h5py.h5d.DatasetID, field: Field, rows: int) -> Contiguous | Chunked:
    """Where the bytes of all rows lie.

    Raises:
        ValueError: not where they can be read, in words that go on after the dataset's name.
    """
    properties = dataset.get_create_plist()
    form = properties.get_layout()
    if form == h5py.h5d.VIRTUAL or (form == h5py.h5d.CONTIGUOUS and properties.get_external_count()):
        raise ValueError("lies in another file")
    if form == h5py.h5d.CHUNKED and not found.live:
        filters = tuple([properties.get_filter(index)[0] for index in range(properties.get_nfilters())])
        return _chunked(found, dataset, field, rows, _known(filters), properties.get_chunk())
    if form != h5py.h5d.CONTIGUOUS:
        raise ValueError("is not contiguous, as a live shard is" if found.live else "is neither contiguous nor chunked")
    offset = dataset.get_offset()
    if rows * field.row_bytes == 0:
        return Contiguous(0)
    if offset is None or offset + rows * field.row_bytes > found.status.st_size:
        raise ValueError("ends beyond the file")
    return Contiguous(int(offset))


@functools.lru_cache(maxsize=16)
def _known(filters: tuple[int, ...]) -> tuple[int, ...]:
    if not set(filters) <= set(ORDER):
        raise ValueError(f"uses filters {sorted(set(filters) - set(ORDER))}, only deflate, shuffle and fletcher32 are read")
    if list(filters) != [number for number in ORDER if number in filters]:
        raise ValueError(f"uses filters {list(filters)}, wanted the order {list(ORDER)}")
    return filters


def _chunked(
    found: Found, dataset: h5py.h5d.DatasetID, field: Field, rows: int, filters: tuple[int, ...], shape: tuple[int, ...]
) -> Chunked:
    height, size = shape[0], math.prod(shape) * np.dtype(field.dtype).itemsize
    if size > CHUNK_LIMIT:
        raise ValueError(f"has chunks of {shape}, larger than {CHUNK_LIMIT >> 20} MiB")
    if shape[1:] != tuple(max(1, length) for length in field.shape):
        raise ValueError(f"has chunks of {shape}, wanted whole rows")
    wanted = -(-rows // height) if field.row_bytes else 0
    # Each is counted one by one below, so there must be bytes enough for the index of so many.
    if 8 * wanted > found.stored:
        raise ValueError(f"claims {wanted} chunks on {found.stored >> 10} KiB of disk")
    places, masks, offsets, sizes = zip(*_index(dataset, wanted), strict=True) if wanted else ((), (), (), ())
    if [place[0] for place in places] != list(range(0, wanted * height, height)):
        raise ValueError("lacks a chunk and has another one twice")
    if wanted and max(map(operator.add, offsets, sizes)) > found.status.st_size:
        raise ValueError("ends beyond the file")
    for mask in set(masks):
        alike = [stored for stored, own in zip(sizes, masks, strict=True) if own == mask]
        if not (_can_hold(filters, mask, min(alike), size) and _can_hold(filters, mask, max(alike), size)):
            raise ValueError(f"has a chunk of {min(alike)} to {max(alike)} bytes, which cannot hold the {size} bytes of it")
    return Chunked(shape, np.array(offsets, np.int64), np.array(sizes, np.int64), np.array(masks, np.int64), filters)


def _index(dataset: h5py.h5d.DatasetID, wanted: int) -> list[h5py.h5d.StoreInfo]:
    """All chunks of a dataset that has some, in row order."""
    if wanted == 1:
        # Most datasets have one, and asking for it is quicker; it raises where there is none.
        return [dataset.get_chunk_info(0)]
    infos: list[h5py.h5d.StoreInfo] = []
    dataset.chunk_iter(infos.append)
    if len(infos) != wanted:
        raise ValueError(f"has {len(infos)} chunks, wanted {wanted}")
    return sorted(infos)


def _can_hold(filters: tuple[int, ...], mask: int, stored: int, size: int) -> bool:
    """Whether stored bytes can unpack to a whole chunk."""
    applied = filters if not mask else [number for place, number in enumerate(filters) if not mask >> place & 1]
    stored -= 4 * (FLETCHER32 in applied)
    return stored * DEFLATE_RATIO >= size if DEFLATE in applied else stored == size


def _apart(found: Found, layouts: Sequence[Layout]) -> None:
    """No two pieces of data lie in one place."""
    offsets, sizes = (np.concatenate(columns) for columns in zip(*map(_ranges, layouts), strict=True))
    order = offsets.argsort()
    if (offsets[order[1:]] < (offsets + sizes)[order[:-1]]).any():
        raise found.wrong("two of its datasets or chunks lie in one place")


def _ranges(layout: Layout) -> tuple[Sequence[int] | NDArray[np.int64], Sequence[int] | NDArray[np.int64]]:
    """Offsets and sizes of its pieces in bytes."""
    match layout.storage:
        case Contiguous(offset):
            size = layout.rows * math.prod(layout.shape) * layout.dtype.itemsize
            return ([offset], [size]) if size else ([], [])
        case Chunked(offsets=offsets, sizes=sizes):
            return offsets, sizes
