"""Bytes of a dataset as they lie in the file -> rows. HDF5's own decoder is never asked: it inflates whatever a chunk claims to hold."""

import os

import h5py
import numpy as np

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array
from dreamctl.replay.checksum import fletcher32
from dreamctl.replay.columns import Chunked, Contiguous, Layout
from dreamctl.replay.deflating import Bytes, decompress

DEFLATE, SHUFFLE, FLETCHER32 = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32
ORDER = (SHUFFLE, DEFLATE, FLETCHER32)  # as they are applied
DEFLATE_RATIO = 1032  # no deflate stream unpacks to more


def read_rows(descriptor: int, layout: Layout) -> Array:
    """All committed rows of a dataset (rows, ...).

    Args:
        descriptor: of the open file that the layout was found in.
        layout: where they lie.

    Raises:
        InputError: they cannot be read, or differ from their checksums.
    """
    try:
        match layout.storage:
            case Contiguous(offset):
                return _contiguous(descriptor, layout, offset)
            case Chunked() as chunked:
                return _chunked(descriptor, layout, chunked)
    except (OSError, ValueError) as error:
        raise InputError(f"{layout.path}: {layout.name} is damaged ({error}); copy or collect it again") from error


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


def _contiguous(descriptor: int, layout: Layout, offset: int) -> Array:
    rows = np.empty((layout.rows, *layout.shape), layout.dtype)
    wanted, done = rows.reshape(-1).data.cast("B") if rows.size else memoryview(b""), 0
    while done < len(wanted):
        count = os.preadv(descriptor, [wanted[done:]], offset + done)
        if count == 0:
            raise ValueError("the file ends before its rows do")
        done += count
    return rows


def _chunked(descriptor: int, layout: Layout, chunked: Chunked) -> Array:
    rows = np.empty((layout.rows, *layout.shape), layout.dtype)
    itemsize, height = layout.dtype.itemsize, chunked.shape[0]
    size = int(np.prod(chunked.shape, dtype=np.int64)) * itemsize
    table = zip(chunked.offsets.tolist(), chunked.sizes.tolist(), chunked.masks.tolist(), strict=True)
    for number, (offset, stored, mask) in enumerate(table):
        raw = os.pread(descriptor, stored, offset)
        if len(raw) != stored:
            raise ValueError("the file ends before its chunks do")
        piece = rows[number * height : (number + 1) * height]
        chunk = np.frombuffer(decoded(raw, chunked.filters, mask, itemsize, size), layout.dtype)
        piece[...] = chunk.reshape(height, *layout.shape)[: len(piece)]
    return rows


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
