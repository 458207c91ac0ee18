"""One sealed shard, from columns to a file that is either complete or not there."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from dreamctl.core.experience import Array
from dreamctl.replay.format import SEALED, Field
from dreamctl.replay.shards.attributes import Attributes, attribute_bytes, write_attributes
from dreamctl.replay.shards.checksum import fletcher32
from dreamctl.replay.shards.deflating import compress
from dreamctl.replay.shards.reserved import CHUNK_OVERHEAD, ReservedFile, reserved_file

# Where the pieces of one column come from, in row order: a shard of its own rows has one, a merged file one a part.
Pieces = Callable[[Field], Iterable[Array]]


def write_sealed(path: Path, attributes: Attributes, fields: Sequence[Field], lengths: tuple[int, int], pieces: Pieces) -> str:
    """Write a sealed shard over `path` by rename and return its sealed_sha256. In memory is one chunk and one piece.

    Args:
        path: where.
        attributes: of the root, all but `sealed_sha256`.
        fields: the schema list.
        lengths: rows and episodes.
        pieces: the arrays of a field, in row order.

    Raises:
        OutputError: it cannot be written; nothing is left behind and an older file of that name is untouched.
    """
    digest = hashlib.sha256()
    with reserved_file(path, attribute_bytes(attributes)) as target:
        for field in fields:
            rows = lengths[1] if field.per_episode else lengths[0]
            _write_column(target, field, rows, pieces, digest.update)
        commit = np.array([*lengths, lengths[0], SEALED], "<i8")
        target.file.create_dataset("/commit", data=commit)
        write_attributes(target.file, {**attributes, "sealed_sha256": digest.hexdigest()})
    return digest.hexdigest()


def _write_column(target: ReservedFile, field: Field, rows: int, pieces: Pieces, hashed: Callable[[memoryview], object]) -> None:
    dataset = target.file.create_dataset(field.path, (rows, *field.shape), np.dtype(field.dtype), **field.storage(rows))
    if rows == 0 or 0 in field.shape:
        return
    chunk_rows, done = dataset.chunks[0], 0
    for chunk in _chunks(field, pieces(field), chunk_rows):
        hashed(chunk.data.cast("B"))
        encoded = encode(chunk, chunk_rows, dataset)
        target.reserve(len(encoded) + CHUNK_OVERHEAD)
        dataset.id.write_direct_chunk((done, *(0 for _ in field.shape)), encoded)
        done += len(chunk)
    assert done == rows, f"{field.path}: {done} rows given, {rows} promised"


def _chunks(field: Field, pieces: Iterable[Array], rows: int) -> Iterator[Array]:
    """The rows of a column, `rows` at a time whatever pieces they come in; the last may be fewer."""
    begun: list[Array] = []
    waiting = 0
    for piece in pieces:
        stored = np.ascontiguousarray(piece, np.dtype(field.dtype))
        assert stored.shape[1:] == field.shape, f"{field.path}: rows of shape {stored.shape[1:]}, the schema says {field.shape}"
        while waiting + len(stored) >= rows:
            taken, stored = stored[: rows - waiting], stored[rows - waiting :]
            yield np.concatenate([*begun, taken]) if begun else taken
            begun, waiting = [], 0
        if len(stored):
            begun.append(stored)
            waiting += len(stored)
    if begun:
        yield np.concatenate(begun)


def encode(chunk: Array, rows: int, dataset: h5py.Dataset) -> bytes:
    """The bytes of a chunk, filled up with zeros to `rows` rows, as the filters of its dataset make them."""
    if len(chunk) < rows:
        chunk = np.concatenate([chunk, np.zeros((rows - len(chunk), *chunk.shape[1:]), chunk.dtype)])
    if dataset.shuffle:
        chunk = np.ascontiguousarray(chunk.reshape(-1, 1).view(np.uint8).T)
    encoded = compress(chunk.data)
    return encoded + fletcher32(encoded).to_bytes(4, "little") if dataset.fletcher32 else encoded
