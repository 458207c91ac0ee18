"""What an environment suite is: a frozen dataclass of typed options that makes ordinary Gymnasium environments.

A plugin names its class in the entry-point group `dreamctl.envs`. What a suite may add to `make`, each optional:

    draw(env, observation) -> (height, width, 3) uint8, or None    the picture of an observation, imagined ones too
    tasks() -> list of str                                         what `make` knows, for listings and nearest names
    action_repeat: int                                             environment frames an action lasts
    deterministic: bool                                            False where a seed does not reproduce an episode
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from gymnasium import Env
from numpy.typing import NDArray

from dreamctl.core.errors import DreamctlError, EnvironmentFailure
from dreamctl.core.experience import Array

Frame = NDArray[np.uint8]


class Suite(Protocol):
    """A maker of environments; its fields are the options that `--set env.<option>=` sets."""

    def make(self, task: str, *, render_mode: str | None = None) -> Env[object, object]:
        """The environment of `task`; the seed goes to its `reset`."""


@runtime_checkable
class Drawing(Protocol):
    """A suite that can show what an observation looks like."""

    def draw(self, env: Env[object, object], observation: Mapping[str, Array]) -> Frame | None:
        """(height, width, 3) of one observation, None where this task cannot be drawn.

        Args:
            env: made with render_mode `rgb_array` and reset once; its state is overwritten.
            observation: name -> array of the space's shape, without batch axes.
        """


@runtime_checkable
class Listing(Protocol):
    """A suite that knows the names of its tasks."""

    def tasks(self) -> list[str]:
        """What `make` takes, sorted."""


def action_repeat(suite: Suite) -> int:
    """Environment frames an action lasts in this suite."""
    return int(getattr(suite, "action_repeat", 1))


def make_env(suite: Suite, task: str, *, render_mode: str | None = None) -> Env[object, object]:
    """The environment of `task`; whatever the suite raises becomes one line.

    Raises:
        UsageError: the task is unknown.
        EnvironmentFailure: the suite failed.
    """
    try:
        return suite.make(task, render_mode=render_mode)
    except DreamctlError:
        raise
    except Exception as error:  # a suite is foreign code and raises what it likes
        raise EnvironmentFailure(f"{type(suite).__name__}: cannot make {task!r}: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """An exception's kind and message without line breaks."""
    return " ".join(f"{type(error).__name__}: {error}".split())
