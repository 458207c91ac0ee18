"""A full disk costs one line and exit code 74; every row that was added before stays readable, also by plain h5py."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from dreamctl.core.errors import OutputError
from dreamctl.core.experience import Row
from dreamctl.replay.reader import open_replay
from dreamctl.replay.shards import sealed
from dreamctl.replay.writer import ReplayWriter
from dreamctl.replay.writing.recovery import recover
from tests.replay import kill_writer
from tests.replay.rows import SPEC, stream_rows, write

LINE = r"cannot write \(No space left on device\); free some space"


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def fills_up() -> Callable[..., int]:
    """A disk that takes one byte more, and then nothing."""
    real, written = os.pwrite, []

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        if written:
            full()
        written.append(offset)
        return real(descriptor, bytes(memoryview(data).cast("B")[:1]), offset)

    return pwrite


BROKEN = {
    "posix_fallocate": lambda patch: patch.setattr(os, "posix_fallocate", full),
    "pwrite": lambda patch: patch.setattr(os, "pwrite", full),
    "short pwrite": lambda patch: patch.setattr(os, "pwrite", fills_up()),
    "create_dataset": lambda patch: patch.setattr(h5py.h5d, "create", full),
    "fsync": lambda patch: patch.setattr(os, "fsync", full),
    "replace": lambda patch: patch.setattr(os, "replace", full),
}


def added_rows(writer: ReplayWriter, rows: Iterator[Row], before: Callable[[int], None]) -> list[Row]:
    """Add rows until that fails, and check how it does; returns those that were added."""
    taken: list[Row] = []
    with pytest.raises(OutputError, match=LINE) as caught, writer:  # noqa: PT012 - where it fails is part of the claim
        for row in rows:
            before(len(taken))
            writer.add(row)
            taken.append(row)
    assert caught.value.code == 74
    assert "\n" not in str(caught.value)
    return taken


def check_there(folder: Path, rows: list[Row]) -> None:
    """Each of these rows is read, by h5py and by us."""
    found = []
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as file:
            found += file["steps/observation/observation"][: file["commit"][0]].tolist()
    assert found[: len(rows)] == [row.observation["observation"].tolist() for row in rows]
    replay = open_replay([folder])
    steps = replay.streams[0].column("observation/observation", 0, len(replay.streams[0]))
    assert steps[: len(rows)].tolist() == found[: len(steps)][: len(rows)]
    assert replay.env_steps >= sum(not row.is_first for row in rows)


@pytest.mark.parametrize("name", ["replay", "one.h5"])
@pytest.mark.parametrize("what", BROKEN)
def test_a_full_disk_is_one_line_and_rows_that_were_added_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, name: str
) -> None:
    def fail(rows: int) -> None:
        if rows == 11:
            BROKEN[what](monkeypatch)

    writer = ReplayWriter(tmp_path / name, SPEC, lanes=2, seed=0, shard_rows=4)
    rows = added_rows(writer, stream_rows([4, 4, 6]), fail)
    monkeypatch.undo()
    assert len(rows) >= 11
    folder = tmp_path / name if name == "replay" else tmp_path / "one.h5.parts"
    check_there(folder, rows)
    recover(folder)
    check_there(folder, rows)
    assert not list(folder.glob(".*"))
    assert {path.name for path in tmp_path.iterdir()} == {folder.name}


def test_a_disk_that_is_full_when_shards_are_sealed_leaves_them_live_until_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0)
    monkeypatch.setattr(sealed, "compress", full)

    def nothing(_: int) -> None: ...

    rows = added_rows(writer, stream_rows([4, 5]), nothing)
    check_there(tmp_path / "replay", rows)
    monkeypatch.undo()
    write(tmp_path / "replay", stream_rows([3]), append=True)
    replay = open_replay([tmp_path / "replay"])
    assert sorted(info.length for info in replay.episodes()) == [3, 4, 5]
    assert replay.live == ()


def test_a_disk_that_is_full_from_the_start_keeps_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OutputError, match=LINE):
        ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0)
    assert not list((tmp_path / "replay").iterdir())


def test_a_disk_that_does_not_make_rows_durable_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dreamctl.replay.shards.live._flush", full)
    writer = ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0, sync_seconds=0.001)
    rows = added_rows(writer, stream_rows([9] * 100_000), lambda _: None)
    check_there(tmp_path / "replay", rows)


def test_a_full_disk_while_one_file_is_made_keeps_its_parts_and_an_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "one.h5", stream_rows([4]))
    writer = ReplayWriter(path, SPEC, lanes=1, seed=0)
    for row in stream_rows([6]):
        writer.add(row)
    writer.pause()
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError):
        writer.close()
    monkeypatch.undo()
    assert open_replay([path]).rows == 4
    assert open_replay([tmp_path / "one.h5.parts"]).rows == 6


def test_a_real_limit_on_file_size_is_met_with_the_same_line(tmp_path: Path) -> None:
    folder = write(tmp_path / "replay", stream_rows([4]))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot write \(File too large\)"):
            write(folder, stream_rows([40]), append=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert open_replay([folder]).rows == 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 9 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", str(disk)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    # Lazily: replays that were opened keep files open for as long as they live.
    subprocess.run(["umount", "-l", str(disk)], check=True)


def images() -> Iterator[Row]:
    for number in range(10**9):
        for lane in range(kill_writer.LANES):
            yield kill_writer.row(lane, number)


def test_a_real_disk_that_is_full_when_a_shard_begins(small_disk: Path) -> None:
    folder = small_disk / "replay"
    writer = ReplayWriter(folder, kill_writer.SPEC, lanes=kill_writer.LANES, seed=0, shard_mb=2)
    rows = added_rows(writer, images(), lambda _: None)
    assert len(rows) > 100
    found, _ = kill_writer.check_with_h5py(folder)
    told = [sum(row.lane == lane for row in rows) for lane in range(kill_writer.LANES)]
    assert all(0 <= there - added <= 1 for there, added in zip(found, told, strict=True))
    replay = open_replay([folder])
    assert replay.env_steps >= sum(not row.is_first for row in rows)
    for stream in replay.streams:
        wanted = kill_writer.columns(int(stream.name[-1]), 0, len(stream))
        assert np.array_equal(stream.column("observation/image", 0, len(stream)), wanted["observation/image"])


def test_a_real_disk_that_is_full_when_a_shard_is_sealed(small_disk: Path) -> None:
    folder, filler = small_disk / "replay", small_disk / "filler"
    writer = ReplayWriter(folder, kill_writer.SPEC, lanes=kill_writer.LANES, seed=0, shard_mb=1)

    def fill(rows: int) -> None:
        if rows == 150:
            with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:  # noqa: PT012
                while True:
                    file.write(bytes(1 << 12))

    rows = added_rows(writer, images(), fill)
    told, (there, states) = (
        [sum(row.lane == lane for row in rows) for lane in range(kill_writer.LANES)],
        kill_writer.check_with_h5py(folder),
    )
    # The row at hand may have been written before the disk was found full.
    assert all(0 <= found - added <= 1 for found, added in zip(there, told, strict=True))
    assert states == ["live"] * kill_writer.LANES
    filler.unlink()
    assert [found.rows for found in recover(folder)] == there
    assert kill_writer.check_with_h5py(folder) == (there, ["sealed"] * kill_writer.LANES)


def test_the_command_ends_with_one_line_and_74(small_disk: Path) -> None:
    arguments = ["collect", "CartPole-v1", "-o", str(small_disk / "replay"), "--steps", "100000", "--frames", "--set", "collect.shard_mb=5"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", "dreamctl", *arguments], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 74, done.stderr
    assert "Traceback" not in done.stderr
    assert "cannot write (No space left on device); free some space or choose another --out" in done.stderr.splitlines()[-1]
    assert open_replay([small_disk / "replay"]).env_steps > 5
