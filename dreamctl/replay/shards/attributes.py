"""The root attributes of a shard as they are stored: numbers and byte strings of fixed length, what is too long as a dataset."""

import operator
from collections.abc import Mapping

import h5py
import numpy as np

from dreamctl.replay.shards.header import text_attribute

Attributes = Mapping[str, str | int]
ATTRIBUTE_LIMIT = 32 << 10


def write_attributes(file: h5py.File, attributes: Attributes) -> None:
    """Numbers as i8, text as a fixed-length byte string: HDF5 does not checksum strings of variable length."""
    for key, value in attributes.items():
        if isinstance(value, int):
            file.attrs.create(key, np.int64(value))
        elif len(value.encode()) <= ATTRIBUTE_LIMIT:
            file.attrs.create(key, np.array(value.encode(), f"S{max(1, len(value.encode()))}"))
        else:
            text = np.frombuffer(value.encode(), np.uint8)
            file.create_dataset(f"/meta/{key}", data=text, chunks=(min(len(text), 1 << 20),), compression="gzip", fletcher32=True)


def read_attributes(file: h5py.File) -> dict[str, str | int]:
    """All that `write_attributes` wrote.

    Raises:
        ValueError, TypeError, KeyError, InputError: there is something else.
    """
    found = {name: value.decode() if isinstance(value, bytes) else operator.index(value) for name, value in file.attrs.items()}
    if not file.id.links.exists(b"meta"):
        return found
    if file.id.links.get_info(b"meta").type != h5py.h5l.TYPE_HARD:
        raise ValueError("/meta is a link")
    return {**found, **{name: text_attribute(file, name) for name in file["/meta"]}}


def attribute_bytes(attributes: Attributes) -> int:
    """Room that they take at most."""
    return sum(256 + 2 * len(str(value).encode()) for value in attributes.values())
