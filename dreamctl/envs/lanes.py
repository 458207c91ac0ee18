"""Lanes of one task: Gymnasium's own vector environments, in this process or with a process a lane."""

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from multiprocessing import active_children
from typing import Literal

import gymnasium
from gymnasium import Env
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from dreamctl.core.config import to_plain
from dreamctl.core.errors import DreamctlError, EnvironmentFailure
from dreamctl.core.experience import TaskSpec
from dreamctl.core.spaces import check_supported, flat_spaces, stored_space
from dreamctl.envs.discovery import suite_name
from dreamctl.envs.suite import Suite, action_repeat, make_env, one_line

Environments = SyncVectorEnv | AsyncVectorEnv
Vectorize = Literal["auto", "sync", "async"]

SLOW_STEP_S = 1e-3  # a pipe round trip costs 0.1 ms a step: worker processes pay from here on
TRIAL_STEPS = 50
GRACE_S = 20  # that a worker goes on after SIGTERM: for the parent to come to a place where it can stop
# What an environment may raise: it is foreign code, and some leave by `sys.exit`.
FOREIGN = (Exception, SystemExit)


def make_envs(suite: Suite, task: str, num_envs: int, *, render_mode: str | None = None, vectorize: Vectorize = "auto") -> Environments:
    """`num_envs` lanes of a task; the row after an episode's last is the reset row of the next (`AutoresetMode.NEXT_STEP`).

    Args:
        suite: whose task it is.
        task: as in `suite:task`.
        num_envs: number of lanes.
        render_mode: `rgb_array` where frames are wanted.
        vectorize: `async` gives each lane a process; `auto` does so where a step takes over a millisecond and there are cores for it.

    Raises:
        UsageError: the task is unknown.
        EnvironmentFailure: the suite failed.
    """
    lanes = [partial(_lane, suite, task, render_mode, lane, os.getpid()) for lane in range(num_envs)]
    others = active_children()
    try:
        if vectorize == "async" or (vectorize == "auto" and _worth_processes(lanes)):
            # A worker's failure comes back as an exception; Gymnasium would print its traceback beside it.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"gymnasium\.vector\.async_vector_env")
            # Spawned, not forked: a fork would copy torch's threads and open GL contexts in a state that no child can use.
            return AsyncVectorEnv(lanes, context="spawn", autoreset_mode=AutoresetMode.NEXT_STEP)
        return SyncVectorEnv(lanes, autoreset_mode=AutoresetMode.NEXT_STEP)
    except DreamctlError:
        raise
    except Exception as error:  # foreign code, in this process or in a worker
        for process in set(active_children()).difference(others):
            process.kill()
        raise EnvironmentFailure(f"{suite_name(suite)}:{task}: cannot make {num_envs} lanes: {one_line(error)}") from error


def close_envs(envs: Environments) -> None:
    """Close the lanes; where a worker has died nothing can be said to the others, and they are ended."""
    try:
        envs.close()
    except (EOFError, ConnectionError):
        if not isinstance(envs, AsyncVectorEnv):
            raise
        end_envs(envs)


def end_envs(envs: Environments) -> None:
    """End the workers, whatever they are doing; lanes in this process are left as they are."""
    if isinstance(envs, AsyncVectorEnv):
        for process in envs.processes:
            process.kill()
        envs.closed = True


def task_spec(suite: Suite, task: str, env: Env[object, object] | Environments) -> TaskSpec:
    """What a network must know of the task; 64-bit floats become the 32-bit ones that are stored.

    Raises:
        EnvironmentFailure: an observation or the action is of a kind that is not learned from.
    """
    if isinstance(env, Environments):
        observation, action = env.single_observation_space, env.single_action_space
    else:
        observation, action = env.observation_space, env.action_space
    spec = TaskSpec(
        # Sorted as a stored spec is: a decoder built from either has its images on the same channels.
        observation={name: stored_space(space) for name, space in sorted(flat_spaces(observation).items())},
        action=stored_space(action),
        suite=suite_name(suite),
        task=task,
        action_repeat=action_repeat(suite),
        options=to_plain(suite),
    )
    check_supported(spec)
    return spec


def gym_spec(envs: Environments) -> str:
    """Gymnasium's own EnvSpec as JSON, empty where the environment has none."""
    return str(envs.get_attr("gym_spec")[0])


class _Lane(gymnasium.Wrapper[object, object, object, object]):
    """One lane: says in an error where it happened."""

    def __init__(self, env: Env[object, object], place: str) -> None:
        super().__init__(env)
        self.place, self.steps = place, 0
        self.gym_spec = _spec_json(env)

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[object, dict[str, object]]:
        """As the environment's."""
        self.steps = 0
        try:
            return self.env.reset(seed=seed, options=options)
        except FOREIGN as error:
            raise EnvironmentFailure(f"{self.place}: reset: {one_line(error)}") from error

    def step(self, action: object) -> tuple[object, float, bool, bool, dict[str, object]]:
        """As the environment's."""
        self.steps += 1
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
            return observation, float(reward), bool(terminated), bool(truncated), info
        except FOREIGN as error:
            raise EnvironmentFailure(f"{self.place}, step {self.steps} of an episode: {one_line(error)}") from error


def _lane(suite: Suite, task: str, render_mode: str | None, lane: int, driver_process: int) -> Env[object, object]:
    """One environment, in this process or in a worker."""
    if os.getpid() != driver_process:
        # Signals reach every process of a terminal or a batch job; the parent decides when to stop, and stdout is its result.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_S))
        os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            env = make_env(suite, task, render_mode=render_mode)
    except DreamctlError as error:
        if os.getpid() == driver_process:
            raise
        raise SystemExit(str(error)) from error  # one line on stderr; Gymnasium takes no exception from here to the parent
    # Before Gymnasium's vector environments meet a space that they cannot batch: their words would not say what is wrong with it.
    task_spec(suite, task, env)
    return _Lane(env, f"{suite_name(suite)}:{task}: lane {lane}")


def _worth_processes(lanes: Sequence[Callable[[], Env[object, object]]]) -> bool:
    """Whether a step of the environment is slow enough, measured, and there are cores to gain."""
    if len(lanes) == 1 or (os.cpu_count() or 1) == 1:
        return False
    env = lanes[0]()
    env.reset(seed=0)
    env.action_space.seed(0)
    start = time.perf_counter()
    for _ in range(TRIAL_STEPS):
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
    spent = time.perf_counter() - start
    env.close()
    return spent > TRIAL_STEPS * SLOW_STEP_S


def _spec_json(env: Env[object, object]) -> str:
    """Gymnasium's EnvSpec as JSON; empty where there is none, or where it holds what JSON cannot, such as a class as entry point."""
    try:
        return env.unwrapped.spec.to_json() if env.unwrapped.spec else ""
    except (TypeError, ValueError):
        return ""
