"""A live shard is a whole HDF5 file at any moment, its space is reserved, and readers of any kind do not disturb its writer."""

import errno
import gc
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from dreamctl.core.experience import Row
from dreamctl.core.locks import try_lock
from dreamctl.replay.reader import open_replay
from dreamctl.replay.shards.header import read_header
from dreamctl.replay.shards.live import NO_EPISODE, LiveShard
from dreamctl.replay.shards.origin import Origin
from dreamctl.replay.writer import ReplayWriter
from tests.replay.live_rows import FIELDS, STREAM, live_shard
from tests.replay.rows import SPEC, episode_rows, stream_rows


def states(folder: Path) -> list[str]:
    return [read_header(path).state for path in sorted(folder.glob("*.h5"))]


def counted(path: Path) -> list[int]:
    with h5py.File(path) as file:
        return file["commit"][:].tolist()


def test_a_new_shard_is_contiguous_reserved_and_zero(tmp_path: Path) -> None:
    shard = live_shard(tmp_path, [], capacity=(1000, 50))
    size = shard.path.stat().st_size
    assert size > 1000 * sum(field.row_bytes for field in FIELDS if not field.per_episode)
    assert shard.path.stat().st_blocks * 512 >= size
    with h5py.File(shard.path) as file:
        assert file.attrs["state"] == b"live"
        assert "sealed_sha256" not in file.attrs
        assert file.id.get_create_plist().get_version()[0] == 3, "the superblock of HDF5 1.10"
        assert file["commit"].id.get_offset() % 32 == 0, "/commit lies within one page"
        for field in FIELDS:
            dataset = file[field.path]
            assert dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
            assert len(dataset) == (51 if field.per_episode else 1000)
            assert not np.any(dataset[:]), field.path


def test_h5py_reads_every_row_that_was_added_while_the_writer_goes_on(tmp_path: Path) -> None:
    rows = list(stream_rows([4, 3, 6]))
    with ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0) as writer:
        for number, row in enumerate(rows, 1):
            writer.add(row)
            (path,) = (tmp_path / "replay").glob("*.h5")
            with h5py.File(path) as file:
                n, episodes = file["commit"][:2]
                assert (n, episodes) == (number, sum(row.is_last for row in rows[:number]))
                assert file["steps/observation/observation"][:n].tolist() == [r.observation["observation"].tolist() for r in rows[:n]]
                assert file["steps/action"][:n].tolist() == [r.action for r in rows[:n]]
                assert file["steps/terminated"][:n].tolist() == [r.terminated for r in rows[:n]]
                assert file["episodes/length"][:episodes].tolist() == [4, 3, 6][:episodes]
                assert file["episodes/return"][:episodes].tolist() == [3, 2, 5][:episodes]
                assert file["episodes/seed"][: episodes + (not row.is_last)].tolist() == [100, 101, 102][: episodes + (not row.is_last)]


def test_readers_that_keep_files_open_disturb_neither_rows_nor_sealing(tmp_path: Path) -> None:
    """HDF5 locks what it opens, and its own writers fail then."""
    writer = ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0, shard_rows=4)
    rows = list(stream_rows([12]))
    writer.add(rows[0])
    with h5py.File(next((tmp_path / "replay").glob("*.h5"))) as file:
        for row in rows[1:]:
            writer.add(row)
        writer.wait_sealed(writer.rotated[-1].path)
        assert file["commit"][0] == 4, "whoever has the live file open keeps it"
    writer.close()
    assert open_replay([tmp_path / "replay"]).env_steps == 11


def test_the_lock_of_a_stream_holds_while_its_process_opens_and_closes_the_shards(tmp_path: Path) -> None:
    """A POSIX lock is lost with any descriptor of its file, so it is on a file that no reader opens."""
    ask = "import sys; from pathlib import Path; from dreamctl.core.locks import holder; print(holder(Path(sys.argv[1])))"

    def who() -> str:
        (lock,) = (tmp_path / "replay").glob(".*.lock")
        return subprocess.run([sys.executable, "-c", ask, str(lock)], capture_output=True, text=True, check=True).stdout

    with ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0, shard_rows=4) as writer:
        for row in stream_rows([6]):
            writer.add(row)
        for path in (tmp_path / "replay").glob("*.h5"):
            path.open("rb").close()
        replay = open_replay([tmp_path / "replay"])
        replay.load(replay.episodes()[0])
        del replay
        assert f"pid {os.getpid()} on" in who()
    assert not list((tmp_path / "replay").glob(".*"))


def test_full_shards_are_told_in_their_order_and_sealed_behind_the_writer(tmp_path: Path) -> None:
    with ReplayWriter(tmp_path / "replay", SPEC, lanes=2, seed=0, shard_rows=4) as writer:
        for pair in zip(episode_rows(0, 9), episode_rows(1, 9, lane=1), strict=True):
            for row in pair:
                writer.add(row)
        told = [(rotated.stream[-2:], rotated.seq, rotated.first_row, rotated.rows) for rotated in writer.rotated]
        assert told == [("e0", 0, 0, 4), ("e1", 0, 0, 4), ("e0", 1, 4, 4), ("e1", 1, 4, 4)]
        for rotated in writer.rotated:
            writer.wait_sealed(rotated.path)
            assert read_header(rotated.path).state == "sealed"
        assert states(tmp_path / "replay") == ["sealed", "sealed", "live"] * 2
    assert len(writer.rotated) == 4, "what is sealed when the writer closes was not full"
    assert set(states(tmp_path / "replay")) == {"sealed"}


