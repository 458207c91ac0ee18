"""Choices, nested actions and images in a file: where they lie, that they are checked, what they cost."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from dreamctl.core.codec import ActionCodec
from dreamctl.core.errors import InputError
from dreamctl.core.experience import Row, TaskSpec
from dreamctl.core.spaces import flat_spaces
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.streams.stream import row_dtype
from dreamctl.replay.windows.starts import shift_actions
from tests.replay.rows import overwrite, write
from tests.spaces import GRID, sampled

ACTION = Dict({"arm": Tuple([Box(-1, 1, (2,), np.float32), GRID]), "grip": MultiBinary(3), "turn": Discrete(3, start=1)})
OBSERVATION = Dict({"eye": Box(0, 255, (8, 8), np.uint8), "mood": MultiDiscrete([2, 3], np.int32), "room": Discrete(4, start=-1)})
SPEC = TaskSpec(flat_spaces(OBSERVATION), ACTION, "any", "task")
STORED = {
    "/steps/observation/eye": ("|u1", (8, 8)),
    "/steps/observation/mood": ("<i4", (2,)),
    "/steps/observation/room": ("<i8", ()),
    "/steps/action/arm/_index_0": ("<f4", (2,)),
    "/steps/action/arm/_index_1": ("<i8", (2, 3)),
    "/steps/action/grip": ("|i1", (3,)),
    "/steps/action/turn": ("<i8", ()),
}


def rows(count: int = 9, length: int = 5) -> list[Row]:
    actions = sampled(ACTION, count)
    OBSERVATION.seed(0)
    ends = [t % length == length - 1 for t in range(count)]
    actions[ends] = 0
    return [Row(0, OBSERVATION.sample(), actions[t], float(t), t % length == 0, terminated=ends[t], truncated=False) for t in range(count)]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return next(write(tmp_path / "replay", rows(), spec=SPEC).glob("*.h5"))


def test_every_leaf_is_a_dataset_of_the_documented_type(shard: Path) -> None:
    with h5py.File(shard) as file:
        assert {path: (file[path].dtype.str, file[path].shape[1:]) for path in STORED} == STORED
        assert set(file["/steps/action"]) == {"arm", "grip", "turn"}
    keys = open_replay([shard]).summary.to_json()["keys"]
    assert keys["action/grip"] == {"dtype": "|i1", "shape": [3]}


def test_a_cut_episode_ends_with_the_zero_that_no_one_takes(shard: Path) -> None:
    replay = open_replay([shard])
    episode = replay.load(replay.episodes()[1])
    assert not episode.complete
    assert not any(column[-1].any() for column in ActionCodec(ACTION).columns(episode.action).values())
    assert all(column[:-1].any() for column in ActionCodec(ACTION).columns(episode.action).values())


def test_rows_in_memory_are_those_of_the_file(shard: Path) -> None:
    read, live = open_replay([shard]), Replay.empty(SPEC, 1)
    for row in rows():
        live.add(row)
    for name, column in read.streams[0].columns.items():
        np.testing.assert_array_equal(column[:-1], live.streams[0].columns[name][:-1])


def test_previous_actions_are_shifted_leaf_by_leaf() -> None:
    action = sampled(ACTION, 8).reshape(2, 4)
    before = action.copy()
    first = np.array([[1, 0, 1, 0], [1, 0, 0, 0]], bool)
    previous = shift_actions(action, first)
    for now, then in zip(ActionCodec(ACTION).columns(previous).values(), ActionCodec(ACTION).columns(action).values(), strict=True):
        np.testing.assert_array_equal(now[1, 1:], then[1, :-1])
        np.testing.assert_array_equal(now[0, 3], then[0, 2])
        assert not now[first].any()
    np.testing.assert_array_equal(action, before)


@pytest.mark.parametrize(
    ("dataset", "row", "value", "told"),
    [
        ("/steps/observation/mood", 3, [0, 3], r"/steps/observation/mood row 3 is \[0 3\], wanted one of MultiDiscrete\(\[2 3\]"),
        ("/steps/observation/room", 4, 3, r"/steps/observation/room row 4 is 3, wanted one of Discrete\(4, start=-1\)"),
        ("/steps/action/turn", 2, 0, r"/steps/action/turn row 2 is 0, wanted one of Discrete\(3, start=1\)"),
        ("/steps/action/grip", 1, [0, 1, 2], r"/steps/action/grip row 1 is \[0 1 2\], wanted one of MultiBinary\(3\)"),
        ("/steps/action/arm/_index_0", 6, [0, np.nan], r"/steps/action/arm/_index_0 row 6 is \[ ?0\. *nan\], wanted finite"),
    ],
)
def test_a_value_outside_its_space_is_refused_with_its_place(shard: Path, dataset: str, row: int, value: object, told: str) -> None:
    overwrite(shard, dataset, row, value)
    with pytest.raises(InputError, match=told):
        open_replay([shard])


def test_a_file_that_lacks_a_leaf_is_refused(shard: Path) -> None:
    with h5py.File(shard, "r+") as file:
        del file["/steps/action/grip"]
    with pytest.raises(InputError, match="/steps/action/grip is missing"):
        open_replay([shard])


def test_a_row_of_pictures_is_no_larger_than_its_parts() -> None:
    spec = TaskSpec({"eye": Box(0, 255, (64, 64, 3), np.uint8)}, Discrete(3), "any", "task")
    assert row_dtype(spec).itemsize <= 64 * 64 * 3 + 24
