"""The driver stores what the official one stores, and hands the environment the same actions."""
# ruff: noqa: ARG002

from collections.abc import Mapping
from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from dreamctl.envs.driver import Driver, make_envs, task_spec
from tests.conftest import Golden
from tests.golden.names import check

RECEIVED: list[int] = []
RESETS: list[bool] = []


class Counting(gymnasium.Env):
    """Observation 100 episode + t, reward 10 times the action received; even episodes end terminal, odd ones are truncated."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Discrete(1000)

    def __init__(self, lengths):
        self.lengths, self.episode, self.t = lengths, -1, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        RECEIVED.append(0)
        RESETS.append(True)
        return self._observation(), {}

    def step(self, action):
        self.t += 1
        RECEIVED.append(int(action))
        RESETS.append(False)
        last = self.t == self.lengths[self.episode % len(self.lengths)]
        even = self.episode % 2 == 0
        return self._observation(), 10.0 * action, bool(last and even), bool(last and not even), {}

    def _observation(self):
        return np.array([100 * self.episode + self.t], np.float32)


@dataclass(frozen=True)
class CountingSuite:
    lengths: tuple[int, ...]

    def make(self, task: str, *, render_mode: str | None = None) -> gymnasium.Env:
        return Counting(self.lengths)


class CountsItsCalls:
    calls = 0

    def act(self, observation: Mapping[str, np.ndarray], is_first: np.ndarray) -> np.ndarray:
        self.calls += 1
        return np.full(len(is_first), self.calls)


def test_rows_are_those_of_the_official_driver(golden: Golden) -> None:
    wanted = golden("driver")
    RECEIVED.clear()
    RESETS.clear()
    suite = CountingSuite(tuple(wanted["in.episode_lengths"].tolist()))
    envs = make_envs(suite, "count", 1)
    driver = Driver(envs, task_spec(suite, "count", envs), CountsItsCalls())
    rows = [driver.step()[0] for _ in wanted["out.reward"]]

    found = {
        "obs": [row.observation["observation"][0] for row in rows],
        "action": [row.action for row in rows],
        "reward": [row.reward for row in rows],
        "is_first": [row.is_first for row in rows],
        "is_last": [row.is_last for row in rows],
        "is_terminal": [row.terminated for row in rows],
        "env_received_reset": RESETS,
        # With a reset the official environment is handed the zero that was stored; here nothing, which counts as zero.
        "env_received_action": RECEIVED,
    }
    for name, values in found.items():
        check(torch.from_numpy(np.array(values)), wanted[f"out.{name}"], name)
    assert driver.env_steps == len(RESETS) - sum(RESETS)
