"""The DeepMind Control suite keeps what dreamctl's driver relies on."""

import numpy as np
import pytest
from dreamctl_dmc import DMC, POSES

from dreamctl.core.errors import UsageError
from dreamctl.core.spaces import flat_values
from dreamctl.envs.check import check_suite
from dreamctl.envs.discovery import build_suite, load_suite, resolve
from dreamctl.envs.driver import make_envs, task_spec


@pytest.mark.parametrize("task", ["cartpole_swingup", "walker_walk", "ball_in_cup_catch"])
def test_the_suite_conforms(task: str) -> None:
    failed = [finding for finding in check_suite(DMC(action_repeat=2), task) if finding.outcome == "failed"]
    assert failed == []


def test_it_is_found_by_its_entry_point() -> None:
    assert resolve("dmc:walker_walk") == ("dmc", "walker_walk")
    suite = build_suite(load_suite("dmc"), {"action_repeat": 2})
    spec = task_spec(suite, "walker_walk", make_envs(suite, "walker_walk", 1))
    assert (spec.name, spec.action_repeat) == ("dmc:walker_walk", 2)
    assert spec.observation["height"].shape == (1,)
    assert {space.dtype for space in spec.observation.values()} == {np.dtype(np.float32)}


def test_the_time_limit_truncates_after_1000_control_steps() -> None:
    env = DMC(action_repeat=10).make("pendulum_swingup")
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(100)]
    assert ends == [(False, False)] * 99 + [(False, True)]


def test_a_task_that_ends_is_terminated() -> None:
    env = DMC().make("lqr_lqr_2_1")
    assert np.isinf(env.action_space.high).all()
    env.reset(seed=0)
    # dm_control's lqr ends with discount 0 where the state is almost at rest.
    env.physics.data.qpos[:] = env.physics.data.qvel[:] = 0
    env.physics.forward()
    assert env.step(np.zeros(1, np.float32))[2:4] == (True, False)


def test_unknown_task_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="dmc:walker_wlak: no such task; nearest: walker_walk"):
        DMC().make("walker_wlak")


TASKS = {
    "acrobot": "swingup",
    "ball_in_cup": "catch",
    "cartpole": "three_poles",
    "cheetah": "run",
    "hopper": "hop",
    "pendulum": "swingup",
    "point_mass": "easy",
}


@pytest.mark.parametrize("domain", sorted(POSES))
def test_an_observation_is_drawn_as_the_suite_draws_its_state(domain: str) -> None:
    suite, task = DMC(height=60, width=80, rendering="fast"), f"{domain}_{TASKS[domain]}"
    real, other = (suite.make(task, render_mode="rgb_array") for _ in range(2))
    real.reset(seed=1)
    other.reset(seed=2)
    real.action_space.seed(0)
    for _ in range(20):
        observation, *_ = real.step(real.action_space.sample())
    if domain in ("cheetah", "hopper"):  # how far it has run is not observed
        real.physics.data.qpos[0] = 0
        real.physics.forward()
    wanted = real.render().astype(int)
    assert np.abs(other.render().astype(int) - wanted).mean() > 0.1
    drawn = suite.draw(other, flat_values(observation))
    assert np.abs(drawn.astype(int) - wanted).mean() < 0.1


def test_other_domains_are_not_drawn() -> None:
    env = DMC().make("walker_walk")
    observation, _ = env.reset(seed=0)
    assert DMC().draw(env, observation) is None
