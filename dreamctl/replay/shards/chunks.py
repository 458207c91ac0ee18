"""Bytes of a dataset as they lie in the file -> rows. HDF5's own decoder is never asked: it inflates whatever a chunk claims to hold."""

import math
import os

import h5py
import numpy as np

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array
from dreamctl.replay.shards.checksum import fletcher32
from dreamctl.replay.shards.deflating import Bytes, decompress
from dreamctl.replay.shards.located import Chunked, Contiguous, Layout

DEFLATE, SHUFFLE, FLETCHER32 = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32
ORDER = (SHUFFLE, DEFLATE, FLETCHER32)  # as they are applied
DEFLATE_RATIO = 1032  # no deflate stream unpacks to more


def read_rows(descriptor: int, layout: Layout, first: int = 0, rows: int | None = None) -> Array:
    """Rows of a dataset (rows, ...), by default all that are committed.

    Args:
        descriptor: of the open file that the layout was found in.
        layout: where they lie.
        first: where they begin.
        rows: how many; to the end by default.

    Raises:
        InputError: they cannot be read, or differ from their checksums.
    """
    rows = layout.rows - first if rows is None else rows
    assert 0 <= first <= first + rows <= layout.rows, f"rows {first} to {first + rows} of {layout.rows}"
    found = np.empty((rows, *layout.shape), layout.dtype)
    try:
        match layout.storage:
            case Contiguous(offset):
                _fill_contiguous(descriptor, offset + first * _row_bytes(layout), found)
            case Chunked() as chunked:
                _fill_chunked(descriptor, chunked, first, found)
    except (OSError, ValueError) as error:
        raise InputError(f"{layout.path}: {layout.name} is damaged ({error}); copy or collect it again") from error
    return found


def decoded(raw: Bytes, filters: tuple[int, ...], mask: int, itemsize: int, size: int) -> Bytes:
    """The bytes of a chunk before its filters, never more than it can hold.

    Args:
        raw: as in the file.
        filters: that were applied, in the order of `ORDER`.
        mask: bit i is set where filter i was left out.
        itemsize: of an entry.
        size: bytes of the whole chunk.

    Raises:
        ValueError: they are not a chunk of that size, or differ from their checksum.
    """
    applied = {number for place, number in enumerate(filters) if not mask >> place & 1}
    if FLETCHER32 in applied:
        raw = _verified(raw)
    if DEFLATE in applied:
        raw = decompress(raw, size)
    if len(raw) != size:
        raise ValueError(f"a chunk holds {len(raw)} bytes, wanted {size}")
    return _unshuffled(raw, itemsize) if SHUFFLE in applied and itemsize > 1 else raw


def _row_bytes(layout: Layout) -> int:
    return layout.dtype.itemsize * math.prod(layout.shape)


def _fill_contiguous(descriptor: int, offset: int, rows: Array) -> None:
    """Fill all rows with what lies from `offset` on."""
    wanted, done = rows.reshape(-1).data.cast("B") if rows.size else memoryview(b""), 0
    while done < len(wanted):
        count = os.preadv(descriptor, [wanted[done:]], offset + done)
        if count == 0:
            raise ValueError("the file ends before its rows do")
        done += count


def _fill_chunked(descriptor: int, chunked: Chunked, first: int, rows: Array) -> None:
    """Fill all rows with those from `first` on."""
    height, size = chunked.shape[0], math.prod(chunked.shape) * rows.itemsize
    for number in range(first // height, -(-(first + len(rows)) // height) if rows.size else 0):
        offset, stored = int(chunked.offsets[number]), int(chunked.sizes[number])
        raw = os.pread(descriptor, stored, offset)
        if len(raw) != stored:
            raise ValueError("the file ends before its chunks do")
        data = decoded(raw, chunked.filters, int(chunked.masks[number]), rows.itemsize, size)
        chunk = np.frombuffer(data, rows.dtype).reshape(chunked.shape)
        low, high = max(first, number * height), min(first + len(rows), (number + 1) * height)
        rows[low - first : high - first] = chunk[low - number * height : high - number * height]


def _unshuffled(data: Bytes, itemsize: int) -> memoryview:
    """First bytes of all entries, second bytes of all entries, ... -> the entries."""
    planes = np.frombuffer(data, np.uint8).reshape(itemsize, -1)
    return np.ascontiguousarray(planes.T).reshape(-1).data


def _verified(raw: Bytes) -> Bytes:
    """The bytes in front of their checksum, which is right."""
    data, stored = memoryview(raw)[:-4], int.from_bytes(raw[-4:], "little")
    if len(raw) < 4 or fletcher32(data) != stored:
        raise ValueError("a chunk differs from its checksum")
    return data
