"""Actions in environment units and as the numbers of a network."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from dreamctl.core.codec import ActionCodec, NumberCodec
from dreamctl.core.experience import TaskSpec
from dreamctl.stages.policy import RandomPolicy

LARGEST = float(np.finfo(np.float32).max)


def codec(low: object, high: object) -> ActionCodec:
    return ActionCodec(Box(np.array(low), np.array(high), dtype=np.float64))


def test_a_bounded_number_is_the_affine_image_of_one() -> None:
    two = codec([-2.0, 0.0], [4.0, 1.0])
    np.testing.assert_allclose(two.decode(np.array([[-1.0, -1.0], [1.0, 1.0], [0.0, 2.0]])), [[-2, 0], [4, 1], [1, 1.5]])
    np.testing.assert_allclose(two.encode(np.array([1.0, 0.5])), [0, 0])


@pytest.mark.parametrize("bound", [np.inf, LARGEST, 1e308])
def test_a_bound_beyond_every_use_is_none(bound: float) -> None:
    free = codec([-bound, 0.0, -1.0], [bound, bound, 1.0])
    leaf = free.leaves["action"]
    assert isinstance(leaf, NumberCodec)
    assert leaf.bounded.tolist() == [False, False, True]
    numbers = np.array([3.0, -2.0, 0.5], np.float32)
    np.testing.assert_array_equal(free.encode(free.decode(numbers)), numbers)
    np.testing.assert_array_equal(free.decode(numbers), numbers)


@pytest.mark.parametrize("bound", [np.inf, LARGEST, 1e308])
def test_random_actions_of_an_unbounded_box_are_small(bound: float) -> None:
    space = Box(-bound, bound, (2,), np.float64)
    actions = RandomPolicy(TaskSpec({}, space, "", ""), seed=0).act({}, np.ones(100, bool))
    assert np.abs(actions).max() < 10


def test_what_an_environment_takes_lies_inside_its_space() -> None:
    for space in (Box(-1, 1, (2,), np.float64), Box(0, 9, (2,), np.int64), Box(np.array([2.0, 0]), np.array([2.0, np.inf]))):
        taken = ActionCodec(space).clip(np.array([-30.5, 30.5], np.float32))
        assert space.contains(taken)
    assert ActionCodec(Discrete(3, start=-1)).clip(np.int64(-1)) == -1
