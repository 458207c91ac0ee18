"""Suite `dmc`: the DeepMind Control suite with its proprioceptive observations, tasks written `walker_walk`."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces

from dreamctl.core.errors import EnvironmentFailure, UsageError, nearest

CAMERAS = {"quadruped": 2}
# lqr declares forces up to 1e10: they are not the scale of its actions.
UNBOUNDED = 1e9

Observation = dict[str, np.ndarray]


@dataclass(frozen=True)
class DMC:
    """The DeepMind Control suite.

    Attributes:
        action_repeat: control steps an action lasts; rewards are summed, an episode's end cuts it short.
        camera: which camera frames are drawn from, the domain's usual one where None.
        height, width: of frames.
        rendering: `fast` leaves out smoothing, shadows and reflections; the pixels differ from the published protocol's.
    """

    action_repeat: int = 1
    camera: int | None = None
    height: int = 240
    width: int = 320
    rendering: Literal["default", "fast"] = "default"

    def __post_init__(self) -> None:
        if self.action_repeat < 1:
            raise ValueError(f"action_repeat={self.action_repeat}: wanted 1 or more")

    def make(self, task: str, *, render_mode: str | None = None) -> "DMCEnv":
        """The environment of `<domain>_<task>`."""
        names = _names()
        if task not in names:
            raise UsageError(f"dmc:{task}: no such task{nearest(task, names)}")
        return DMCEnv(self, *names[task], render_mode=render_mode)

    def tasks(self) -> list[str]:
        """Every task of the installed dm_control."""
        return sorted(_names())

    def draw(self, env: gymnasium.Env, observation: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """The suite's own picture of an observation, for domains whose pose can be read from one; None for others."""
        base = env.unwrapped
        assert isinstance(base, DMCEnv)
        pose = POSES.get(base.domain)
        if pose is None:
            return None
        qpos = pose({name: np.nan_to_num(np.asarray(value, np.float64)) for name, value in observation.items()})
        with base.physics.reset_context():
            base.physics.data.qpos[:] = qpos
        return base.render()


class DMCEnv(gymnasium.Env):
    """One task as a Gymnasium environment: float32 observations, an end with discount 0 is terminated, any other truncated."""

    def __init__(self, suite: DMC, domain: str, task: str, *, render_mode: str | None) -> None:
        self.suite, self.domain, self.render_mode = suite, domain, render_mode
        self._env = _dm_suite().load(domain, task, task_kwargs={"random": 0})
        if suite.rendering == "fast":
            _render_fast(self.physics.model)
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": round(1 / self._env.control_timestep() / suite.action_repeat)}
        self.observation_space = spaces.Dict(
            {name: spaces.Box(-np.inf, np.inf, spec.shape or (1,), np.float32) for name, spec in self._env.observation_spec().items()}
        )
        action = self._env.action_spec()
        self._low, self._high = (np.broadcast_to(bound, action.shape) for bound in (action.minimum, action.maximum))
        low, high = (np.where(np.abs(bound) > UNBOUNDED, np.copysign(np.inf, bound), bound) for bound in (self._low, self._high))
        self.action_space = spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)

    @property
    def physics(self) -> Any:
        """MuJoCo's state and model."""
        return self._env.physics

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict[str, Any]]:
        """A new episode; dm_control takes its seed at construction only, so the task's generator is replaced."""
        del options
        super().reset(seed=seed)
        self._env.task._random = np.random.RandomState(self.np_random.integers(2**31))
        return _float32(self._env.reset().observation), {}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """`action_repeat` control steps, fewer where the episode ends."""
        force = np.clip(np.asarray(action, np.float64), self._low, self._high)
        reward, frames = 0.0, 0
        for _ in range(self.suite.action_repeat):
            step = self._env.step(force)
            reward, frames = reward + float(step.reward or 0), frames + 1
            if step.last():
                break
        terminated = bool(step.last() and step.discount == 0)
        return _float32(step.observation), reward, terminated, bool(step.last() and not terminated), {"frames": frames}

    def render(self) -> np.ndarray | None:
        """(height, width, 3) uint8 where the render mode is `rgb_array`."""
        if self.render_mode is None:
            return None
        camera = CAMERAS.get(self.domain, 0) if self.suite.camera is None else self.suite.camera
        return self.physics.render(self.suite.height, self.suite.width, camera_id=camera)

    def close(self) -> None:
        """Free the renderer; may be called twice."""
        self._env.close()


def _cartpole(observation: Observation) -> np.ndarray:
    """Cart, then each joint's angle, from (x, cos φ1, sin φ1, cos φ2, ...) with φ measured against the world."""
    turns = observation["position"][1:].reshape(-1, 2)
    return np.concatenate([observation["position"][:1], np.diff(np.arctan2(turns[:, 1], turns[:, 0]), prepend=0)])


def _pendulum(observation: Observation) -> np.ndarray:
    """θ from (cos θ, sin θ)."""
    cosine, sine = observation["orientation"]
    return np.array([np.arctan2(sine, cosine)])


def _acrobot(observation: Observation) -> np.ndarray:
    """Joint angles from (sin φ1, sin φ2, cos φ1, cos φ2), φ measured against the world."""
    sines, cosines = observation["orientations"].reshape(2, 2)
    return np.diff(np.arctan2(sines, cosines), prepend=0)


def _position(observation: Observation) -> np.ndarray:
    """The pose itself."""
    return observation["position"]


def _relative_position(observation: Observation) -> np.ndarray:
    """The pose but for how far the body has run: drawn where it began."""
    return np.concatenate([[0.0], observation["position"]])


POSES: Mapping[str, Callable[[Observation], np.ndarray]] = {
    "acrobot": _acrobot,
    "ball_in_cup": _position,
    "cartpole": _cartpole,
    "cheetah": _relative_position,
    "hopper": _relative_position,
    "pendulum": _pendulum,
    "point_mass": _position,
}


def _float32(observation: Mapping[str, Any]) -> Observation:
    """Copies, scalars as vectors of one."""
    return {name: np.array(value, np.float32, ndmin=1) for name, value in observation.items()}


def _names() -> dict[str, tuple[str, str]]:
    """`<domain>_<task>` -> (domain, task)."""
    return {f"{domain}_{task}": (domain, task) for domain, task in _dm_suite().ALL_TASKS}


def _dm_suite() -> Any:
    """dm_control's suite, imported when first needed."""
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")  # read once, at the first import of mujoco or dm_control
    try:
        import mujoco

        if int(mujoco.__version__.partition(".")[0]) >= 4:
            raise EnvironmentFailure(f"dmc: dm_control does not work with mujoco {mujoco.__version__}; pip install 'mujoco<4'")
        from dm_control import suite
    except (AttributeError, ImportError, RuntimeError) as error:  # what a missing OpenGL back end raises, by back end
        back_end = os.environ.get("MUJOCO_GL", "")
        hint = "set MUJOCO_GL=egl or osmesa, or MUJOCO_GL=disabled where no frames are wanted"
        raise EnvironmentFailure(f"dmc: dm_control does not import with MUJOCO_GL={back_end!r} ({error}); {hint}") from error
    return suite


def _render_fast(model: Any) -> None:
    """No smoothing, no shadows, no reflections: what a frame costs without a GPU."""
    model.vis.quality.offsamples = 0
    model.light_castshadow[:] = 0
    model.mat_reflectance[:] = 0
