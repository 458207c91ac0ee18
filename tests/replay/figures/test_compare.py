"""Two replays are equal when they hold the same episodes, wherever and in whatever order these lie."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Discrete

from dreamctl.core.errors import InputError
from dreamctl.replay.figures.compare import compare
from dreamctl.replay.writer import write_episodes
from tests.replay.rows import BOX_SPEC, SPEC, dream, episode_rows, stream_rows, write


def box_rows() -> list:
    observation = {"arm/angle": np.zeros(2), "goal": np.zeros((), np.float32)}
    return [replace(row, observation=observation, action=np.zeros(2, np.float32)) for row in episode_rows(0, 4)]


def test_the_same_rows_in_other_files_are_equal(tmp_path: Path) -> None:
    one = write(tmp_path / "one", stream_rows([5, 9, 4]), shard_rows=4)
    two = write(tmp_path / "two.h5", stream_rows([5, 9, 4]))
    found = compare(one, two)
    assert found.equal
    assert (found.both, found.left, found.right, found.columns) == (3, (), (), ())


def test_another_order_is_equal(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [*episode_rows(0, 4), *episode_rows(1, 6)])
    two = write(tmp_path / "two", [*episode_rows(1, 6), *episode_rows(0, 4)])
    assert compare(one, two).equal


def test_episodes_of_one_side_are_named(tmp_path: Path) -> None:
    one = write(tmp_path / "one", stream_rows([5, 9]))
    two = write(tmp_path / "two", [*episode_rows(0, 5), *episode_rows(7, 3)])
    found = compare(one, two)
    assert not found.equal
    assert found.both == 1
    assert found.left is not None
    assert found.right is not None
    assert [info.length for info in found.left] == [9]
    assert [info.length for info in found.right] == [3]


def test_an_episode_that_is_there_more_often_differs(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [*episode_rows(0, 5), *episode_rows(0, 5)])
    two = write(tmp_path / "two", episode_rows(0, 5))
    found = compare(one, two)
    assert (found.both, len(found.left or ()), found.right) == (1, 1, ())
    assert not found.equal


def test_one_number_that_differs_is_enough(tmp_path: Path) -> None:
    rows = episode_rows(0, 5)
    other = [*rows[:2], replace(rows[2], reward=1.5), *rows[3:]]
    assert not compare(write(tmp_path / "one", rows), write(tmp_path / "two", other)).equal


def test_further_columns_and_their_bytes_count(tmp_path: Path) -> None:
    rows = [episode_rows(0, 5, extra={"value": np.arange(5, dtype=np.float32) + shift}) for shift in (0, 1)]
    one, two = (write(tmp_path / str(number), part) for number, part in enumerate(rows))
    bare = write(tmp_path / "bare", episode_rows(0, 5))
    assert not compare(one, two).equal
    found = compare(one, bare)
    assert not found.equal
    assert [(one.what, one.left, one.right) for one in found.columns] == [("extra/value", "<f4 ()", "absent")]
    assert (found.left, found.right) == ((), ())


@pytest.mark.parametrize("field", ["truth_valid", "context"])
def test_context_and_known_truth_of_a_dream_count(tmp_path: Path, field: str) -> None:
    other = dream(truth_valid=np.arange(6) < 3) if field == "truth_valid" else dream(context=1)
    for name, episode in (("one", dream()), ("same", dream()), ("other", other)):
        write_episodes(tmp_path / f"{name}.h5", SPEC, [episode], kind="imagined", parent={})
    assert compare(tmp_path / "one.h5", tmp_path / "same.h5").equal
    assert not compare(tmp_path / "one.h5", tmp_path / "other.h5").equal


def test_a_seed_that_was_recorded_is_told_and_makes_no_other_content(tmp_path: Path) -> None:
    found = compare(write(tmp_path / "one", stream_rows([4]), seed=1), write(tmp_path / "two", stream_rows([4]), seed=2, policy="agent"))
    assert found.equal
    assert [(one.what, one.left, one.right) for one in found.origin] == [("seed", "1", "2"), ("policy", "random", "agent")]


def test_other_tasks_differ_and_other_columns_are_not_compared(tmp_path: Path) -> None:
    toy = write(tmp_path / "toy", stream_rows([4]))
    found = compare(toy, write(tmp_path / "arm", box_rows(), spec=BOX_SPEC))
    assert found.task is not None
    assert (found.left, found.right, found.equal) == (None, None, False)
    more = replace(SPEC, action=Discrete(6))
    found = compare(toy, write(tmp_path / "more", stream_rows([4]), spec=more))
    assert found.task == "action is Discrete(5), wanted Discrete(6)"
    assert (found.both, found.equal) == (1, False)


def test_a_path_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.h5: cannot read"):
        compare(write(tmp_path / "one", stream_rows([4])), tmp_path / "no.h5")
