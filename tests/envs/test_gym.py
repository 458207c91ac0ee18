"""The suite `gym`: any Gymnasium id, and pictures of what was only imagined."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from dreamctl.core.errors import EnvironmentFailure, UsageError
from dreamctl.core.spaces import flat_values
from dreamctl.envs.gym import STATES, Gym
from dreamctl.envs.suite import make_env

MODULE = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv
gymnasium.register("Mine-v0", CartPoleEnv, max_episode_steps=7)
"""


@pytest.mark.parametrize("task", sorted(STATES))
def test_an_observation_is_drawn_as_the_environment_draws_its_state(task: str) -> None:
    suite = Gym()
    real, other = (make_env(suite, task, render_mode="rgb_array") for _ in range(2))
    real.reset(seed=1)
    other.reset(seed=2)
    real.action_space.seed(0)
    for _ in range(12):
        observation, *_ = real.step(real.action_space.sample())
    real.unwrapped.last_u = None  # Pendulum's own frame shows the torque too, which no observation tells
    wanted = real.render().astype(int)
    assert np.abs(other.render().astype(int) - wanted).mean() > 0
    drawn = suite.draw(other, flat_values(observation))
    assert drawn.dtype == np.uint8
    assert drawn.shape == wanted.shape
    assert np.abs(drawn.astype(int) - wanted).mean() < 0.05  # float32 moves an edge by a pixel


@pytest.mark.parametrize("task", sorted(STATES))
def test_a_dream_gone_wild_is_still_drawn(task: str) -> None:
    env = make_env(Gym(), task, render_mode="rgb_array")
    env.reset(seed=0)
    size = env.observation_space.shape[0]
    for value in (np.full(size, 1e9), np.full(size, np.nan), np.full(size, -np.inf), np.zeros(size)):
        assert Gym().draw(env, {"observation": value.astype(np.float32)}).ndim == 3


def test_other_tasks_are_not_drawn() -> None:
    env = make_env(Gym(), "FrozenLake-v1", render_mode="rgb_array")
    assert Gym().draw(env, {"observation": np.zeros(1, np.float32)}) is None


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("CartPole-v1 ", "gym:CartPole-v1 : no such Gymnasium id; nearest: .*CartPole-v1"),
        ("CartPol-v1", "gym:CartPol-v1: no such Gymnasium id; nearest: .*CartPole-v1"),
        ("CartPole-v7", "nearest: .*CartPole-v1"),
        ("Zzzzzzz", "`dreamctl envs list gym` shows all"),
        ("no_such_module:X-v0", "no Python module is called 'no_such_module'"),
    ],
)
def test_unknown_id_names_the_nearest(task: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_env(Gym(), task)


def test_missing_package_tells_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(**_: object) -> None:
        raise gymnasium.error.DependencyNotInstalled("Box2D is not installed, run `pip install 'gymnasium[box2d]'`")

    monkeypatch.setitem(gymnasium.registry, "Lacking-v0", gymnasium.envs.registration.EnvSpec("Lacking-v0", entry_point=lacking))
    with pytest.raises(EnvironmentFailure, match=r"lacks a package: .*gymnasium\[box2d\]"):
        make_env(Gym(), "Lacking-v0")


def test_options_reach_the_environment() -> None:
    assert make_env(Gym(max_episode_steps=9), "CartPole-v1").spec.max_episode_steps == 9
    assert make_env(Gym(kwargs={"g": 3.0}), "Pendulum-v1").unwrapped.g == 3.0
    with pytest.raises(UsageError, match=r"env\.kwargs={'gravity': 3\.0} does not fit"):
        make_env(Gym(kwargs={"gravity": 3.0}), "Pendulum-v1")


def test_a_module_of_the_working_folder_registers_its_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_tasks.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere", *__import__("sys").path])
    assert make_env(Gym(), "my_own_tasks:Mine-v0").spec.max_episode_steps == 7
