"""Spaces as JSON and as named leaves, and what is refused."""

import json

import numpy as np
import pytest
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from dreamctl.core.errors import EnvironmentFailure, InputError
from dreamctl.core.experience import TaskSpec
from dreamctl.core.spaces import (
    check_supported,
    flat_spaces,
    flat_values,
    nested_space,
    nested_value,
    space_from_json,
    space_to_json,
    spec_difference,
    spec_from_json,
    spec_to_json,
)
from tests.spaces import ACTIONS, DEEP, GRID, OBSERVATIONS, REFUSED


def spec(observation: Space, action: Space = Discrete(2)) -> TaskSpec:  # noqa: B008
    return TaskSpec(flat_spaces(observation), action, "any", "task")


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_every_space_survives_its_json(name: str) -> None:
    assert space_from_json(space_to_json(OBSERVATIONS[name])) == OBSERVATIONS[name]


@pytest.mark.parametrize(
    ("space", "text"),
    [
        # As Minari 0.5.4 writes them.
        (MultiDiscrete([2, 3]), '{"type": "MultiDiscrete", "dtype": "int64", "nvec": [2, 3], "start": [0, 0]}'),
        (
            MultiDiscrete(np.array([[2], [3]]), np.int32, start=np.array([[1], [-1]])),
            '{"type": "MultiDiscrete", "dtype": "int32", "nvec": [[2], [3]], "start": [[1], [-1]]}',
        ),
        (MultiBinary(3), '{"type": "MultiBinary", "n": 3}'),
        (MultiBinary((2, 3)), '{"type": "MultiBinary", "n": [2, 3]}'),
        (
            Tuple([Discrete(2, start=1), MultiBinary(1)]),
            '{"type": "Tuple", "subspaces": [{"type": "Discrete", "dtype": "int64", "start": 1, "n": 2}, {"type": "MultiBinary", "n": 1}]}',
        ),
        (Dict({"a": MultiBinary(1)}), '{"type": "Dict", "subspaces": {"a": {"type": "MultiBinary", "n": 1}}}'),
        (Box(0, 1, (2,), np.uint8), '{"type": "Box", "dtype": "uint8", "shape": [2], "low": [0, 0], "high": [1, 1]}'),
    ],
    ids=str,
)
def test_json_is_that_of_minari_to_the_byte(space: Space, text: str) -> None:
    assert space_to_json(space) == text


@pytest.mark.parametrize(
    "text", ['{"type": "MultiDiscrete", "dtype": "int64", "nvec": [0], "start": [0]}', '{"type": "Text"}', "[]", "3", "{"]
)
def test_what_is_no_space_is_said_to_be_none(text: str) -> None:
    with pytest.raises(InputError, match="not a space"):
        space_from_json(text)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_a_spec_survives_its_json(name: str) -> None:
    for one in (spec(OBSERVATIONS[name]), spec(Discrete(2), ACTIONS.get(name, Discrete(2)))):
        again = spec_from_json(spec_to_json(one))
        assert again.observation == one.observation
        assert spec_difference(again, one) is None


def test_the_bounds_of_an_image_take_no_room_in_a_spec() -> None:
    uniform, other = Box(0, 255, (64, 64, 3), np.uint8), Box(0, np.arange(48, dtype=np.uint8).reshape(4, 4, 3), dtype=np.uint8)
    assert len(spec_to_json(spec(uniform))) < 400
    assert spec_from_json(spec_to_json(spec(other))).observation["observation"] == other


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_a_value_taken_apart_is_put_together_again(name: str) -> None:
    space = OBSERVATIONS[name]
    space.seed(0)
    value = space.sample()
    leaves = flat_values(value)
    assert leaves.keys() == flat_spaces(space).keys()
    assert all(part.contains(leaf) for part, leaf in zip(flat_spaces(space).values(), leaves.values(), strict=True))
    again = nested_value(space, leaves)
    assert flat_values(again).keys() == leaves.keys()
    assert space.contains(again)
    assert nested_space(flat_spaces(space)) == space


def test_leaves_are_named_as_minari_names_them() -> None:
    assert list(flat_spaces(OBSERVATIONS["nested"])) == ["arm/angles", "arm/grip", "legs/_index_0", "legs/_index_1/_index_0"]
    assert list(flat_spaces(Discrete(2))) == ["observation"]
    many = Tuple([Discrete(n + 1) for n in range(12)])
    stored = spec_from_json(spec_to_json(spec(many)))
    assert nested_space(stored.observation) == many


def test_the_order_in_which_a_dict_was_written_does_not_matter() -> None:
    one, two = Dict([("b", Discrete(2)), ("a", Discrete(3))]), Dict([("a", Discrete(3)), ("b", Discrete(2))])
    assert list(flat_spaces(one)) == list(flat_spaces(two)) == ["a", "b"]


