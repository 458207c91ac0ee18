"""Values of every space and the numbers of a network."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.vector.utils import batch_space, iterate

from dreamctl.core.codec import ActionCodec, ImageCodec, ObservationCodec, observation_codec
from dreamctl.core.experience import TaskSpec
from dreamctl.core.parts import Choices, NumberCodec, Numbers
from dreamctl.core.spaces import flat_spaces, flat_values
from dreamctl.stages.policy import RandomPolicy
from tests.spaces import ACTIONS, GRID, IMAGES, OBSERVATIONS, sampled

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


def test_choices_are_one_hot_from_their_own_start() -> None:
    one = ActionCodec(Discrete(3, start=5))
    np.testing.assert_array_equal(one.encode(np.array([5, 7])), [[1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(one.decode(np.array([[0.1, 0.7, 0.2]])), [6])
    np.testing.assert_array_equal(one.encode(one.zeros(1)), [[0, 0, 0]])
    assert one.parts == (Choices(1, 3),)


def test_a_grid_of_choices_is_read_row_by_row() -> None:
    grid = ActionCodec(GRID)
    assert grid.parts == (Choices(1, 2), Choices(2, 3), Choices(1, 4), Choices(2, 2))
    value = np.array([[1, -1, 7], [2, 1, 3]])
    numbers = [0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1]
    np.testing.assert_array_equal(grid.encode(value), numbers)
    np.testing.assert_array_equal(grid.decode(np.array(numbers, np.float32)), value)


def test_a_binary_is_a_choice_of_two() -> None:
    codec = ActionCodec(MultiBinary(2))
    np.testing.assert_array_equal(codec.encode(np.array([[0, 1]], np.int8)), [[1, 0, 0, 1]])
    assert codec.decode(np.array([[1, 0, 0, 1]])).dtype == np.int8
    assert codec.parts == (Choices(2, 2),)


def test_a_nested_action_is_its_leaves_in_the_order_of_their_names() -> None:
    codec = ActionCodec(Dict({"turn": Discrete(2, start=1), "push": Box(-2, 2, (2,)), "by": Tuple([MultiBinary(1)])}))
    assert list(codec.leaves) == ["by/_index_0", "push", "turn"]
    assert codec.parts == (Choices(1, 2), Numbers(2), Choices(1, 2))
    action = codec.zeros(1)
    action["push"], action["turn"] = [[1, -2]], 2
    np.testing.assert_array_equal(codec.encode(action), [[1, 0, 0.5, -1, 0, 1]])
    taken = codec.clip(action[0])
    assert taken["turn"] == 2
    assert taken["by"][0].tolist() == [0]
    assert taken["push"].tolist() == [1, -2]


@pytest.mark.parametrize("lead", [(), (4,), (2, 3), (0,), (0, 5)])
@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_survives_its_numbers(name: str, lead: tuple[int, ...]) -> None:
    codec = ActionCodec(ACTIONS[name])
    stored = sampled(ACTIONS[name], int(np.prod(lead))).reshape((*lead, *codec.shape))
    numbers = codec.encode(stored)
    assert numbers.shape == (*lead, codec.size)
    assert numbers.dtype == np.float32
    again = codec.decode(numbers)
    assert (again.shape, again.dtype) == (stored.shape, codec.dtype)
    for leaf, column in codec.columns(stored).items():
        np.testing.assert_allclose(codec.columns(again)[leaf], column, rtol=1e-6, atol=1e-6)
        assert not codec.outside(stored)[leaf].any()
    assert codec.size == sum(part.size for part in codec.parts)


@pytest.mark.parametrize("name", ACTIONS)
def test_what_a_network_says_is_an_action_of_the_space_once_clipped(name: str) -> None:
    space = ACTIONS[name]
    codec = ActionCodec(space)
    numbers = np.random.default_rng(0).normal(scale=3, size=(50, codec.size)).astype(np.float32)
    taken = codec.clip(codec.decode(numbers))
    lanes = list(iterate(batch_space(space, 50), taken))
    assert all(space.contains(action) for action in lanes)
    one = codec.clip(codec.decode(numbers)[0])
    assert space.contains(one)
    assert flat_values(one).keys() == flat_values(space.sample()).keys()
    assert all(np.asarray(leaf).dtype == flat_spaces(space)[name].dtype for name, leaf in flat_values(one).items())


@pytest.mark.parametrize("name", ACTIONS)
def test_random_actions_reach_every_choice(name: str) -> None:
    codec = ActionCodec(ACTIONS[name])
    actions = codec.random(np.random.default_rng(1), 300)
    assert actions.shape == (300, *codec.shape)
    assert not any(wrong.any() for wrong in codec.outside(actions).values())
    numbers, start = codec.encode(actions), 0
    for part in codec.parts:
        if isinstance(part, Choices):
            assert numbers[:, start : start + part.size].any(0).all()
        start += part.size


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_given_as_one_row_of_numbers_is_the_same_action(name: str) -> None:
    codec = ActionCodec(ACTIONS[name])
    stored = sampled(ACTIONS[name], 3)
    flat = np.concatenate([column.reshape(3, -1).astype(np.float64) for column in codec.columns(stored).values()], -1)
    assert flat.shape == (3, codec.flat_size)
    np.testing.assert_array_equal(codec.from_columns(codec.flat_columns(flat)), stored)


def test_values_outside_are_found() -> None:
    for codec, value, wanted in (
        (ActionCodec(Discrete(3, start=1)), [0, 1, 3, 4, 1.5, np.nan], [1, 0, 0, 1, 1, 1]),
        (ActionCodec(MultiBinary(2)), [[0, 2], [1, 1]], [[0, 1], [0, 0]]),
        (ActionCodec(MultiDiscrete([2, 3], start=[0, 5])), [[1, 7], [2, 4]], [[0, 0], [1, 1]]),
        (ActionCodec(Box(-1, 1, (2,))), [[9.0, np.inf]], [[0, 1]]),
    ):
        assert codec.outside(np.array(value))["action"].tolist() == np.array(wanted, bool).tolist()


@pytest.mark.parametrize("name", [name for name in OBSERVATIONS if name not in IMAGES])
def test_an_observation_survives_its_numbers(name: str) -> None:
    for leaf, space in flat_spaces(OBSERVATIONS[name]).items():
        codec = observation_codec(space)
        assert isinstance(codec, ObservationCodec)
        space.seed(2)
        values = np.array([[space.sample() for _ in range(3)] for _ in range(2)])
        numbers = codec.encode(values)
        assert numbers.shape == (2, 3, codec.size), leaf
        again = codec.decode(numbers)
        assert again.dtype == space.dtype
        np.testing.assert_allclose(again, values, rtol=1e-6)
        np.testing.assert_array_equal(codec.encode(values[:0]), numbers[:0])


def test_an_observed_box_stays_in_environment_units() -> None:
    codec = ObservationCodec(Box(-2, 10, (2,)))
    np.testing.assert_array_equal(codec.encode(np.array([[7.0, -1]])), [[7, -1]])
    np.testing.assert_array_equal(codec.decode(np.array([[70.0, -1]])), [[70, -1]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint32, np.int64, np.uint64])
def test_whole_numbers_are_the_nearest_inside_whatever_is_dreamt(dtype: type) -> None:
    info = np.iinfo(dtype)
    space = Box(info.min, info.max, (4,), dtype)
    dreamt = ObservationCodec(space).decode(np.array([-1e30, 1e30, 2.6, 3.4], np.float32))
    assert dreamt.dtype == dtype
    assert dreamt[2:].tolist() == [3, 3]
    assert dreamt[0] == info.min
    assert dreamt[1] > 0.99 * info.max
    assert space.contains(ActionCodec(space).clip(np.array([-1e30, 1e30, 2.6, 3.4], np.float32)))


def test_truth_values_are_the_nearest() -> None:
    codec = ObservationCodec(Box(0, 1, (3,), bool))
    assert codec.decode(np.array([0.4, 0.6, 7])).tolist() == [False, True, True]
    assert codec.decode(np.array([0.4, 0.6, 7])).dtype == bool


@pytest.mark.parametrize(("shape", "seen"), [((4, 6, 3), (4, 6, 3)), ((4, 6, 1), (4, 6, 1)), ((4, 6), (4, 6, 1))])
def test_an_image_stays_bytes_and_gets_its_channels(shape: tuple[int, ...], seen: tuple[int, ...]) -> None:
    codec = observation_codec(Box(0, 255, shape, np.uint8))
    assert isinstance(codec, ImageCodec)
    values = np.random.default_rng(0).integers(0, 256, (2, 5, *shape)).astype(np.uint8)
    assert codec.encode(values).shape == (2, 5, *seen)
    assert codec.encode(values).dtype == np.uint8
    np.testing.assert_array_equal(codec.decode(codec.encode(values).astype(np.float32) / 255), values)
    assert codec.decode(np.full((1, *seen), [-0.3], np.float32)).max() == 0
    assert codec.decode(np.full((1, *seen), [1.3], np.float32)).min() == 255
