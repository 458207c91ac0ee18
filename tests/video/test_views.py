"""Observations and actions of every sort as pictures, traces and words."""

from dataclasses import replace

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary

from dreamctl.core.codec import ActionCodec
from dreamctl.core.experience import TaskSpec
from dreamctl.core.spaces import flat_spaces
from dreamctl.video.panels import Panels
from dreamctl.video.scene import figures
from dreamctl.video.traces import Traces
from dreamctl.video.views import choices, side_by_side, vector_names, vectors, view
from tests.spaces import ACTIONS, OBSERVATIONS, sampled
from tests.video.dreams import episode


def spec_of(space: object) -> TaskSpec:
    return TaskSpec(flat_spaces(space), Discrete(2), "any", "task")


def test_traces_keep_room_for_their_words_however_small_pictures_are() -> None:
    spec = spec_of(Box(-1, 1, (2,)))
    shown = replace(episode(12, context=4), observation={"observation": np.zeros((12, 2), np.float32)})
    small, large = (view(spec, shown, None, side, beside=True).size[0] for side in (64, 300))
    assert (small, large) == (480, 624)


@pytest.mark.parametrize("name", ACTIONS)
def test_every_dimension_of_every_space_has_a_trace(name: str) -> None:
    spec = spec_of(OBSERVATIONS[name])
    columns = {}
    for leaf, space in spec.observation.items():
        space.seed(0)
        columns[leaf] = np.stack([space.sample() for _ in range(12)])
    values = vectors(spec, columns)
    assert values.shape == (12, len(vector_names(spec)))
    shown = view(spec, replace(episode(12), observation=columns), None, 200, beside=False)
    assert isinstance(shown, Traces)
    assert shown.draw(7).size == shown.size
    assert choices(spec) == {
        i for i in range(values.shape[1]) if not name.startswith("box") and (values[:, i] == np.rint(values[:, i])).all()
    }


def test_a_choice_is_written_without_decimals() -> None:
    shown = Traces(np.array([[1.0, 1.0]] * 3), ["a", "b"], whole={1})
    assert (shown._number(0, 0), shown._number(0, 1)) == ("1.00", "1")


def test_several_images_stand_side_by_side_in_colour() -> None:
    red, grey, stack = np.zeros((4, 6, 3), np.uint8), np.full((4, 6), 90, np.uint8), np.zeros((4, 6, 4), np.uint8)
    red[..., 0], stack[..., 3] = 255, 7
    shown = side_by_side(["red", "grey", "stack"], {"red": red, "grey": grey, "stack": stack})
    assert shown.shape == (4, 18, 3)
    assert [shown[0, x].tolist() for x in (0, 6, 12)] == [[255, 0, 0], [90, 90, 90], [7, 7, 7]]


def test_truth_and_dream_of_images_are_panels() -> None:
    spec = spec_of(Dict({"left": Box(0, 255, (8, 8, 3), np.uint8), "right": Box(0, 255, (8, 8), np.uint8)}))
    columns = {"left": np.zeros((12, 8, 8, 3), np.uint8), "right": np.full((12, 8, 8), 200, np.uint8)}
    dream = replace(episode(12, context=4, truth_rows=12), observation=columns, truth=columns)
    shown = view(spec, dream, lambda row: side_by_side(["left", "right"], row), 100, beside=True)
    assert isinstance(shown, Panels)
    assert shown.truth is not None
    assert shown.pictures(3).shape == shown.truth(3).shape == (8, 16, 3)


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_is_written(name: str) -> None:
    action = sampled(ACTIONS[name], 12)
    texts = figures(replace(episode(12), action=action))["action"]
    numbers = [one for text in texts[:-1] for leaf in text.split(", ") for one in leaf.split()]
    assert len(numbers) == 11 * ActionCodec(ACTIONS[name]).flat_size
    assert texts[-1] == "-"


def test_a_nested_action_is_written_leaf_by_leaf() -> None:
    codec = ActionCodec(Dict({"push": Box(-1, 1, (2,)), "keys": MultiBinary(3)}))
    action = codec.zeros(12)
    action["push"], action["keys"] = [0.5, -1], [1, 0, 1]
    assert figures(replace(episode(12), action=action))["action"][0] == "1 0 1, 0.50 -1.00"
