"""What is no replay, or contradicts itself, is refused in one line; several replays are read together."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from gymnasium.spaces import Box

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Row
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.replay.streams.holdout import held_out
from dreamctl.replay.writer import write_episodes
from tests.replay.rows import BOX_SPEC, SPEC, dream, episode_rows, stream_rows, write

OBSERVATION = "/steps/observation/observation"


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return next(write(tmp_path / "replay", stream_rows([5, 4])).glob("*.h5"))


def refusal(*paths: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_replay(paths)
    assert caught.value.code == 3
    assert "\n" not in str(caught.value)
    return str(caught.value)


def attribute(path: Path, name: str, value: str | int) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs[name] = np.bytes_(value) if isinstance(value, str) else value


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no").endswith("no: cannot read (No such file or directory); `dreamctl collect` writes replays")


def test_a_text_file_an_empty_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.h5").write_text("hello, this is text")
    (tmp_path / "nothing.h5").touch()
    (tmp_path / "folder").mkdir()
    assert "notes.h5: not HDF5; a replay is needed here" in refusal(tmp_path / "notes.h5")
    assert "nothing.h5: not HDF5" in refusal(tmp_path / "nothing.h5")
    assert "folder: holds no shards" in refusal(tmp_path / "folder")


def test_newer_major_versions_are_refused_and_newer_minor_ones_read(shard: Path) -> None:
    attribute(shard, "format_version", "1.7")
    assert open_replay([shard]).rows == 9
    attribute(shard, "format_version", "2.0")
    assert refusal(shard).endswith("format version 2.0, this dreamctl reads 1.x; upgrade dreamctl")


def test_wide_vectors_are_looked_at_too(tmp_path: Path) -> None:
    spec = replace(SPEC, observation={"observation": Box(-np.inf, np.inf, (100,), np.float32)})
    rows = [replace(row, observation={"observation": np.full(100, row.reward, np.float32)}) for row in stream_rows([5, 4])]
    rows[6].observation["observation"][70] = np.nan
    path = write(tmp_path / "replay", rows, spec=spec)
    with pytest.raises(InputError, match=r"/steps/observation/observation row 6 is .*, wanted finite numbers"):
        WindowSampler(open_replay([path]), ReplayConfig(batch_size=1, batch_length=9), seed=0).sample(0)


def test_a_missing_middle_shard_and_a_copy_are_refused_and_a_missing_first_is_not(tmp_path: Path) -> None:
    folder = write(tmp_path / "replay", episode_rows(0, 12), shard_rows=4)
    first, second, third = sorted(folder.glob("*.h5"))
    content = second.read_bytes()
    second.unlink()
    assert refusal(folder) == f"{third}: does not go on where {first} ends; bring back the shards in between"
    second.write_bytes(content)
    (folder / "copy.h5").write_bytes(content)
    assert "is the same piece of its stream as" in refusal(folder)
    (folder / "copy.h5").unlink()
    first.unlink()
    replay = open_replay([folder])
    assert (replay.rows, replay.env_steps, replay.episodes()[0].length) == (8, 8, 8)


def test_several_replays_are_read_together_in_the_order_given(tmp_path: Path) -> None:
    one = write(tmp_path / "one", stream_rows([4, 4]))
    two = write(tmp_path / "two.h5", stream_rows([6]))
    replay = open_replay([two, one])
    assert [info.length for info in replay.episodes()] == [6, 4, 4]
    assert replay.rows == 14
    assert len(replay.streams) == 2
    assert [record.rows for record in replay.files] == [6, 8]
    assert replay.name == f"{two}, {one}"
    assert "is given twice" in refusal(one, one)


def test_one_shard_under_several_names_is_read_once(tmp_path: Path) -> None:
    one, copy = write(tmp_path / "one", stream_rows([4, 4])), tmp_path / "copy"
    shutil.copytree(one, copy)
    (linked := tmp_path / "linked").symlink_to(one)
    (named := tmp_path / "named").mkdir()
    (path,) = one.glob("*.h5")
    (named / path.name).hardlink_to(path)
    assert open_replay([one, copy]).rows == 16
    for other in (linked / path.name, named / path.name):
        assert refusal(one, other.parent) == f"{other}: is given twice, also as {path}; name it once"
    assert refusal(one, path) == f"{path}: is given twice; name it once"


def test_an_episode_is_loaded_without_a_look_at_what_else_each_file_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replay = open_replay([write(tmp_path / "replay", stream_rows([4, 4]))])
    monkeypatch.setattr(Replay, "extras", property(lambda _: pytest.fail("there may be very many files")))
    assert len(replay.load(replay.episodes()[1])) == 4


def test_replays_of_several_tasks_are_refused_by_their_difference(tmp_path: Path) -> None:
    one = write(tmp_path / "one", stream_rows([4]))
    other = replace(SPEC, task="Other-v0")
    two = write(tmp_path / "two", stream_rows([4]), spec=other)
    assert "task is 'Other-v0', wanted 'Toy-v0' as in" in refusal(one, two)
    row = Row(0, {"arm/angle": np.zeros(2), "goal": np.zeros(())}, np.zeros(2), 0, True, False, False)
    three = write(tmp_path / "three", [row, replace(row, is_first=False, terminated=True)], spec=BOX_SPEC)
    assert "task is 'Arm-v0'" in refusal(one, three)


def test_hidden_files_and_other_suffixes_are_ignored(tmp_path: Path) -> None:
    folder = write(tmp_path / "replay", stream_rows([4]))
    (folder / ".abc-000000.h5.tmp").write_text("half")
    (folder / ".hidden.h5").write_text("half")
    (folder / "notes.txt").write_text("mine")
    assert open_replay([folder]).rows == 4


def test_summary_counts_and_is_plain_json(tmp_path: Path) -> None:
    frames = np.zeros((5, 2, 2, 3), np.uint8)
    rows = [*episode_rows(0, 5, extra={"frame": frames}), *episode_rows(1, 3, extra={"frame": frames}, ended=False)]
    folder = write(tmp_path / "replay", rows, spec=replace(SPEC, action_repeat=4))
    found = json.loads(json.dumps(open_replay([folder]).summary.to_json()))
    assert found.pop("bytes") == sum(path.stat().st_size for path in folder.iterdir())
    assert found.pop("keys") == {
        "observation/observation": {"dtype": "<f4", "shape": [3]},
        "action": {"dtype": "<i8", "shape": []},
        "reward": {"dtype": "<f4", "shape": []},
        "is_first": {"dtype": "|b1", "shape": []},
        "terminated": {"dtype": "|b1", "shape": []},
        "truncated": {"dtype": "|b1", "shape": []},
        "extra/frame": {"dtype": "|u1", "shape": [2, 2, 3]},
    }
    assert found == {
        "env": "gym:Toy-v0",
        "kind": "env",
        "rows": 8,
        "env_steps": 6,
        "frames": 24,
        "episodes": 2,
        "complete": 1,
        "skipped": 0,
        "streams": 1,
        "files": 1,
        "return_min": 4.0,
        "return_mean": 4.0,
        "return_max": 4.0,
        "length_mean": 4.0,
        "decoded_bytes": 8 * (12 + 8 + 4 + 3 + 12),
    }


def test_holdout_keeps_its_episodes_as_the_replay_grows(tmp_path: Path) -> None:
    folder = write(tmp_path / "replay", stream_rows([4] * 40))
    _, before = open_replay([folder]).split(0.25)
    write(folder, stream_rows([4] * 40), append=True)
    train, after = open_replay([folder]).split(0.25)
    keys = {info.key for info in before.episodes()}
    assert keys
    assert keys <= {info.key for info in after.episodes()}
    assert 10 <= len(after.episodes()) <= 30
    assert not {info.key for info in train.episodes()} & {info.key for info in after.episodes()}
    assert len(train.episodes()) + len(after.episodes()) == 80


def test_split_keeps_episodes_whole_and_back_to_back(tmp_path: Path) -> None:
    replay = open_replay([write(tmp_path / "replay", stream_rows([4, 5, 6, 3] * 5), shard_rows=7)])
    train, holdout = replay.split(0.3)
    whole = {info.key: replay.load(info).observation["observation"].tolist() for info in replay.episodes()}
    for side in (train, holdout):
        assert len(side.streams) == 1
        assert side.rows == sum(info.length for info in side.episodes())
        assert all(side.load(info).observation["observation"].tolist() == whole[info.key] for info in side.episodes())
    assert train.rows + holdout.rows == replay.rows


def test_what_is_left_of_a_held_out_episode_does_not_go_on_from_another_ones_end() -> None:
    replay = Replay.empty(SPEC, 2)
    for lane in range(2):
        for row in stream_rows([6] * 40, lane):
            replay.add(row)
        replay.lane(lane).drop(2)
    (held,) = replay.split(0.9)[1].streams
    assert 4 in [info.length for info in held.episodes(0)[1:]]
    assert held.columns["is_first"][[info.start for info in held.episodes(0)[1:]]].all()


def test_split_of_nothing_gives_the_replay_itself() -> None:
    replay = Replay.empty(SPEC, 1)
    assert replay.split(0.0)[0] is replay
    assert replay.split(0.0)[1].rows == 0


def test_a_lone_episode_is_never_held_out(tmp_path: Path) -> None:
    replay = open_replay([write(tmp_path / "replay", stream_rows([40]))])
    train, holdout = replay.split(0.999999)
    assert (train.rows, holdout.rows) == (40, 0)


def test_held_out_share_is_about_what_was_asked() -> None:
    share = np.mean([held_out(f"0123abcd-e0/{number}", 0.1) for number in range(5000)])
    assert 0.08 < share < 0.12


def test_rows_added_in_memory_are_the_rows_a_file_would_hold(tmp_path: Path) -> None:
    rows = [row for pair in zip(stream_rows([4, 4], 0), stream_rows([5, 3], 1), strict=True) for row in pair]
    memory = Replay.empty(SPEC, 2, "0123abcd")
    for row in rows:
        memory.add(row)
    stored = open_replay([write(tmp_path / "replay", rows, lanes=2)])
    assert [stream.name for stream in memory.streams] == ["0123abcd-e0", "0123abcd-e1"]
    for one, two in zip(memory.streams, stored.streams, strict=True):
        assert all(np.array_equal(column, two.columns[name]) for name, column in one.columns.items())
    facts = ("start", "length", "id", "seed", "complete", "episode_return", "terminated", "truncated")
    for one, two in zip(memory.episodes(), stored.episodes(), strict=True):
        assert [getattr(one, name) for name in facts] == [getattr(two, name) for name in facts]


def test_rows_added_to_an_opened_replay_are_streams_of_their_own(tmp_path: Path) -> None:
    replay = open_replay([write(tmp_path / "replay", stream_rows([4]))])
    for row in episode_rows(7, 3000, ended=False):
        replay.add(row)
    assert [len(stream) for stream in replay.streams] == [4, 3000]
    assert replay.env_steps == 3 + 2999
    assert not replay.episodes()[-1].complete
    assert replay.load(replay.episodes()[-1]).seed == 107


def test_some_rows_of_an_episode_are_those_of_the_whole(tmp_path: Path) -> None:
    columns = {"value": np.arange(9.0), "frame": np.arange(9 * 300).reshape(9, 10, 30)}
    rows = [*episode_rows(0, 5, extra=columns), *episode_rows(1, 9, extra=columns)]
    replay = open_replay([write(tmp_path / "replay", rows, shard_rows=4)])
    info = replay.episodes()[1]
    whole = replay.load(info, ("value", "frame"))
    for first, last in [(0, 9), (0, 3), (2, 8), (7, 9)]:
        part = replay.load(info, ("value", "frame"), rows=(first, last))
        assert (part.observation["observation"] == whole.observation["observation"][first:last]).all()
        assert part.action.tolist() == whole.action[first:last].tolist()
        assert (part.terminated.tolist(), part.complete) == (whole.terminated[first:last].tolist(), last == 9)
        assert all((part.extra[name] == whole.extra[name][first:last]).all() for name in columns)


def test_an_episode_names_the_file_and_row_where_a_dream_starts(tmp_path: Path) -> None:
    replay = open_replay([write(tmp_path / "replay", stream_rows([5, 9]), shard_rows=4)])
    info = replay.episodes()[1]
    shard, row = replay.locate(info, 4)
    with h5py.File(replay.files[shard].path) as file:
        assert file[OBSERVATION][row].tolist() == [0, 1, 4]


def test_dreams_and_real_rows_together_count_as_dreams(tmp_path: Path) -> None:
    write_episodes(tmp_path / "dreams.h5", SPEC, [dream()], kind="imagined", parent={})
    real = write(tmp_path / "replay", stream_rows([4]))
    assert open_replay([real, tmp_path / "dreams.h5"]).kind == "imagined"
