"""Repairing seals what a killed writer left, leaves what is being written alone, and never touches a damaged file."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dreamctl.core.errors import InputError, UsageError
from dreamctl.core.session import Session
from dreamctl.replay.figures.verify import present
from dreamctl.replay.reader import open_replay
from dreamctl.replay.writer import ReplayWriter
from dreamctl.stages import data_ls
from dreamctl.stages.data import info
from dreamctl.stages.data_ls import ls, ls_episodes
from dreamctl.stages.data_repair import RepairResult, repair
from dreamctl.stages.data_schema import schema
from dreamctl.stages.data_verify import verify_replays
from tests.replay.rows import SPEC, episode_rows, stream_rows, write

KILLED = """
import os, signal, sys
from pathlib import Path
from dreamctl.replay.writer import ReplayWriter
from tests.replay.rows import SPEC, episode_rows, stream_rows

writer = ReplayWriter(Path(sys.argv[1]), SPEC, lanes=1, seed=0)
for row in [*stream_rows([4, 3]), *episode_rows(2, 5, ended=False)]:
    writer.add(row)
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(path: Path) -> Path:
    """A replay whose writer was killed in the third episode."""
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, env={**os.environ, "PYTHONPATH": root})
    assert done.returncode == -signal.SIGKILL
    return path


def repaired(*paths: Path, target: Path | None = None) -> RepairResult:
    return repair(paths, target, Session())


def shards(replay: Path) -> list[Path]:
    return sorted(replay.glob("*.h5"))


def test_what_a_killed_writer_left_is_sealed(tmp_path: Path) -> None:
    replay = killed(tmp_path / "r")
    (replay / ".0123abcd-e0-000004.h5.tmp").write_text("half")
    (listed,) = ls([replay]).files
    assert (listed.state, listed.abandoned) == ("live", True)
    assert "  abandoned  " in ls([replay]).summary()
    assert "1 live shard, 1 open episode" in info([replay]).summary()
    assert [path.name[-3:] for path in verify_replays([replay], deep=False).found.abandoned] == [".h5", "tmp"]
    assert "its writer died" in verify_replays([replay], deep=False).summary()
    found = repaired(replay)
    assert found.left == 0
    assert sorted((it.rows, it.problem) for it in found.done if it.rows is not None) == [(12, "")]
    assert [path.name for path in replay.iterdir() if path.name.endswith(".tmp")] == []
    assert ls([replay]).files[0].state == "sealed"
    assert [(it.length, it.ending) for it in open_replay([replay]).episodes()] == [(4, "terminated"), (3, "truncated"), (5, "cut")]
    assert repaired(replay).done == []


def test_a_shard_that_goes_while_they_are_listed_is_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replay = write(tmp_path / "r", stream_rows([6]))
    (replay / "dangling.h5").symlink_to("nowhere")
    monkeypatch.setattr(data_ls, "present", lambda path: [*present(path), path / "gone.h5"])
    assert [(it.file.name, it.damage is None) for it in ls([replay]).files] == [(shards(replay)[0].name, True), ("dangling.h5", False)]


def test_a_folder_that_held_only_what_is_removed_is_no_error(tmp_path: Path) -> None:
    (tmp_path / ".0123abcd-e0-000000.h5.tmp").write_text("half")
    found = repaired(tmp_path)
    assert [it.rows for it in found.done] == [None]
    assert (found.found.files, found.left) == (0, 0)
    with pytest.raises(InputError, match="holds no shards"):
        repaired(tmp_path)


def test_a_shard_is_repaired_by_its_own_name(tmp_path: Path) -> None:
    (path,) = shards(killed(tmp_path / "r"))
    assert [it.rows for it in repaired(path).done] == [12]
    assert verify_replays([path], deep=True).found.live == 0


def test_the_folder_one_stands_in_is_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(killed(tmp_path / "r"))
    assert [it.rows for it in repaired(Path()).done] == [12]


def test_a_shard_without_a_step_is_removed_by_its_own_name(tmp_path: Path) -> None:
    code = KILLED.replace("[*stream_rows([4, 3]), *episode_rows(2, 5, ended=False)]", "episode_rows(0, 5)[:1]")
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "r")], check=False, env=env)
    (path,) = shards(tmp_path / "r")
    found = repaired(path)
    assert [it.rows for it in found.done] == [0]
    assert (path.exists(), found.found.files, found.left) == (False, 0, 0)


