"""Every kind of space that is observed and acted in, and a small environment for each: the one table of the tests."""
# ruff: noqa: ARG002

from copy import deepcopy
from dataclasses import dataclass

import gymnasium
import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, OneOf, Sequence, Text, Tuple

from dreamctl.core.codec import ActionCodec
from dreamctl.core.spaces import flat_values

GRID = MultiDiscrete(np.array([[2, 3, 3], [4, 2, 2]]), start=np.array([[0, -1, 5], [0, 1, 2]]))
BOXES = {
    "box": Box(-1, 1, (3,), np.float32),
    "box-64-bit": Box(-2, 5, (2,), np.float64),
    "box-2d": Box(np.array([[-1.0, 0], [2, -np.inf]]), np.array([[1.0, 4], [3, np.inf]]), dtype=np.float64),
    "box-scalar": Box(-3, 3, (), np.float32),
    "box-integers": Box(-4, 9, (2,), np.int32),
    "box-truth": Box(0, 1, (3,), bool),
}
CHOICES = {
    "discrete": Discrete(3),
    "discrete-start": Discrete(4, start=-2),
    "multi-discrete": MultiDiscrete([3, 3, 2]),
    "multi-discrete-2d": GRID,
    "multi-binary": MultiBinary(4),
    "multi-binary-2d": MultiBinary((2, 3)),
}
NESTED = {
    "dict": Dict({"turn": Discrete(3, start=1), "push": Box(-1, 1, (2,), np.float64)}),
    "tuple": Tuple([Box(0, 2, (), np.float32), MultiBinary(2)]),
    "nested": Dict(
        {"arm": Dict({"grip": Discrete(2), "angles": Box(-2, 2, (2, 2), np.float64)}), "legs": Tuple([GRID, Tuple([Discrete(2)])])}
    ),
}
IMAGES = {
    "image": Box(0, 255, (16, 24, 3), np.uint8),
    "image-grey": Box(0, 255, (16, 16), np.uint8),
    "images-and-more": Dict(
        {
            "left": Box(0, 255, (16, 16, 3), np.uint8),
            "right": Box(0, 255, (16, 16), np.uint8),
            "mood": Discrete(3),
            "speed": Box(-1, 1, (2,)),
        }
    ),
}
ACTIONS: dict[str, Space] = {**BOXES, **CHOICES, **NESTED}
OBSERVATIONS: dict[str, Space] = {**ACTIONS, **IMAGES}
REFUSED: dict[str, Space] = {
    "Text": Text(5),
    "Graph": Graph(Box(-1, 1, (2,)), None),
    "Sequence": Sequence(Discrete(3)),
    "OneOf": OneOf([Discrete(2), Box(-1, 1, (2,))]),
}
DEEP = {f"deep {name}": Dict({"a": Tuple([Discrete(2), space])}) for name, space in REFUSED.items()}
KNOWN = {**OBSERVATIONS, **REFUSED, **DEEP}


class Anything(gymnasium.Env):
    """Gives values of any observation space and takes those of any action space; refuses an action that does not belong to it."""

    def __init__(self, observation: Space, action: Space, limit: int = 9) -> None:
        self.observation_space, self.action_space = observation, action
        self.limit = limit
        self.received: list[object] = []
        self.given: list[object] = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.t = 0
        return self._observation(), {}

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.received.append(action)
        self.t += 1
        reward = sum(float(np.mean(leaf)) for leaf in flat_values(action).values())
        return self._observation(), reward, False, self.t >= self.limit, {}

    def _observation(self) -> object:
        self.given.append(self.observation_space.sample())
        return self.given[-1]


@dataclass(frozen=True)
class AnySuite:
    """Tasks `OBSERVATION/ACTION`, by their names in the tables."""

    limit: int = 9

    def make(self, task: str, *, render_mode: str | None = None) -> gymnasium.Env:
        observation, _, action = task.partition("/")
        return Anything(deepcopy(KNOWN[observation]), deepcopy(KNOWN[action]), self.limit)


def sampled(space: Space, count: int, seed: int = 0) -> np.ndarray:
    """Stored actions (count, ...) drawn from a space."""
    space.seed(seed)
    codec = ActionCodec(space)
    rows = [flat_values(space.sample(), bare="action") for _ in range(count + 1)]
    return codec.from_columns({name: np.stack([row[name] for row in rows])[:count] for name in codec.leaves})
