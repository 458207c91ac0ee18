"""What is added is what is read, whatever is sealed in between."""

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from dreamctl.core.errors import InputError, OutputError, UsageError
from dreamctl.core.experience import Episode, TaskSpec
from dreamctl.replay.editing.selection import exact_spaces
from dreamctl.replay.folder import places
from dreamctl.replay.reader import open_replay
from dreamctl.replay.shards.facts import read_facts
from dreamctl.replay.shards.origin import Origin
from dreamctl.replay.writer import ReplayWriter, write_episodes
from tests.replay.rows import BOX_SPEC, SPEC, dream, episode_rows, stream_rows, write


def same(one: Episode, two: Episode) -> bool:
    names = ("action", "reward", "is_first", "terminated", "truncated")
    alike = [np.array_equal(getattr(one, name), getattr(two, name)) for name in names]
    return all(alike) and all(np.array_equal(column, two.observation[name]) for name, column in one.observation.items())


@pytest.mark.parametrize("shard_rows", [2, 3, 7, 256])
def test_episodes_come_back_however_they_were_cut_into_shards(tmp_path: Path, shard_rows: int) -> None:
    lengths = [5, 2, 9, 4]
    replay = open_replay([write(tmp_path / "replay", stream_rows(lengths), shard_rows=shard_rows)])
    infos = replay.episodes()
    assert [info.length for info in infos] == lengths
    assert [info.id for info in infos] == [0, 1, 2, 3]
    assert [info.seed for info in infos] == [100, 101, 102, 103]
    assert all(info.complete for info in infos)
    assert [info.episode_return for info in infos] == [4, 1, 8, 3]
    for number, info in enumerate(infos):
        assert same(replay.load(info), Episode.from_rows(episode_rows(number, lengths[number])))


def test_a_shard_ends_inside_an_episode_and_the_next_goes_on_with_its_next_segment(tmp_path: Path) -> None:
    folder = write(tmp_path / "replay", episode_rows(0, 10), shard_rows=4)
    tables = []
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as file:
            names = ("id", "segment", "length", "complete", "seed")
            tables.append((int(file.attrs["first_row"]), *(int(file[f"/episodes/{name}"][0]) for name in names)))
    assert tables == [(0, 0, 0, 4, 0, 100), (4, 0, 1, 4, 0, 100), (8, 0, 2, 2, 1, 100)]
    assert open_replay([folder]).episodes()[0].segments == 3


def test_each_lane_is_a_stream_of_its_own(tmp_path: Path) -> None:
    rows = [row for pair in zip(stream_rows([4, 4], 0), stream_rows([8], 1), strict=True) for row in pair]
    replay = open_replay([write(tmp_path / "replay", rows, lanes=2, shard_rows=3)])
    assert [stream.name[-3:] for stream in replay.streams] == ["-e0", "-e1"]
    assert [info.length for info in replay.episodes()] == [4, 4, 8]
    assert replay.env_steps == 3 + 3 + 7
    assert (replay.streams[1].columns["observation/observation"][:, 0] == 1).all()


def test_an_episode_cut_by_closing_is_incomplete_and_its_last_action_is_zero(tmp_path: Path) -> None:
    replay = open_replay([write(tmp_path / "replay", episode_rows(0, 5, ended=False))])
    info = replay.episodes()[0]
    assert (info.complete, info.terminated, info.truncated) == (False, False, False)
    assert replay.load(info).action.tolist() == [1, 2, 3, 4, 0]


def test_an_episode_cut_by_the_next_one_is_incomplete_too(tmp_path: Path) -> None:
    rows = [*episode_rows(0, 3, ended=False), *episode_rows(1, 4)]
    replay = open_replay([write(tmp_path / "replay", rows)])
    assert [info.complete for info in replay.episodes()] == [False, True]
    assert replay.streams[0].columns["action"].tolist() == [1, 2, 0, 1, 2, 3, 0]