def test_a_shard_is_full_when_its_table_is_even_where_every_episode_is_cut(tmp_path: Path) -> None:
    rows = [row for number in range(150) for row in episode_rows(number, 1, ended=False)]
    with ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0) as writer:
        for row in [*rows, *episode_rows(150, 3)]:
            writer.add(row)
        assert [rotated.rows for rotated in writer.rotated] == []
    writer = ReplayWriter(tmp_path / "small", SPEC, lanes=1, seed=0, steps=100)
    with writer:
        for row in [*rows, *episode_rows(150, 3)]:
            writer.add(row)
        assert [rotated.rows for rotated in writer.rotated] == [65, 65], "one row is begun when the table is found full"
    replay = open_replay([tmp_path / "small"])
    assert (replay.rows, replay.env_steps) == (153, 2)
    assert [info.length for info in replay.episodes()] == [3]


@pytest.mark.parametrize(("options", "most"), [({"steps": 100}, 60_000), ({"shard_mb": 1}, 1 << 20), ({}, 32 << 20)])
def test_no_lane_reserves_more_than_it_may_need(tmp_path: Path, options: dict[str, int], most: int) -> None:
    with ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0, **options) as writer:
        writer.add(episode_rows(0, 2)[0])
        (path,) = (tmp_path / "replay").glob("*.h5")
        assert path.stat().st_size < 1.2 * most + 30_000


def test_rows_become_durable_every_few_seconds_and_the_file_says_so(tmp_path: Path) -> None:
    with ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0, sync_seconds=0.01) as writer:
        for row in episode_rows(0, 5, ended=False):
            writer.add(row)
        (path,) = (tmp_path / "replay").glob("*.h5")
        until = time.monotonic() + 30
        while counted(path) != [5, 0, 5, 0]:
            assert time.monotonic() < until, counted(path)


def test_rows_are_durable_only_after_the_disk_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []
    monkeypatch.setattr("dreamctl.replay.shards.live._flush", lambda _: asked.append(counted(next(tmp_path.glob("*.h5")))))
    shard = live_shard(tmp_path, episode_rows(0, 5), durable=3)
    assert asked == [[3, 0, 0, 0], [3, 0, 3, 0]]
    assert counted(shard.path) == [5, 1, 3, 0]


def test_what_is_durable_was_committed_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other thread may sync between any two writes of a row."""
    shard = LiveShard(tmp_path / "shard.h5", Origin(SPEC).attributes(FIELDS, stream=STREAM, seq=0, first_row=0), FIELDS, (9, 9), NO_EPISODE)
    real, seen = os.pwrite, []

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        if not seen or seen[-1] is not None:
            seen.append(None)
            shard.sync()
            seen[-1] = counted(shard.path)
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    for row in episode_rows(0, 5):
        shard.append(row)
    shard.close()
    assert all(durable <= rows for rows, _, durable, _ in seen)
    assert seen[-1][2] == 4


def slow(descriptor: int, data: bytes, offset: int, real: object = os.pwrite) -> int:
    """A system that takes five bytes at a time."""
    return real(descriptor, bytes(memoryview(data).cast("B")[:5]), offset)  # type: ignore[operator]


def no_reserving(*_: object) -> None:
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


@pytest.mark.parametrize(
    "system",
    [
        lambda patch: patch.setattr(os, "pwrite", slow),
        lambda patch: patch.delattr(os, "posix_fallocate"),
        lambda patch: patch.setattr(os, "posix_fallocate", no_reserving),
    ],
    ids=["writes in parts", "macOS", "file system that cannot reserve"],
)
def test_systems_that_do_less_give_the_same_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: object) -> None:
    hashes = []
    for name in ("plain", "system"):
        if name == "system":
            system(monkeypatch)  # type: ignore[operator]
        with ReplayWriter(tmp_path / name, SPEC, lanes=1, seed=0, shard_rows=5) as writer:
            for row in stream_rows([4, 3, 6]):
                writer.add(row)
        hashes.append(open_replay([tmp_path / name]).content_hash())
    assert hashes[0] == hashes[1]


def test_observations_of_another_width_or_layout_are_stored_as_the_schema_says(tmp_path: Path) -> None:
    def turned(row: Row) -> Row:
        strided = np.repeat(row.observation["observation"].astype(np.float64), 2)[::2]
        return replace(row, observation={"observation": strided}, action=np.int32(row.action))

    for name, rows in (("plain", episode_rows(0, 6)), ("turned", map(turned, episode_rows(0, 6)))):
        with ReplayWriter(tmp_path / name, SPEC, lanes=1, seed=0) as writer:
            for row in rows:
                writer.add(row)
    assert open_replay([tmp_path / "plain"]).content_hash() == open_replay([tmp_path / "turned"]).content_hash()


def test_a_writer_that_is_forgotten_lets_go_of_thread_files_and_locks(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0, sync_seconds=0.01)
    writer.add(episode_rows(0, 2)[0])
    thread = writer._background._thread
    (lock,) = (tmp_path / "replay").glob(".*.lock")
    del writer
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()
    assert try_lock(lock) is not None
