"""Small suites for the tests of envs/: a well-behaved one, and one for each way of misbehaving."""
# ruff: noqa: ARG002, RUF012

import sys
from dataclasses import dataclass

import gymnasium
import numpy as np
from gymnasium import spaces


class Walk(gymnasium.Env):
    """A random walk from a seeded start: terminates below -2, is truncated after `limit` steps."""

    metadata = {"render_modes": ["rgb_array"]}
    action_space = spaces.Box(-1, 1, (2,), np.float64)
    observation_space = spaces.Dict(
        {"body": spaces.Dict({"place": spaces.Box(-np.inf, np.inf, (2,), np.float64)}), "time": spaces.Box(-np.inf, np.inf, (), np.float32)}
    )

    def __init__(self, limit=5, defect="", render_mode=None):
        self.limit, self.defect, self.render_mode = limit, defect, render_mode
        self.received = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=None if self.defect == "ignores seeds" else seed)
        self.place, self.t = self.np_random.normal(scale=0.3, size=2), 0
        return self._observation(), {}

    def step(self, action):
        self.received.append(np.array(action))
        if self.defect == "raises" and self.t == 2:
            raise RuntimeError("the floor\nis gone")
        if self.defect == "leaves" and self.t == 2:
            sys.exit(0)
        if self.defect == "prints":
            print("hello")
        self.place = self.place + action
        self.t += 1
        over = self.t >= self.limit
        clock = self.defect == "terminates at the limit"
        terminated = bool(self.place[0] < -2) and not clock
        reward = np.nan if self.defect == "nan reward" and self.t == 2 else float(self.place.sum())
        reward = 1e39 if self.defect == "large reward" and self.t == 2 else reward
        return self._observation(), reward, terminated or (clock and over), over and not clock and not terminated, {}

    def _observation(self):
        place = self.place * np.inf if self.defect == "infinite observation" and self.t == 2 else self.place.copy()
        if self.defect == "overwrites":
            self.buffer = getattr(self, "buffer", np.zeros(2))
            self.buffer[:] = place
            place = self.buffer
        if self.defect == "grows" and self.t == 2:
            place = np.zeros(3)
        if self.defect == "float32 of float64":
            place = place.astype(np.complex128)
        return {"body": {"place": place}, "time": np.array(self.t, np.float32)}

    def render(self):
        shape = (60, 80) if self.defect == "grey frames" else (60, 80, 3)
        return np.full(shape, self.t, np.uint8)


@dataclass(frozen=True)
class Toy:
    """One task, `walk`."""

    limit: int = 5
    defect: str = ""

    def make(self, task: str, *, render_mode: str | None = None) -> gymnasium.Env:
        return Walk(self.limit, self.defect, render_mode)


class Still:
    """Answers the same action for ever."""

    def __init__(self, action):
        self.action = np.asarray(action)

    def act(self, observation, is_first):
        return np.broadcast_to(self.action, (len(is_first), *self.action.shape))