def test_a_lone_reset_at_the_end_is_dropped_and_in_between_is_skipped(tmp_path: Path) -> None:
    rows = [*episode_rows(0, 3), *episode_rows(1, 1, ended=False), *episode_rows(2, 3), *episode_rows(3, 1, ended=False)]
    replay = open_replay([write(tmp_path / "replay", rows)])
    assert (len(replay.episodes()), replay.summary.skipped, replay.rows, replay.env_steps) == (2, 1, 7, 4)


def test_a_writer_without_rows_leaves_no_file(tmp_path: Path) -> None:
    write(tmp_path / "replay", [])
    write(tmp_path / "one.h5", [])
    assert list((tmp_path / "replay").iterdir()) == []
    assert not (tmp_path / "one.h5").exists()
    assert not (tmp_path / "one.h5.parts").exists()


def test_extra_columns_are_read_when_asked_for_across_segments(tmp_path: Path) -> None:
    frames = np.arange(9 * 4 * 6 * 3, dtype=np.uint8).reshape(9, 4, 6, 3)
    replay = open_replay([write(tmp_path / "replay", episode_rows(0, 9, extra={"frame": frames}), shard_rows=4)])
    assert replay.extra_names == ("frame",)
    assert "extra/frame" not in replay.streams[0].columns
    info = replay.episodes()[0]
    assert np.array_equal(replay.load(info, ["frame"]).extra["frame"], frames)
    assert replay.load(info).extra == {}
    with pytest.raises(InputError, match="has no /steps/extra/value"):
        replay.load(info, ["value"])


def test_one_file_holds_all_lanes_joined_and_leaves_no_parts(tmp_path: Path) -> None:
    frames = np.arange(8 * 2 * 2 * 3, dtype=np.uint8).reshape(8, 2, 2, 3)
    lanes = [episode_rows(lane, 8, lane=lane, extra={"frame": frames + lane}, ended=lane == 0) for lane in range(2)]
    path = write(tmp_path / "one.h5", [row for pair in zip(*lanes, strict=True) for row in pair], lanes=2, shard_rows=3)
    replay = open_replay([path])
    assert [file.name for file in tmp_path.iterdir()] == ["one.h5"]
    assert len(replay.streams) == 1
    infos = replay.episodes()
    assert [(info.id, info.segments, info.complete, info.length) for info in infos] == [(0, 1, True, 8), (1, 1, False, 8)]
    assert np.array_equal(replay.load(infos[1], ["frame"]).extra["frame"], frames + 1)
    assert replay.load(infos[1]).action[-1] == 0


def test_a_paused_single_file_stays_in_its_parts_until_a_later_writer_closes_it(tmp_path: Path) -> None:
    path = tmp_path / "one.h5"
    first = ReplayWriter(path, SPEC, lanes=1, seed=0)
    for row in episode_rows(0, 4):
        first.add(row)
    first.pause()
    with pytest.raises(InputError, match=r"one\.h5: was never finished; finish it with --resume"):
        open_replay([path])
    with pytest.raises(UsageError, match=r"one\.h5: was never finished, its rows are in .*one\.h5\.parts; add --resume or --overwrite"):
        write(path, episode_rows(0, 5))
    write(path, episode_rows(0, 5), append=True)
    assert sorted(info.length for info in open_replay([path]).episodes()) == [4, 5]


def test_an_exception_leaves_a_readable_folder(tmp_path: Path) -> None:
    def collect() -> None:
        with ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0) as writer:
            for row in episode_rows(0, 6, ended=False):
                writer.add(row)
            raise KeyError

    with pytest.raises(KeyError):
        collect()
    assert open_replay([tmp_path / "replay"]).rows == 6


def test_one_file_that_is_finished_takes_no_more(tmp_path: Path) -> None:
    path = write(tmp_path / "one.h5", stream_rows([4, 6]))
    with pytest.raises(UsageError, match=r"one\.h5: is one finished file, which nothing is added to; collect into a folder"):
        write(path, stream_rows([5]), append=True)
    write(path, stream_rows([3]))
    assert [info.length for info in open_replay([path]).episodes()] == [3]
    assert places(path) == [path]


