"""A small room seen from above as a picture: walk to the goal before the time is up.

`gymnasium.make("tests.trials.room:Room-v0")`; both agent and goal start anywhere, so that nothing but looking helps.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

SIDE, CELL, LIMIT = 4, 4, 8
MOVES = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])
FLOOR, AGENT, GOAL = (40, 40, 60), (240, 120, 40), (60, 230, 240)

Picture = NDArray[np.uint8]


class Room(gymnasium.Env[Picture, np.int64]):
    """4x4 cells, 16x16 pixels; four moves; reward 1 at the goal, which ends the episode, else 0 until the limit."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        pixels = SIDE * CELL
        self.observation_space = Box(0, 255, (pixels, pixels, 3), np.uint8)
        self.action_space = Discrete(4)
        self.agent = self.goal = np.zeros(2, np.int64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Picture, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        agent, goal = self.np_random.choice(SIDE * SIDE, 2, replace=False)
        self.agent, self.goal = (np.array(divmod(int(cell), SIDE)) for cell in (agent, goal))
        return self.render(), {}

    def step(self, action: np.int64) -> tuple[Picture, float, bool, bool, dict[str, Any]]:
        self.agent = np.clip(self.agent + MOVES[int(action)], 0, SIDE - 1)
        there = bool((self.agent == self.goal).all())
        return self.render(), float(there), there, False, {}

    def render(self) -> Picture:  # type: ignore[override]
        cells = np.full((SIDE, SIDE, 3), FLOOR, np.uint8)
        cells[tuple(self.goal)] = GOAL
        cells[tuple(self.agent)] = AGENT
        return cells.repeat(CELL, 0).repeat(CELL, 1)


gymnasium.register("Room-v0", entry_point=Room, max_episode_steps=LIMIT)
