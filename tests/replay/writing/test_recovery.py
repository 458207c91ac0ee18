"""What a writer that died left is cut at the last row that can be trusted, sealed, and told; what is being written is left alone."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from gymnasium.spaces import Box

from dreamctl.core.locks import sole_writer
from dreamctl.core.spaces import spec_to_json
from dreamctl.replay.reader import open_replay
from dreamctl.replay.shards import origin
from dreamctl.replay.shards.header import read_header
from dreamctl.replay.shards.live import OpenEpisode
from dreamctl.replay.writer import ReplayWriter
from dreamctl.replay.writing import recovery
from dreamctl.replay.writing.recovery import Recovered, recover
from tests.replay.live_rows import STREAM, live_shard
from tests.replay.rows import SPEC, episode_rows, stream_rows, write


def table(path: Path) -> dict[str, list[int]]:
    with h5py.File(path) as file:
        return {
            name: file[f"episodes/{name}"][:].tolist() for name in ("start", "length", "id", "segment", "seed", "complete", "terminated")
        }


def actions(path: Path) -> list[int]:
    with h5py.File(path) as file:
        return file["steps/action"][:].tolist()


def test_a_cut_episode_is_sealed_as_incomplete_with_its_last_action_zero(tmp_path: Path) -> None:
    shard = live_shard(tmp_path, [*episode_rows(0, 4), *episode_rows(1, 5, ended=False)])
    (found,) = recover(tmp_path)
    assert found == Recovered(shard.path, 9)
    assert str(found) == f"{shard.path}: its writer died; sealed 9 rows"
    assert read_header(shard.path).state == "sealed"
    assert actions(shard.path) == [1, 2, 3, 0, 1, 2, 3, 4, 0]
    wanted = {
        "start": [0, 4],
        "length": [4, 5],
        "id": [0, 1],
        "segment": [0, 0],
        "seed": [100, 101],
        "complete": [1, 0],
        "terminated": [1, 0],
    }
    assert table(shard.path) == wanted
    assert recover(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == [shard.path.name]


def test_it_is_what_closing_would_have_made(tmp_path: Path) -> None:
    rows = [*episode_rows(0, 3), *episode_rows(1, 2, ended=False), *episode_rows(2, 4, ended=False), *episode_rows(3, 1, ended=False)]
    live_shard(tmp_path / "died", rows)
    recover(tmp_path / "died")
    closed = write(tmp_path / "closed", rows)
    assert open_replay([tmp_path / "died"]).content_hash() == open_replay([closed]).content_hash()


def test_a_reset_that_no_action_followed_is_dropped_and_a_shard_of_nothing_else_is_removed_and_told(tmp_path: Path) -> None:
    first = live_shard(tmp_path, [*episode_rows(0, 3), *episode_rows(1, 1, ended=False)])
    assert [found.rows for found in recover(tmp_path)] == [3]
    second = live_shard(tmp_path, episode_rows(1, 1, ended=False), seq=1, first_row=3, before=OpenEpisode(0, 0, 100))
    third = live_shard(tmp_path, [], seq=2, first_row=4)
    told = [str(found) for found in recover(tmp_path)]
    assert told == [f"{path}: its writer died; removed, it held no step" for path in (third.path, second.path)]
    assert list(tmp_path.iterdir()) == [first.path]


def test_a_full_shard_that_another_one_follows_keeps_its_last_action(tmp_path: Path) -> None:
    rows = episode_rows(0, 7, ended=False)
    first = live_shard(tmp_path, rows[:4])
    second = live_shard(tmp_path, rows[4:], seq=1, first_row=4, before=first.open_episode)
    assert [found.rows for found in recover(tmp_path)] == [3, 4]
    assert (actions(first.path), actions(second.path)) == ([1, 2, 3, 4], [1, 2, 0])
    assert [(t["id"], t["segment"], t["seed"], t["complete"]) for t in (table(first.path), table(second.path))] == [
        ([0], [0], [100], [0]),
        ([0], [1], [100], [0]),
    ]
    (info,) = open_replay([tmp_path]).episodes()
    assert (info.length, info.segments, info.complete) == (7, 2, False)


def test_after_a_restart_only_durable_rows_are_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "boot_id", lambda: "before the restart")
    monkeypatch.setattr(recovery, "boot_id", lambda: "after it")
    shard = live_shard(tmp_path, [*episode_rows(0, 4), *episode_rows(1, 5)], durable=6)
    behind = live_shard(tmp_path, episode_rows(2, 3), seq=1, first_row=9)
    with h5py.File(shard.path, "r+") as file:
        file["steps/reward"][6:] = np.nan  # whatever the disk had there
        file["episodes/length"][1] = 1_000_000
    told = [str(found) for found in recover(tmp_path)]
    assert told == [
        f"{behind.path}: its writer died; removed, it held no step, 3 rows were not on disk when the machine went down",
        f"{shard.path}: its writer died; sealed 6 rows, 3 rows were not on disk when the machine went down",
    ]
    assert [(info.length, info.complete) for info in open_replay([tmp_path]).episodes()] == [(4, True), (2, False)]


def test_shards_of_a_writer_at_work_are_left_alone(tmp_path: Path) -> None:
    with ReplayWriter(tmp_path, SPEC, lanes=2, seed=0, append=True) as writer:
        for row in episode_rows(0, 3):
            writer.add(row)
        (tmp_path / f".{writer.collector}-e0-000007.h5.tmp").touch()
        assert recover(tmp_path) == []
        assert {read_header(path).state for path in tmp_path.glob("*.h5")} == {"live"}
        assert len(list(tmp_path.glob(".*.tmp"))) == 1
        writer.add(episode_rows(1, 2)[0])
    assert {read_header(path).state for path in tmp_path.glob("*.h5")} == {"sealed"}


OTHER = """
import sys
from dataclasses import replace
from pathlib import Path
from dreamctl.core.locks import try_lock
lock = try_lock(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def test_shards_that_another_process_writes_are_left_alone_until_it_is_gone(tmp_path: Path) -> None:
    shard = live_shard(tmp_path, episode_rows(0, 3))
    unfinished = tmp_path / f".{STREAM}-000001.h5.tmp"
    unfinished.write_bytes(b"half")
    lock = tmp_path / f".{STREAM}.lock"
    other = subprocess.Popen([sys.executable, "-c", OTHER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    other.stdout.readline()
    assert recover(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == {shard.path.name, unfinished.name, lock.name}
    other.kill()
    other.communicate()
    told = [str(found) for found in recover(tmp_path)]
    assert told == [
        f"{unfinished}: removed, an unfinished file of a writer that died",
        f"{shard.path}: its writer died; sealed 3 rows",
    ]
    assert [path.name for path in tmp_path.iterdir()] == [shard.path.name]


def test_a_damaged_live_shard_stays_as_it_is_and_is_told(tmp_path: Path) -> None:
    shard = live_shard(tmp_path, stream_rows([3, 4]))
    with h5py.File(shard.path, "r+") as file:
        file["commit"][0] = 1000
    before = shard.path.read_bytes()
    (found,) = recover(tmp_path)
    assert "was not recovered" in str(found)
    assert "\n" not in str(found)
    assert shard.path.read_bytes() == before


def test_files_that_are_none_of_ours_are_left_alone(tmp_path: Path) -> None:
    names = (".hidden.h5.tmp", "notes.txt", ".one.lock", "other.h5")
    for name in names:
        (tmp_path / name).write_bytes(b"mine")
    assert recover(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == set(names)
    assert recover(tmp_path / "nowhere") == []


def test_whoever_appends_seals_first_what_a_crash_left(tmp_path: Path) -> None:
    live_shard(tmp_path, episode_rows(0, 5, ended=False))
    write(tmp_path, stream_rows([4]), append=True)
    assert {read_header(path).state for path in tmp_path.glob("*.h5")} == {"sealed"}
    assert sorted(info.length for info in open_replay([tmp_path]).episodes()) == [4, 5]


def test_a_lock_beside_the_folder_is_not_one_of_a_stream(tmp_path: Path) -> None:
    with sole_writer(tmp_path / "run"):
        assert recover(tmp_path) == []
        assert (tmp_path / ".run.lock").exists()


@pytest.mark.parametrize("attribute", ["link", "array"])
def test_recovery_copies_nothing_that_a_writer_does_not_write(tmp_path: Path, attribute: str) -> None:
    shard = live_shard(tmp_path, stream_rows([3, 4]))
    with h5py.File(tmp_path / "secret", "w") as file:
        file["secret"] = np.arange(4, dtype=np.uint8)
    with h5py.File(shard.path, "r+") as file:
        if attribute == "link":
            file["meta"] = h5py.ExternalLink(str(tmp_path / "secret"), "/")
        else:
            file.attrs["more"] = np.arange(3.0)
    (found,) = recover(tmp_path)
    assert "was not recovered, damaged root attributes" in str(found)
    assert read_header(shard.path).state == "live"


def test_long_attributes_stay_in_their_datasets(tmp_path: Path) -> None:
    wide = Box(0, 1, (9000,), np.float32)
    spec = replace(SPEC, observation={**SPEC.observation, "wide": wide})
    rows = [replace(row, observation={**row.observation, "wide": np.zeros(9000, np.float32)}) for row in stream_rows([4])]
    path = next(write(tmp_path, rows, spec=spec, append=True).glob("*.h5"))
    assert spec_to_json(read_header(path).spec) == spec_to_json(spec)
    with h5py.File(path) as file:
        assert "observation_space" in file["meta"]
