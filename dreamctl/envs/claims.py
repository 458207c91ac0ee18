"""What an environment of a suite must keep, each claim a function that raises where it does not hold."""

import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import pairwise
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
from gymnasium import Env
from gymnasium.utils.env_checker import check_env

from dreamctl.core.codec import ActionCodec
from dreamctl.core.config import to_plain
from dreamctl.core.spaces import LEARNED, flat_spaces, flat_values, is_image
from dreamctl.envs.discovery import build_suite
from dreamctl.envs.lanes import task_spec
from dreamctl.envs.suite import Drawing, Listing, Suite, make_env

SOME_STEPS = 100


class Violation(Exception):
    """The claim does not hold."""


class NoOccasion(Exception):
    """The claim could not be looked at."""


class _Step(NamedTuple):
    observation: object
    reward: float
    terminated: bool
    truncated: bool


@dataclass(frozen=True)
class Subject:
    """The task that is looked at.

    Attributes:
        suite: its suite, options and all.
        task: its name there.
        max_steps: how long to wait for an episode's end.
    """

    suite: Suite
    task: str
    max_steps: int

    @contextmanager
    def env(self, render_mode: str | None = None) -> Iterator[Env[object, object]]:
        """A fresh environment, closed in the end."""
        env = make_env(self.suite, self.task, render_mode=render_mode)
        try:
            yield env
        finally:
            env.close()

    def play(self, seed: int, steps: int, *, action_seed: int | None = None) -> list[_Step]:
        """An episode of random actions, the reset first, cut after `steps` of them."""
        with self.env() as env:
            observation, _ = env.reset(seed=seed)
            env.action_space.seed(seed if action_seed is None else action_seed)
            rows = [_Step(observation, 0.0, False, False)]
            while len(rows) <= steps and not (rows[-1].terminated or rows[-1].truncated):
                observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
                rows.append(_Step(observation, reward, terminated, truncated))  # type: ignore[arg-type]
        return rows


def _gymnasium_accepts(subject: Subject) -> None:
    with subject.env() as env:
        check_env(env, skip_render_check=True)


def _spaces_are_supported(subject: Subject) -> None:
    with subject.env() as env:
        task_spec(subject.suite, subject.task, env)


def _task_is_listed(subject: Subject) -> None:
    if not isinstance(subject.suite, Listing):
        raise NoOccasion("the suite lists no tasks")
    if subject.task not in subject.suite.tasks() and ":" not in subject.task:
        raise Violation(f"tasks() does not hold {subject.task!r}")


def _options_round_trip(subject: Subject) -> None:
    suite = subject.suite
    again = build_suite(type(suite), to_plain(suite))
    if again != suite or pickle.loads(pickle.dumps(suite)) != suite:
        raise Violation(f"{suite} became {again}")
    if not type(suite).__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise Violation(f"{type(suite).__name__} is not frozen")


def _observations_fit(subject: Subject) -> None:
    with subject.env() as env:
        space = env.observation_space
        given: list[tuple[object, object]] = []
        env.action_space.seed(0)
        observation, _ = env.reset(seed=0)
        for step in range(SOME_STEPS):
            if not space.contains(observation):
                raise Violation(f"step {step}: {observation} is not in {space}")
            if not all(np.isfinite(value).all() for value in flat_values(observation).values() if value.dtype.kind == "f"):
                raise Violation(f"step {step}: {observation} is not finite")
            given.append((observation, deepcopy(observation)))
            observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                observation, _ = env.reset()
    for step, (later, then) in enumerate(given):
        if not _same(later, then):
            raise Violation(f"the observation of step {step} was overwritten by a later one; return copies")


def _rewards_and_flags_are_plain(subject: Subject) -> None:
    for step, row in enumerate(subject.play(0, SOME_STEPS)):
        if np.ndim(row.reward) or not np.isfinite(float(row.reward)):
            raise Violation(f"step {step}: reward is {row.reward!r}, wanted a finite number")
        if not all(isinstance(flag, bool | np.bool_) for flag in (row.terminated, row.truncated)):
            raise Violation(f"step {step}: flags are {row.terminated!r} and {row.truncated!r}, wanted booleans")


def _time_limit_truncates(subject: Subject) -> None:
    episodes = [subject.play(seed, subject.max_steps) for seed in range(3)]
    lengths = [len(rows) - 1 for rows in episodes]
    if not all(rows[-1].terminated or rows[-1].truncated for rows in episodes):
        raise NoOccasion(f"an episode did not end within {subject.max_steps} steps")
    # Other seeds and other actions end a task at other times: equal lengths are a clock's.
    if lengths[0] > 1 and len(set(lengths)) == 1 and all(rows[-1].terminated and not rows[-1].truncated for rows in episodes):
        raise Violation(f"3 of 3 episodes end terminated after exactly {lengths[0]} steps; a time limit is truncated, not terminated")


def _seed_reproduces(subject: Subject) -> None:
    if not getattr(subject.suite, "deterministic", True):
        raise NoOccasion("the suite says that it is not deterministic")
    first, second = (subject.play(3, SOME_STEPS) for _ in range(2))
    for step, (left, right) in enumerate(zip(first, second, strict=False)):
        if not _same(left, right):
            raise Violation(f"two episodes of seed 3 and the same actions differ at step {step}")