@pytest.mark.parametrize(("name", "space"), [*REFUSED.items(), *DEEP.items()])
def test_what_is_not_learned_from_is_refused_by_name(name: str, space: Space) -> None:
    kind, place = name.split()[-1], "/_index_1" if "deep" in name else ""
    with pytest.raises(
        EnvironmentFailure, match=rf"^any:task: observation '.*{place}' is a {kind} space; Box, .* are learned from, wrap it$"
    ):
        check_supported(spec(space))
    with pytest.raises(EnvironmentFailure, match=rf"^any:task: .*action.*{place}'? is a {kind} space; Box, .* are learned from, wrap it$"):
        check_supported(spec(Discrete(2), space))


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_everything_else_is_learned_from(name: str) -> None:
    check_supported(spec(OBSERVATIONS[name], ACTIONS.get(name, Discrete(2))))


def test_images_of_two_sizes_are_refused_with_the_mend() -> None:
    two = Dict({"near": Box(0, 255, (32, 32, 3), np.uint8), "wide": Box(0, 255, (32, 64), np.uint8)})
    with pytest.raises(EnvironmentFailure, match="image 'wide' is 32x64, 'near' is 32x32; resize them to one height and width"):
        check_supported(spec(two))


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 84, 84), (4, 64, 96), (12, 84, 84)])
def test_an_image_with_its_channels_first_is_refused_with_the_mend(shape: tuple[int, ...]) -> None:
    found = "x".join(map(str, shape))
    with pytest.raises(EnvironmentFailure, match=rf"image 'observation' is {found}, channels first; transpose it to \(height, width, "):
        check_supported(spec(Box(0, 255, shape, np.uint8)))


@pytest.mark.parametrize("shape", [(4, 4, 3), (16, 64, 3), (16, 16, 27), (64, 12), (3, 64)])
def test_an_image_with_its_channels_last_is_none_of_these(shape: tuple[int, ...]) -> None:
    check_supported(spec(Box(0, 255, shape, np.uint8)))


@pytest.mark.parametrize(
    ("observation", "action", "said"),
    [
        (Dict({}), Discrete(2), "observation space is empty"),
        (Discrete(2), Tuple([]), "action space is empty"),
        (Box(0, 1, (0,)), Discrete(2), "observation 'observation' holds no numbers"),
        (Discrete(2), Dict({"a": Box(0, 1, (2, 0))}), "action 'a' holds no numbers"),
    ],
    ids=["observation", "action", "box", "leaf"],
)
def test_a_space_of_nothing_is_refused(observation: Space, action: Space, said: str) -> None:
    with pytest.raises(EnvironmentFailure, match=said):
        check_supported(spec(observation, action))


def test_two_leaves_of_one_name_are_refused() -> None:
    for twice in (Dict({"a/b": Discrete(2), "a": Dict({"b": Discrete(3)})}), Dict({"a": Discrete(2), "a/b": Discrete(3)})):
        with pytest.raises(EnvironmentFailure, match="two entries are called 'a"):
            flat_spaces(twice)
    with pytest.raises(EnvironmentFailure, match="key 1 is no name"):
        flat_spaces(Dict({1: Discrete(2)}))


def test_a_difference_names_the_leaf() -> None:
    one, two = (spec(Dict({"a": Dict({"grid": space})})) for space in (GRID, MultiDiscrete([2, 3])))
    assert str(spec_difference(one, two)).startswith("observation 'a/grid' is MultiDiscrete(")
    assert spec_difference(one, spec(Dict({"a": Dict({"grid": GRID})}))) is None
    assert str(spec_difference(spec(Discrete(2), GRID), spec(Discrete(2)))).startswith("action is MultiDiscrete(")


def test_a_step_that_no_replay_holds_is_refused() -> None:
    with pytest.raises(EnvironmentFailure, match="a step is of 17 MiB, at most 16 are stored; make it smaller"):
        check_supported(spec(Box(0, 255, (2500, 2500, 3), np.uint8)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"suite": ["gym"]}, "suite and task are"),
        ({"task": "a\x1b[2J"}, "suite and task are"),
        ({"action_repeat": True}, "action_repeat is True"),
        ({"options": []}, "options are"),
        (
            {"observation": {"x": {"type": "Box", "dtype": "uint8", "shape": [9999, 9999], "low": 0, "high": 1}}},
            "claim 99980001 bytes",
        ),
        ({"observation": {"x": {"type": "Box", "dtype": "S99", "shape": [1], "low": 0, "high": 1}}}, "dtype 'S99' is no number"),
        ({"action": {"type": "MultiBinary", "n": 10**12}}, "claim 10000000000"),
        ({"action": {"type": "Discrete", "n": 10**30, "start": 0}}, "too large"),
    ],
)
def test_a_task_spec_that_claims_what_cannot_be_is_refused(change: dict[str, object], said: str) -> None:
    plain = json.loads(spec_to_json(spec(Box(-1, 1, (2,)))))
    with pytest.raises(InputError, match=said):
        spec_from_json(json.dumps(plain | change))
