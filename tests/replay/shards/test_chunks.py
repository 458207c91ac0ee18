"""Chunks are decoded as HDF5 decodes them, and never to more than they can hold."""

import tracemalloc
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from dreamctl.core.experience import Array
from dreamctl.replay.shards.checksum import fletcher32
from dreamctl.replay.shards.chunks import DEFLATE, FLETCHER32, SHUFFLE, decoded

FILTERS = {"compression": {"compression": "gzip"}, "shuffle": {"shuffle": True}, "fletcher32": {"fletcher32": True}}


def stored(path: Path, values: Array, **options: object) -> tuple[bytes, tuple[int, ...], int]:
    """The bytes of the one chunk that HDF5 makes of some values, its filters, and the mask of those that were left out."""
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", data=values, chunks=values.shape, **options)
        file.flush()
        mask, raw = dataset.id.read_direct_chunk((0,) * values.ndim)
        properties = dataset.id.get_create_plist()
        return raw, tuple(properties.get_filter(index)[0] for index in range(properties.get_nfilters())), mask


@pytest.mark.parametrize("names", [(), ("compression",), ("shuffle",), ("fletcher32",), ("compression", "shuffle"), tuple(FILTERS)])
@pytest.mark.parametrize("dtype", ["|b1", "|u1", "<f2", "<f4", "<i8"])
def test_what_hdf5_encodes_is_decoded(tmp_path: Path, names: tuple[str, ...], dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 2, (37, 3)).astype(dtype)
    options = {key: value for name in names for key, value in FILTERS[name].items()}
    raw, filters, mask = stored(tmp_path / "x.h5", values, **options)
    assert bytes(decoded(raw, filters, mask, values.itemsize, values.nbytes)) == values.tobytes()


def test_a_filter_that_was_left_out_is_left_out(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 64, np.uint8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("x", (64,), "|u1", chunks=(64,), compression="gzip")
        dataset.id.write_direct_chunk((0,), noise.tobytes(), filter_mask=1)
    with h5py.File(tmp_path / "x.h5") as file:
        mask, raw = file["x"].id.read_direct_chunk((0,))
        assert (mask, file["x"][:].tobytes()) == (1, noise.tobytes())
    assert bytes(decoded(raw, (DEFLATE,), mask, 1, 64)) == noise.tobytes()
    with pytest.raises(ValueError, match="is not 64 bytes deflated"):
        decoded(raw, (DEFLATE,), 0, 1, 64)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 719, 720, 721, 200_001])
@pytest.mark.parametrize("fill", [None, 0, 255])
def test_the_checksum_is_hdf5s_own(tmp_path: Path, size: int, fill: int | None) -> None:
    values = np.random.default_rng(size).integers(0, 256, size, np.uint8) if fill is None else np.full(size, fill, np.uint8)
    if size == 0:
        assert fletcher32(b"") == 0
        return
    raw, _, _ = stored(tmp_path / "x.h5", values, fletcher32=True)
    assert int.from_bytes(raw[-4:], "little") == fletcher32(raw[:-4])


@pytest.mark.parametrize(
    ("raw", "filters", "told"),
    [
        (zlib.compress(bytes(100)), (DEFLATE,), "64 bytes deflated"),
        (zlib.compress(bytes(63)), (DEFLATE,), "64 bytes deflated|63 bytes deflated"),
        (zlib.compress(bytes(64))[:-1], (DEFLATE,), "64 bytes deflated"),
        (bytes(63), (), "a chunk holds 63 bytes, wanted 64"),
        (bytes(64) + b"\1\0\0\0", (FLETCHER32,), "differs from its checksum"),
        (b"\1\0", (FLETCHER32,), "differs from its checksum"),
        (bytes(65), (SHUFFLE,), "a chunk holds 65 bytes, wanted 64"),
    ],
)
def test_another_number_of_bytes_or_a_wrong_checksum_is_refused(raw: bytes, filters: tuple[int, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        decoded(raw, filters, 0, 4, 64)


def test_a_bomb_takes_no_more_memory_than_its_chunk() -> None:
    bomb = zlib.compress(bytes(64 << 20))
    tracemalloc.start()
    with pytest.raises(ValueError, match="4096 bytes deflated"):
        decoded(bomb, (DEFLATE,), 0, 1, 4096)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
