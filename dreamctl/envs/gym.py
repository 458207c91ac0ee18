"""The built-in suite `gym`: every registered Gymnasium id, and `module:Id` for ids that a module registers."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import gymnasium
import numpy as np
from gymnasium import Env
from gymnasium.envs.registration import parse_env_id
from numpy.typing import NDArray

from dreamctl.core.errors import EnvironmentFailure, UsageError, nearest
from dreamctl.core.experience import Array
from dreamctl.envs.discovery import importable
from dreamctl.envs.suite import Frame, one_line

State = NDArray[np.float64]


@dataclass(frozen=True)
class Gym:
    """Environments of Gymnasium's registry.

    Attributes:
        max_episode_steps: another time limit than the registered one.
        kwargs: what else the environment's constructor takes.
    """

    max_episode_steps: int | None = None
    kwargs: Mapping[str, object] = field(default_factory=dict)

    def make(self, task: str, *, render_mode: str | None = None) -> Env[object, object]:
        """The environment registered as `task`."""
        module, colon, _ = task.partition(":")
        if colon and not importable(module):
            raise UsageError(f"gym:{task}: no Python module is called {module!r}")
        if render_mode == "rgb_array":
            # pygame draws without a screen; its default driver first complains on stderr that there is none.
            os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        arguments: dict[str, object] = {"max_episode_steps": self.max_episode_steps, "render_mode": render_mode, **self.kwargs}
        try:
            parse_env_id(task.rpartition(":")[2])
        except gymnasium.error.Error as error:
            raise UsageError(f"gym:{task}: no such Gymnasium id{self._nearest(task)}") from error
        try:
            return gymnasium.make(task, disable_env_checker=True, **arguments)  # type: ignore[arg-type]
        except gymnasium.error.UnregisteredEnv as error:
            raise UsageError(f"gym:{task}: no such Gymnasium id{self._nearest(task)}") from error
        except gymnasium.error.DeprecatedEnv as error:
            raise UsageError(f"gym:{task}: is retired: {error}") from error
        except gymnasium.error.DependencyNotInstalled as error:
            raise EnvironmentFailure(f"gym:{task}: is registered but lacks a package: {one_line(error)}") from error
        except TypeError as error:
            if not self.kwargs:
                raise
            raise UsageError(f"gym:{task}: env.kwargs={dict(self.kwargs)} does not fit the environment: {one_line(error)}") from error

    def tasks(self) -> list[str]:
        """Registered ids."""
        return sorted(gymnasium.registry)

    def draw(self, env: Env[object, object], observation: Mapping[str, Array]) -> Frame | None:
        """The environment's own picture of an observation, for the classic-control tasks; None for others."""
        base = env.unwrapped
        state = STATES.get(base.spec.id if base.spec else "")
        if state is None:
            return None
        vector = np.nan_to_num(np.asarray(observation["observation"], np.float64).ravel())
        base.state = state(vector)  # type: ignore[attr-defined]
        # Pendulum draws the torque of its last step beside the rod; an observation does not tell it.
        base.last_u = None  # type: ignore[attr-defined]
        frame: Frame = np.asarray(base.render(), np.uint8)
        return frame

    def _nearest(self, task: str) -> str:
        close = nearest(task, self.tasks())
        return close if close.startswith("; nearest") else "; `dreamctl envs list gym` shows all"


def _cart_pole(x: State) -> State:
    """(position, velocity, angle, angular velocity), the cart kept on the track's picture."""
    return np.concatenate([np.clip(x[:1], -4.8, 4.8), x[1:]])


def _pendulum(x: State) -> State:
    """(θ, θ') from (cos θ, sin θ, θ')."""
    return np.array([np.arctan2(x[1], x[0]), x[2]])


def _mountain_car(x: State) -> State:
    """(position, velocity), kept on the mountain."""
    return np.array([np.clip(x[0], -1.2, 0.6), x[1]])


def _acrobot(x: State) -> State:
    """(θ1, θ2, θ1', θ2') from (cos θ1, sin θ1, cos θ2, sin θ2, θ1', θ2')."""
    return np.array([np.arctan2(x[1], x[0]), np.arctan2(x[3], x[2]), x[4], x[5]])


STATES: Mapping[str, Callable[[State], State]] = {
    "CartPole-v0": _cart_pole,
    "CartPole-v1": _cart_pole,
    "Pendulum-v1": _pendulum,
    "MountainCar-v0": _mountain_car,
    "MountainCarContinuous-v0": _mountain_car,
    "Acrobot-v1": _acrobot,
}