def test_parts_that_are_in_the_file_already_are_not_taken_twice(tmp_path: Path) -> None:
    path = tmp_path / "one.h5"
    writer = ReplayWriter(path, SPEC, lanes=1, seed=0)
    for row in stream_rows([4]):
        writer.add(row)
    writer.pause()
    shutil.copytree(tmp_path / "one.h5.parts", tmp_path / "kept")
    writer.close()
    shutil.copytree(tmp_path / "kept", tmp_path / "one.h5.parts")
    assert places(path) == [path, tmp_path / "one.h5.parts"]
    with pytest.raises(UsageError, match="is one finished file"):
        write(path, stream_rows([5]), append=True)
    assert places(path) == [path]
    assert [info.length for info in open_replay([path]).episodes()] == [4]
    shutil.move(tmp_path / "kept", tmp_path / ".one.h5.parts.tmp")
    with pytest.raises(UsageError, match="is one finished file"):
        write(path, [], append=True)
    assert [file.name for file in tmp_path.iterdir()] == ["one.h5"]


def test_a_discrete_space_of_another_width_can_be_appended_to(tmp_path: Path) -> None:
    spec = replace(SPEC, action=Discrete(5, dtype=np.int32))
    folder = write(tmp_path / "replay", stream_rows([4]), spec=spec)
    assert open_replay([write(folder, stream_rows([4]), spec=spec, append=True)]).rows == 8


def test_appending_adds_streams_and_needs_to_be_asked_for(tmp_path: Path) -> None:
    folder = write(tmp_path / "replay", stream_rows([4]))
    with pytest.raises(UsageError, match=r"holds shards already \(1\); add --append or --overwrite"):
        write(folder, stream_rows([4]))
    write(folder, stream_rows([5]), append=True)
    replay = open_replay([folder])
    assert len({stream.name for stream in replay.streams}) == 2
    assert sorted(info.length for info in replay.episodes()) == [4, 5]


def test_two_writers_of_one_folder_never_meet(tmp_path: Path) -> None:
    with (
        ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0, append=True) as one,
        ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0, append=True) as two,
    ):
        for a, b in zip(episode_rows(0, 4), episode_rows(1, 4), strict=True):
            one.add(a)
            two.add(b)
    assert one.collector != two.collector
    assert open_replay([tmp_path / "replay"]).rows == 8
    assert [path.name for path in (tmp_path / "replay").iterdir() if path.name.startswith(".")] == []


def test_the_same_command_names_its_streams_alike(tmp_path: Path) -> None:
    one, two = (open_replay([write(tmp_path / name, stream_rows([4]))]) for name in ("a", "b"))
    assert one.streams[0].name == two.streams[0].name
    assert open_replay([write(tmp_path / "c", stream_rows([4]), seed=1)]).streams[0].name != one.streams[0].name


def test_appending_another_task_or_other_columns_is_refused_with_the_difference(tmp_path: Path) -> None:
    folder = write(tmp_path / "replay", stream_rows([4]))
    with pytest.raises(
        InputError, match=r"cannot append, task is 'Arm-v0', wanted 'Toy-v0'.*; /steps/action is <f4 .*/steps/observation/arm/angle is "
    ):
        ReplayWriter(folder, BOX_SPEC, lanes=1, seed=0, append=True)
    with pytest.raises(InputError, match=r"cannot append, /steps/extra/frame is \|u1 \(2, 2, 3\), wanted absent"):
        write(folder, episode_rows(0, 4, extra={"frame": np.zeros((4, 2, 2, 3), np.uint8)}), append=True)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make this folder"):
        ReplayWriter(tmp_path / "file" / "replay", SPEC, lanes=1, seed=0)


def test_dreams_come_back_with_context_source_truth_and_extra(tmp_path: Path) -> None:
    write_episodes(tmp_path / "dreams.h5", SPEC, [dream(), dream(8)], kind="imagined", parent={"horizon": 4})
    replay = open_replay([tmp_path / "dreams.h5"])
    info = replay.episodes()[1]
    episode = replay.load(info, ["value", "continue_prob"], truth=True)
    assert (replay.kind, info.context, info.source_shard, info.source_row, info.id) == ("imagined", 2, 1, 7, 1)
    assert (len(episode), episode.context, episode.source_row, episode.extra["value"].dtype) == (8, 2, 7, np.float16)
    assert episode.truth_valid is not None
    assert episode.truth_valid.sum() == 4
    assert episode.action[-1] == 0
    assert np.array_equal(episode.truth["observation"], dream(8).truth["observation"])
    assert replay.load(info).truth == {}


