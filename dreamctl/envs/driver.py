"""Environments under a policy: rows of the time table, one a lane and step."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dreamctl.core.codec import ActionCodec
from dreamctl.core.errors import DreamctlError, EnvironmentFailure, TrainingDiverged
from dreamctl.core.experience import Array, Episode, Row, TaskSpec
from dreamctl.core.parts import ChoiceCodec, leaf_codec
from dreamctl.core.spaces import flat_values
from dreamctl.envs.lanes import Environments, Vectorize, close_envs, end_envs, gym_spec, make_envs, task_spec
from dreamctl.envs.suite import Frame, one_line

__all__ = [
    "Driver",
    "Environments",
    "Frames",
    "Policy",
    "Vectorize",
    "close_envs",
    "end_envs",
    "gym_spec",
    "iter_episodes",
    "make_envs",
    "run_episodes",
    "task_spec",
]


class Policy(Protocol):
    """How something acts in N lanes at once."""

    def act(self, observation: Mapping[str, Array], is_first: NDArray[np.bool_]) -> Array:
        """(N, *action) in environment units from name -> (N, ...); whatever it remembers of a lane ends where `is_first`."""


@dataclass(frozen=True)
class Frames:
    """Pictures of the environment, kept small enough to store one a row.

    Attributes:
        short_side: at most this many pixels; smaller pictures stay as they are.
    """

    short_side: int = 200

    def __call__(self, frame: Frame) -> Frame:
        """(height, width, 3) scaled down, its aspect kept."""
        height, width = frame.shape[:2]
        scale = self.short_side / min(height, width)
        if scale >= 1:
            return frame
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))


class Driver:
    """Lanes of a task under a policy; each step gives the next row of every lane.

    Args:
        envs: from `make_envs`, reset at the first step.
        spec: of their task.
        policy: who acts; may be replaced between two steps.
        seed: of the lanes' first episodes; later ones are drawn by the environments.
        frames: store `env.render()` beside each row; needs render_mode `rgb_array`.
        offset: environment steps taken before (a resumed or appended run): they choose other first episodes and are not counted here.
    """

    def __init__(
        self, envs: Environments, spec: TaskSpec, policy: Policy, *, seed: int = 0, frames: Frames | None = None, offset: int = 0
    ) -> None:
        self.envs, self.spec, self.policy, self.frames = envs, spec, policy, frames
        self.env_steps = 0
        self._first_seeds = np.random.SeedSequence([seed, offset]).generate_state(envs.num_envs).astype(np.int64) >> 1
        self._seeds = np.full(envs.num_envs, -1, np.int64)
        self._action: Array | None = None
        self._codec = ActionCodec(spec.action)
        # The environments' own space: that of the task has its 64-bit floats as 32-bit ones.
        self._received = ActionCodec(envs.single_action_space)
        leaves = {name: leaf_codec(space, scaled=False) for name, space in spec.observation.items()}
        self._choices = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, ChoiceCodec)}
        self._age = np.zeros(envs.num_envs, np.int64)
        self._last = np.ones(envs.num_envs, np.bool_)

    def reset(self, seeds: Sequence[int]) -> None:
        """Let every lane begin a new episode from its own seed; the rows come with the next step."""
        self._first_seeds, self._action = np.asarray(seeds, np.int64), None

    def step(self) -> list[Row]:
        """One row a lane: where the last actions led, and the action chosen there.

        Raises:
            EnvironmentFailure: an environment raised, or gave a non-finite observation or reward.
            TrainingDiverged: the policy gave a non-finite action.
        """
        value, reward, terminated, truncated = self._advance()
        is_first = np.ones_like(self._last) if self._action is None else self._last
        self._seeds = self._first_seeds if self._action is None else np.where(is_first, -1, self._seeds)
        self._age = np.where(is_first, 0, self._age + 1)
        observation = self._stored(flat_values(value))
        self._check_finite("reward", reward)
        large = np.abs(reward) > np.finfo(np.float32).max
        if large.any():
            self._refuse("reward", reward, large, "one that a float32 holds")
        pictures = self._pictures()
        self._last = terminated | truncated
        self.env_steps += int((~is_first).sum())
        self._action = self._act(observation, is_first)
        columns = zip(self._action, reward.tolist(), is_first.tolist(), terminated.tolist(), truncated.tolist(), strict=True)
        return [
            Row(i, {k: v[i] for k, v in observation.items()}, *column, extra=picture, seed=seed)
            for i, (column, picture, seed) in enumerate(zip(columns, pictures, self._seeds.tolist(), strict=True))
        ]

    def _advance(self) -> tuple[object, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Observation, reward, terminated and truncated of every lane after a reset or a step."""
        lanes = self.envs.num_envs
        try:
            # stdout carries a command's result only; environments that print talk to stderr.
            with redirect_stdout(sys.stderr):
                if self._action is None:
                    value, _ = self.envs.reset(seed=[int(seed) for seed in self._first_seeds])
                    return value, np.zeros(lanes), np.zeros(lanes, np.bool_), np.zeros(lanes, np.bool_)
                value, reward, terminated, truncated, _ = self.envs.step(self._received.clip(self._action))
        except DreamctlError:
            raise
        except (EOFError, ConnectionError) as error:
            raise EnvironmentFailure(
                f"{self.spec.name}: the process of a lane ended; see whether memory ran out, or use fewer lanes"
            ) from error
        except Exception as error:  # such as an answer that does not fit the space
            place = f"{self.spec.name}: after {self.env_steps} steps"
            raise EnvironmentFailure(f"{place}: {one_line(error)}; `dreamctl envs check {self.spec.name}` looks closer") from error
        return value, np.array(reward, np.float64), np.asarray(terminated, np.bool_), np.asarray(truncated, np.bool_)

    def _act(self, observation: Mapping[str, Array], is_first: NDArray[np.bool_]) -> Array:
        """The stored form of the policy's answer; zero on last rows, where no one takes it."""
        action = self._codec.zeros(self.envs.num_envs)
        action[...] = self.policy.act(observation, is_first)
        if not all(np.isfinite(column).all() for column in self._codec.columns(action).values()):
            raise TrainingDiverged(f"{self.spec.name}: the policy's action is not finite after {self.env_steps} steps")
        action[self._last] = 0
        return action

    def _stored(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Observations as the replay holds them, checked."""
        stored = {name: np.asarray(value, self.spec.observation[name].dtype) for name, value in values.items()}
        for name, value in stored.items():
            self._check_finite(f"observation {name!r}", value)
        for name, codec in self._choices.items():
            outside = codec.outside(stored[name])
            if outside.any():
                self._refuse(f"observation {name!r}", stored[name], outside, f"one of {codec.space}")
        return stored

    def _check_finite(self, what: str, value: Array) -> None:
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            self._refuse(what, value, ~np.isfinite(value), "finite")

    def _refuse(self, what: str, value: Array, bad: NDArray[np.bool_], wanted: str) -> NoReturn:
        lane = int(np.argwhere(bad)[0, 0])
        found = " ".join(str(value[lane]).split())
        raise EnvironmentFailure(f"{self.spec.name}: lane {lane}, step {self._age[lane]} of an episode: {what} is {found}, wanted {wanted}")

    def _pictures(self) -> list[dict[str, Array]]:
        if self.frames is None:
            return [{}] * self.envs.num_envs
        pictures = self.envs.render()
        if pictures is None or any(picture is None for picture in pictures):
            raise EnvironmentFailure(f"{self.spec.name}: render() gives no picture; leave --frames out")
        return [{"frame": self.frames(np.asarray(picture, np.uint8))} for picture in pictures]


def iter_episodes(
    envs: Environments,
    spec: TaskSpec,
    policy: Policy,
    seeds: Sequence[int],
    *,
    frames: Frames | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Iterator[Episode]:
    """One whole episode a seed, in the seeds' order, `num_envs` at a time; each is a lane's first after a reset with its seed.

    Args:
        envs: from `make_envs`; lanes that are done early play on unrecorded until the others are.
        spec: of their task.
        policy: who acts.
        seeds: of the resets, recorded in the episodes.
        frames: as in `Driver`.
        on_step: told after each step how many recorded steps are behind us; may raise to leave.
    """
    driver = Driver(envs, spec, policy, frames=frames)
    done = 0
    for start in range(0, len(seeds), envs.num_envs):
        wanted = list(seeds[start : start + envs.num_envs])
        driver.reset(wanted + wanted[:1] * (envs.num_envs - len(wanted)))
        lanes: list[list[Row]] = [[] for _ in wanted]
        while not all(rows and rows[-1].is_last for rows in lanes):
            for rows, row in zip(lanes, driver.step(), strict=False):
                if not (rows and rows[-1].is_last):
                    rows.append(row)
                    done += not row.is_first
            if on_step is not None:
                on_step(done)
        for i, rows in enumerate(lanes):
            yield Episode.from_rows(rows, id=start + i)


def run_episodes(
    envs: Environments,
    spec: TaskSpec,
    policy: Policy,
    seeds: Sequence[int],
    frames: Frames | None = None,
    on_step: Callable[[int], None] | None = None,
) -> list[Episode]:
    """All of `iter_episodes`; with frames, take them one by one instead."""
    return list(iter_episodes(envs, spec, policy, seeds, frames=frames, on_step=on_step))
