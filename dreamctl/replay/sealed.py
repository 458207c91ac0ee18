"""One sealed shard, from columns to a file that is either complete or not there."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from dreamctl.core.experience import Array
from dreamctl.core.files import unwritable, write_whole
from dreamctl.replay.format import LIBVER, Field

# Where the pieces of one column come from, in row order: a shard of its own rows has one, a merged file one a part.
Pieces = Callable[[Field], Iterable[Array]]
ATTRIBUTE_LIMIT = 32 << 10


def write_sealed(path: Path, attributes: Mapping[str, str | int], fields: Sequence[Field], lengths: tuple[int, int], pieces: Pieces) -> str:
    """Write a sealed shard over `path` by rename and return its sealed_sha256.

    Args:
        path: where; the folder exists.
        attributes: of the root, all but `sealed_sha256`.
        fields: the schema list.
        lengths: rows and episodes.
        pieces: the arrays of a field, in row order.

    Raises:
        OutputError: it cannot be written; nothing is left behind and an older file of that name is untouched.
    """
    try:
        image, digest = _image(path.name, attributes, fields, lengths, pieces)
    except OSError as error:
        raise unwritable(path, error) from error
    write_whole(path, lambda file: file.write(image))
    return digest


def _image(
    name: str, attributes: Mapping[str, str | int], fields: Sequence[Field], lengths: tuple[int, int], pieces: Pieces
) -> tuple[bytes, str]:
    """The bytes of the HDF5 file and its sealed_sha256."""
    # In memory, because HDF5 that runs into a full disk may take the process with it; plain writes fail cleanly.
    with h5py.File(name, "w", libver=LIBVER, driver="core", backing_store=False) as file:
        digest = hashlib.sha256()
        for field in fields:
            rows = lengths[1] if field.per_episode else lengths[0]
            _write_column(file, field, rows, pieces, digest.update)
        file.create_dataset("/commit", data=np.array([*lengths, lengths[0], 1], "<i8"))
        for key, value in {**attributes, "sealed_sha256": digest.hexdigest()}.items():
            _write_attribute(file, key, value)
        file.flush()
        return bytes(file.id.get_file_image()), digest.hexdigest()


def _write_column(file: h5py.File, field: Field, rows: int, pieces: Pieces, hashed: Callable[[bytes], object]) -> None:
    dataset = file.create_dataset(field.path, (rows, *field.shape), np.dtype(field.dtype), **field.storage(rows))
    done = 0
    for piece in pieces(field):
        stored = np.ascontiguousarray(piece, np.dtype(field.dtype))
        assert stored.shape[1:] == field.shape, f"{field.path}: rows of shape {stored.shape[1:]}, the schema says {field.shape}"
        dataset[done : done + len(stored)] = stored
        hashed(stored.tobytes())
        done += len(stored)
    assert done == rows, f"{field.path}: {done} rows given, {rows} promised"


def _write_attribute(file: h5py.File, key: str, value: str | int) -> None:
    """Numbers as i8, text as a fixed-length byte string: HDF5 does not checksum strings of variable length."""
    if isinstance(value, int):
        file.attrs.create(key, np.int64(value))
    elif len(value.encode()) <= ATTRIBUTE_LIMIT:
        file.attrs.create(key, np.array(value.encode(), f"S{max(1, len(value.encode()))}"))
    else:
        text = np.frombuffer(value.encode(), np.uint8)
        file.create_dataset(f"/meta/{key}", data=text, chunks=(min(len(text), 1 << 20),), compression="gzip", fletcher32=True)