def test_evaluation_episodes_are_a_replay_of_kind_env(tmp_path: Path) -> None:
    episodes = [Episode.from_rows(episode_rows(number, 4 + number)) for number in range(3)]
    write_episodes(tmp_path / "eval.h5", SPEC, episodes, kind="env", parent={}, policy={"path": "agent.ckpt", "sha256": "0", "step": 1})
    replay = open_replay([tmp_path / "eval.h5"])
    assert replay.kind == "env"
    assert all(same(replay.load(info), episodes[info.id]) for info in replay.episodes())


@pytest.mark.parametrize("side", [64, 480])
def test_pictures_whose_bounds_are_too_long_to_state_one_by_one_are_read_back(tmp_path: Path, side: int) -> None:
    spec = TaskSpec({"observation": Box(0, 255, (side, side, 3), np.uint8)}, Discrete(5), "gym", "Toy-v0")
    rows = [replace(row, observation={"observation": np.full((side, side, 3), n, np.uint8)}) for n, row in enumerate(episode_rows(0, 4))]
    folder = write(tmp_path / "replay", rows, spec=spec, shard_mb=1)
    (stream,) = open_replay([folder]).streams
    assert stream.column("observation/observation", 0, 4)[:, side // 2, 0, 2].tolist() == [0, 1, 2, 3]
    path = sorted(folder.glob("*.h5"))[0]
    assert exact_spaces(path).keys() == ({"action_space"} if side == 480 else {"action_space", "observation_space"})


@pytest.mark.parametrize(
    ("side", "extra", "told"), [(2500, 1, "18750000 bytes a step, more than 16 MiB"), (8, 2500, "is larger than 16 MiB")]
)
def test_rows_that_no_reader_takes_are_refused_before_the_first_is_written(tmp_path: Path, side: int, extra: int, told: str) -> None:
    spec = TaskSpec({"observation": Box(0, 255, (side, side, 3), np.uint8)}, Discrete(5), "gym", "Toy-v0")
    (row,) = episode_rows(0, 1, extra={"frame": np.zeros((1, extra, extra, 3), np.uint8)})
    row = replace(row, observation={"observation": np.zeros((side, side, 3), np.uint8)})
    with pytest.raises(InputError, match=told):
        write(tmp_path / "replay", [row], spec=spec)
    assert not list((tmp_path / "replay").iterdir())


def test_one_file_names_every_policy_that_acted_and_the_seed_of_its_stream(tmp_path: Path) -> None:
    path = tmp_path / "one.h5"
    agent = {"path": "agent.ckpt", "sha256": "0" * 64}
    first = ReplayWriter(path, SPEC, lanes=1, seed=7, policy=agent)
    for row in episode_rows(0, 4):
        first.add(row)
    first.pause()
    write(path, episode_rows(1, 5), seed=8, append=True)
    replay, facts = open_replay([path]), read_facts(path)
    writers = {Origin(SPEC, "env", 7, agent).collector(): 7, Origin(SPEC, "env", 8).collector(): 8}
    assert facts.seed == writers[replay.streams[0].name.removesuffix("-e0")]
    assert isinstance(facts.policy, dict)
    assert facts.policy["kind"] == "several"
    assert sorted(map(str, facts.policy["policies"])) == sorted(map(str, [agent, "random"]))


def test_a_stranger_among_the_parts_is_told_and_kept(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path / "one.h5", SPEC, lanes=1, seed=0)
    for row in stream_rows([4]):
        writer.add(row)
    (tmp_path / "one.h5.parts" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"one\.h5\.parts\.tmp: cannot remove it \(Directory not empty\); its rows are in the one file"):
        writer.close()
    assert open_replay([tmp_path / "one.h5"]).rows == 4
    assert (tmp_path / ".one.h5.parts.tmp" / "notes.txt").read_text() == "mine"