def _seeds_differ(subject: Subject) -> None:
    first, second = (subject.play(seed, SOME_STEPS, action_seed=0) for seed in (0, 1))
    if len(first) == len(second) and all(_same(left, right) for left, right in zip(first, second, strict=True)):
        raise NoOccasion("seeds 0 and 1 give the same episode: nothing in it is random")


def _extreme_actions_are_survived(subject: Subject) -> None:
    with subject.env() as env:
        if not all(isinstance(leaf, LEARNED) for leaf in flat_spaces(env.action_space).values()):
            raise NoOccasion(f"a {type(env.action_space).__name__} action")
        codec = ActionCodec(env.action_space)
        corners = [codec.from_columns({name: leaf.corners[side] for name, leaf in codec.leaves.items()}) for side in (0, 1)]
        for action in map(codec.clip, corners):
            env.reset(seed=0)
            observation, *_ = env.step(action)
            if not env.observation_space.contains(observation):
                raise Violation(f"action {action} leads to {observation}, which is not in {env.observation_space}")


def _action_repeat_sums(subject: Subject) -> None:
    if not is_dataclass(subject.suite) or "action_repeat" not in {field.name for field in fields(subject.suite)}:
        raise NoOccasion("the suite has no action_repeat")
    single, triple = (replace(subject.suite, action_repeat=repeat) for repeat in (1, 3))  # type: ignore[call-arg]
    with Subject(single, subject.task, 0).env() as one, Subject(triple, subject.task, 0).env() as three:
        one.reset(seed=0)
        three.reset(seed=0)
        one.action_space.seed(0)
        for step in range(SOME_STEPS // 3):
            action = one.action_space.sample()
            observation, reward, terminated, truncated, _ = three.step(action)
            total = 0.0
            for _ in range(3):
                *row, ended, cut, _ = one.step(action)
                total += float(row[1])
                if ended or cut:
                    break
            if not np.isclose(total, float(reward)) or not _same(row[0], observation) or (ended, cut) != (terminated, truncated):
                raise Violation(f"step {step}: an action that lasts 3 frames gives reward {reward}, three of one frame {total}")
            if terminated or truncated:
                break


def _closes_twice(subject: Subject) -> None:
    with subject.env() as env:
        env.reset(seed=0)
        env.close()


def _runs_in_a_fresh_process(subject: Subject) -> None:
    display = os.environ.pop("DISPLAY", None)
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(_first_step, subject).result(timeout=300)
    finally:
        if display is not None:
            os.environ["DISPLAY"] = display


def _first_step(subject: Subject) -> None:
    subject.play(0, 1)


def _frames_are_pictures(subject: Subject) -> None:
    with subject.env() as env:
        if "rgb_array" not in env.metadata.get("render_modes", ()):
            raise NoOccasion("no render mode rgb_array")
    with subject.env("rgb_array") as env:
        observation, _ = env.reset(seed=0)
        pictures: dict[str, object] = {"render()": env.render()}
        if isinstance(subject.suite, Drawing):
            pictures["draw()"] = subject.suite.draw(env, flat_values(observation))
    for what, picture in pictures.items():
        if what == "draw()" and picture is None:
            continue
        if not (isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3):
            raise Violation(f"{what} gives {type(picture).__name__} {getattr(picture, 'shape', '')}, wanted uint8 (height, width, 3)")


def _images_change(subject: Subject) -> None:
    with subject.env() as env:
        leaves = flat_spaces(env.observation_space)
    names = [name for name, space in leaves.items() if is_image(space)]
    if not names:
        meant = [f"; {name!r} of {space.dtype} is learned as a vector" for name, space in leaves.items() if len(space.shape or ()) == 3]
        raise NoOccasion(f"no image is observed (a Box of uint8 is one){''.join(meant[:1])}")
    rows = [flat_values(row.observation) for row in subject.play(0, SOME_STEPS)]
    for name in names:
        if all(np.array_equal(left[name], right[name]) for left, right in pairwise(rows)):
            raise Violation(f"image {name!r} stays the same for {len(rows)} steps")


def _same(left: object, right: object) -> bool:
    """Equal through mappings and sequences, NaN equal to itself."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(_same(a, b) for a, b in zip(left, right, strict=True))
    first, second = np.asarray(left), np.asarray(right)
    return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")


CHECKS: Mapping[str, Callable[[Subject], None]] = {
    "Gymnasium's own checker accepts it": _gymnasium_accepts,
    "its spaces are learned from": _spaces_are_supported,
    "the task is listed": _task_is_listed,
    "options survive a round trip": _options_round_trip,
    "observations fit their space, are finite and are not overwritten": _observations_fit,
    "rewards are finite numbers and flags are booleans": _rewards_and_flags_are_plain,
    "a time limit truncates": _time_limit_truncates,
    "a seed reproduces an episode": _seed_reproduces,
    "another seed gives another episode": _seeds_differ,
    "the action space's corners are survived": _extreme_actions_are_survived,
    "action repeat sums rewards and stops at the end": _action_repeat_sums,
    "close may be called twice": _closes_twice,
    "it runs in a fresh process without a display": _runs_in_a_fresh_process,
    "frames are pictures": _frames_are_pictures,
    "observed images change": _images_change,
}
