"""Where the rows of one dataset of a shard lie in its file: all that a reader needs to know of it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Contiguous(NamedTuple):
    """Rows as they are, one after another, from byte `offset` of the file on."""

    offset: int


class Chunked(NamedTuple):
    """Rows in chunks of their own.

    Attributes:
        shape: of a chunk, rows first.
        offsets, sizes: bytes in the file, (chunks,), chunk by chunk in row order.
        masks: bit i is set where filter i was left out, (chunks,).
        filters: HDF5's numbers of the filters, in the order in which they were applied.
    """

    shape: tuple[int, ...]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    masks: NDArray[np.int64]
    filters: tuple[int, ...]


class Layout(NamedTuple):
    """Where the rows of one dataset of a shard lie, as they were found when it was validated.

    Attributes:
        path: the file.
        inode, size: of that file; a live one keeps both until it is sealed.
        name: of the dataset, for messages and for h5py.
        dtype, shape: of a row.
        rows: that are committed.
        capacity: rows that there is a place for.
    """

    path: Path
    inode: int
    size: int
    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    rows: int
    capacity: int
    storage: Contiguous | Chunked