def test_what_is_being_written_is_left_to_its_writer(tmp_path: Path) -> None:
    with ReplayWriter(tmp_path / "r", SPEC, lanes=1, seed=0) as writer:
        for row in [*stream_rows([4, 3]), *episode_rows(2, 5, ended=False)]:
            writer.add(row)
        code = "import sys; from dreamctl.cli.app import main; sys.argv = ['dreamctl', 'data', 'repair', sys.argv[1]]; main()"
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "r")], check=False, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "1 file, 1 of them live, left to their writer, 12 rows in those that are whole\n")
        for row in episode_rows(2, 7)[5:]:
            writer.add(row)
    assert [it.length for it in open_replay([tmp_path / "r"]).episodes()] == [4, 3, 7]


def test_a_damaged_file_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    replay = write(tmp_path / "r", stream_rows([6, 9, 4]), shard_rows=4)
    shards(replay)[2].write_text("no shard")
    found = repaired(replay)
    assert found.left == 1
    assert "FAIL" in found.summary()
    assert shards(replay)[2].read_text() == "no shard"


def test_what_can_be_read_is_saved_to_a_new_file(tmp_path: Path) -> None:
    replay = write(tmp_path / "r", stream_rows([6, 9, 4]), shard_rows=4)
    shards(replay)[2].write_text("no shard")
    found = repaired(replay, target=tmp_path / "saved.h5")
    assert found.to_json()["saved"] == {"episodes": 3, "rows": 12, "lost": 3}
    assert found.summary().splitlines()[-1] == f"{tmp_path}/saved.h5: 12 rows in 3 episodes saved, 3 rows lost"
    assert open_replay([tmp_path / "saved.h5"]).rows == 12


def test_a_target_must_be_a_new_file_elsewhere(tmp_path: Path) -> None:
    replay = write(tmp_path / "r", stream_rows([6]))
    (tmp_path / "there.h5").touch()
    for target, told in (("saved", r"wanted a file NAME\.h5"), ("r/saved.h5", "lies in what is repaired"), ("there.h5", "exists")):
        with pytest.raises(UsageError, match=told):
            repaired(replay, target=tmp_path / target)
    with pytest.raises(InputError, match="cannot read"):
        repaired(tmp_path / "no.h5")


def test_the_parts_of_a_file_that_was_never_finished_are_repaired(tmp_path: Path) -> None:
    killed(tmp_path / "r.h5")
    found = repaired(tmp_path / "r.h5", target=tmp_path / "saved.h5")
    assert [it.rows for it in found.done] == [12]
    assert found.paths == [tmp_path / "r.h5.parts"]
    assert open_replay([tmp_path / "saved.h5"]).rows == 12


def test_a_live_shard_is_looked_at_like_any_other(tmp_path: Path) -> None:
    with ReplayWriter(tmp_path / "r", SPEC, lanes=2, seed=0, command=("dreamctl", "collect")) as writer:
        for row in [*stream_rows([4, 3]), *episode_rows(0, 5, lane=1, ended=False)]:
            writer.add(row)
        told = info([tmp_path / "r"])
        assert told.to_json()["live"] == 2
        assert told.to_json()["writers"][0]["pid"] == os.getpid()
        assert f"2 live shards, 1 open episode, written by pid {os.getpid()} on " in told.summary()
        assert told.to_json()["abandoned"] == []
        assert [episode.end for episode in ls_episodes([tmp_path / "r"]).episodes] == ["terminated", "truncated", "running"]
        assert not any(listed.abandoned for listed in ls([tmp_path / "r"]).files)
        assert [(listed.state, listed.rows, listed.episodes) for listed in ls([tmp_path / "r"]).files] == [("live", 7, 2), ("live", 5, 1)]
        found = verify_replays([tmp_path / "r"], deep=True).found
        assert (found.problems, found.live, found.rows, found.episodes) == ((), 2, 12, 3)
        (reward,) = [stored for stored in schema([tmp_path / "r"]).datasets if stored.path == "/steps/reward"]
        assert (reward.layout, reward.rows, reward.filters) == ("contiguous", 12, ())
        assert reward.capacity > 12


def test_what_stands_in_the_way_of_a_salvage_is_told_with_its_own_option(tmp_path: Path) -> None:
    there = write(tmp_path / "there.h5", stream_rows([3]))
    with pytest.raises(UsageError, match=r"there\.h5: exists; use --overwrite or another --salvage$"):
        repair([write(tmp_path / "replay", stream_rows([3]))], there, Session())
