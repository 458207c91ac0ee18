"""The conformance check passes what is well and names what is not."""

from dataclasses import dataclass

import gymnasium
import numpy as np
import pytest
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, Text

from dreamctl.envs.check import check_suite
from dreamctl.envs.claims import CHECKS, NoOccasion, Subject
from dreamctl.envs.gym import Gym
from tests.envs.toy_suites import Toy
from tests.spaces import Anything


@dataclass(frozen=True)
class Observing:
    """Observes values of a space."""

    space: Space

    def make(self, task: str, *, render_mode: str | None = None) -> gymnasium.Env:
        del task, render_mode
        return Anything(self.space, Discrete(2))


def failures(suite, task="walk") -> dict[str, str]:
    return {finding.check: finding.detail for finding in check_suite(suite, task) if finding.outcome == "failed"}


@pytest.mark.parametrize("task", ["CartPole-v1", "Pendulum-v1"])
def test_a_well_behaved_environment_passes(task: str) -> None:
    assert failures(Gym(), task) == {}


def test_the_toy_passes() -> None:
    assert failures(Toy()) == {}


@pytest.mark.parametrize(
    ("defect", "claim"),
    [
        ("ignores seeds", "a seed reproduces an episode"),
        ("nan reward", "rewards are finite numbers and flags are booleans"),
        ("infinite observation", "observations fit their space, are finite and are not overwritten"),
        ("float32 of float64", "observations fit their space, are finite and are not overwritten"),
        ("overwrites", "observations fit their space, are finite and are not overwritten"),
        ("terminates at the limit", "a time limit truncates"),
        ("prints", "nothing is printed on stdout"),
        ("grey frames", "frames are pictures"),
        ("raises", "a seed reproduces an episode"),
    ],
)
def test_each_defect_is_named(defect: str, claim: str) -> None:
    found = failures(Toy(defect=defect))
    assert claim in found
    assert "\n" not in "".join(found.values())


def test_a_picture_of_floats_is_said_to_be_a_vector() -> None:
    with pytest.raises(NoOccasion, match="'observation' of float32 is learned as a vector"):
        CHECKS["observed images change"](Subject(Observing(Box(0, 1, (4, 4, 3), np.float32)), "walk", 9))


def test_words_fit_their_space_though_they_are_not_learned_from() -> None:
    CHECKS["observations fit their space, are finite and are not overwritten"](Subject(Observing(Text(5)), "walk", 9))


def test_a_task_that_cannot_be_made_fails_every_check_without_raising() -> None:
    assert "no such Gymnasium id" in failures(Gym(), "CartPol-v1")["Gymnasium's own checker accepts it"]
