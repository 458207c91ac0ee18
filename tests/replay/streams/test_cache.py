"""Big columns are read from their files as they were written, however they are stored, with a cache of any size or none."""

import os
import tracemalloc
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.replay.streams.cache import Cache
from dreamctl.replay.streams.columns import Column
from dreamctl.replay.streams.descriptors import Descriptors
from dreamctl.replay.streams.sources import ChunkedRows
from tests.replay.pictures import SPEC, picture_rows, right
from tests.replay.rows import write

EYE = "/steps/observation/eye"
ROW_BYTES = 16 * 16 * 3 + 400
CONFIG = ReplayConfig(batch_size=16, batch_length=20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five shards of one stream, episodes across them."""
    return write(tmp_path / "replay", picture_rows([50, 33, 77, 40]), spec=SPEC, shard_rows=40)


def wrong(replay: Replay, batches: int = 10) -> list[int]:
    """Batches in which a row is not what was written."""
    sampler = WindowSampler(replay, CONFIG, seed=0)
    return [k for k in range(batches) if not right(dict(sampler.sample(k).observation))]


def restore(path: Path, **storage: object) -> None:
    """Store the pictures of a shard in another way."""
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        rows = file[EYE][:]
        del file[EYE]
        file.create_dataset(EYE, data=rows, **storage)


@pytest.mark.parametrize("rows", [0, 1, 7, 50, 1000])
def test_windows_are_right_with_a_cache_of_any_size(folder: Path, rows: int) -> None:
    replay = open_replay([folder])
    replay.cache(rows * ROW_BYTES)
    assert wrong(replay) == []


def test_several_threads_may_read_by_one_cache(folder: Path) -> None:
    replay = open_replay([folder])
    replay.cache(60 * ROW_BYTES)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: wrong(replay), range(4))) == [[]] * 4


def test_with_room_enough_nothing_is_decoded_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[tuple[ChunkedRows, int]] = []
    block = ChunkedRows.block
    monkeypatch.setattr(ChunkedRows, "block", lambda rows, number: (decoded.append((rows, number)), block(rows, number))[1])
    replay = open_replay([folder])
    replay.cache(200 * ROW_BYTES)
    for _ in range(3):
        assert wrong(replay) == []
    assert len(decoded) == len(set(decoded))
    replay.cache(0)
    assert wrong(replay) == []
    assert len(decoded) > 2 * len(set(decoded))


def test_a_cache_that_is_switched_off_or_replaced_gives_its_memory_back(folder: Path) -> None:
    replay, size = open_replay([folder]), 64 << 20
    tracemalloc.start()
    try:
        replay.cache(size)
        assert wrong(replay, 1) == []
        assert tracemalloc.get_traced_memory()[0] > size
        replay.cache(size // 4)
        assert tracemalloc.get_traced_memory()[0] < size // 2
        assert wrong(replay, 1) == []
        replay.cache(0)
        assert tracemalloc.get_traced_memory()[0] < size // 8
    finally:
        tracemalloc.stop()


def test_a_cache_that_takes_the_place_of_another_one_begins_anew(folder: Path) -> None:
    replay, size = open_replay([folder]), 64 << 20
    stream = replay.streams[0]
    wanted = {first: stream.column("observation/eye", first, 40) for first in (0, 40)}
    replay.cache(size)
    stream.column("observation/eye", 40, 40)
    replay.cache(size)
    for first, rows in wanted.items():
        assert (stream.column("observation/eye", first, 40) == rows).all()


def test_a_full_cache_keeps_about_the_share_of_rows_that_it_has_room_for() -> None:
    class Numbers:
        block_rows, decoded = 8, 0

        def block(self, number: int) -> Array:
            self.decoded += 1
            return np.arange(8 * number, 8 * number + 8)[:, None]

    source, cache, noise = Numbers(), Cache(np.dtype(np.int64), (1,), 2048), np.random.default_rng(0)
    base, out = cache.reserve(4096), np.zeros((8, 1), np.int64)
    for number in noise.integers(512, size=4000).tolist():
        cache.read(source, base, 8 * number, out)
        assert out[:, 0].tolist() == list(range(8 * number, 8 * number + 8))
    assert source.decoded / 4000 == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    "storage",
    [
        {},
        {"chunks": (7, 16, 16, 3)},
        {"chunks": (40, 16, 16, 3), "compression": "gzip"},
        {"chunks": (9, 16, 16, 3), "compression": "gzip", "shuffle": True},
        {"chunks": (9, 16, 16, 3), "compression": "gzip", "fletcher32": True},
        {"chunks": (16, 16, 16, 3), "fletcher32": True},
    ],
)
@pytest.mark.parametrize("cache", [0, 1 << 20])
def test_shards_that_another_tool_stored_anew_are_read(folder: Path, storage: Mapping[str, object], cache: int) -> None:
    for path in folder.glob("*.h5"):
        restore(path, **storage)
    replay = open_replay([folder])
    replay.cache(cache)
    assert wrong(replay) == []


def test_chunks_that_deflate_would_not_shrink_are_read(folder: Path) -> None:
    path = next(iter(sorted(folder.glob("*.h5"))))
    noise = np.random.default_rng(0).integers(256, size=(40, 16, 16, 3), dtype=np.uint8)
    with h5py.File(path, "r+") as file:
        file[EYE][:] = noise
    assert (open_replay([folder]).streams[0].column("observation/eye", 0, 40) == noise).all()


def test_a_shard_that_is_gone_or_another_one_is_named(folder: Path) -> None:
    first, second = sorted(folder.glob("*.h5"))[:2]
    replay = open_replay([folder])
    first.unlink()
    with pytest.raises(InputError, match=rf"{first}: is gone since it was opened \(No such file or directory\)"):
        replay.streams[0].column("observation/eye", 0, 10)
    content = second.read_bytes()
    (folder / "new").write_bytes(content)
    os.replace(folder / "new", second)
    with pytest.raises(InputError, match=rf"{second}: is another file than when it was opened"):
        replay.streams[0].column("observation/eye", 40, 10)


def test_a_longer_file_of_the_same_inode_is_another_one(folder: Path) -> None:
    """A number of a file that was removed is soon given to a new one, such as the live shard of whoever collects anew."""
    first, second = sorted(folder.glob("*.h5"))[:2]
    replay = open_replay([folder])
    inode = second.stat().st_ino
    second.write_bytes(first.read_bytes() + bytes(4096))
    assert second.stat().st_ino == inode
    with pytest.raises(InputError, match=rf"{second}: is another file than when it was opened"):
        replay.streams[0].column("observation/eye", 40, 10)


def test_a_shard_that_becomes_shorter_is_one_line_and_no_bus_error(folder: Path) -> None:
    replay = open_replay([folder])
    replay.streams[0].column("observation/eye", 0, 1)
    os.truncate(min(folder.glob("*.h5")), 100)
    with pytest.raises(InputError, match=r"-000000\.h5: is shorter than when it was opened"):
        replay.streams[0].column("observation/eye", 0, 40)


@pytest.mark.parametrize("cache", [0, 1 << 20])
def test_a_damaged_chunk_is_named_with_its_row(folder: Path, cache: int) -> None:
    path = min(folder.glob("*.h5"))
    with h5py.File(path) as file:
        chunk = file[EYE].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 0xFF
    path.write_bytes(content)
    replay = open_replay([folder])
    replay.cache(cache)
    with pytest.raises(InputError, match=rf"{path}: {EYE} row 0 is damaged \(.*\); copy or collect it again") as caught:
        replay.streams[0].column("observation/eye", 3, 2)
    assert "\n" not in str(caught.value)


def test_only_so_many_files_are_open_at_a_time(folder: Path) -> None:
    paths = sorted(folder.glob("*.h5"))
    files = Descriptors(limit=2)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        for path in paths:
            assert files.of(path, path.stat().st_ino).read(0, 4) == b"\x89HDF"
        assert len(files) == 2
        assert len(os.listdir("/proc/self/fd")) <= before + 2
    held = files.of(paths[0], paths[0].stat().st_ino)
    for path in paths[1:]:
        files.of(path, path.stat().st_ino)
    assert held.read(1, 3) == b"HDF", "who reads it keeps it open"


def test_the_parts_of_a_split_leave_big_columns_where_they_are(folder: Path) -> None:
    replay = open_replay([folder])
    train, holdout = replay.split(0.5)
    assert {len(train.episodes()), len(holdout.episodes())} & {1, 2, 3}
    streams = train.streams + holdout.streams
    assert all(right({name: stream.column(f"observation/{name}") for name in SPEC.observation}) for stream in streams)
    whole = {id(column) for stream in replay.streams for column in stream.big.values()}
    for stream in streams:
        for column in stream.big.values():
            assert isinstance(column, Column)
            assert {id(part.source) for part in column.parts} <= whole
