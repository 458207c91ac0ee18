"""The environments that a stage acts in."""

import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dreamctl.core.errors import UsageError
from dreamctl.core.experience import Row, TaskSpec
from dreamctl.envs.discovery import build_suite, load_suite
from dreamctl.envs.driver import Environments, close_envs, end_envs, make_envs, task_spec
from dreamctl.envs.suite import Suite
from dreamctl.stages.experiment import EnvConfig


@contextmanager
def environments(config: EnvConfig, frames: bool, lanes: int = 0) -> Iterator[tuple[Suite, Environments, TaskSpec]]:
    """The suite, its lanes and their spec; closed when left.

    Raises:
        UsageError: no environment was named, or an unknown one.
    """
    if not config.task:
        raise UsageError("env.task: no environment was named; give ENV such as CartPole-v1, or --set env.task=")
    suite = build_suite(load_suite(config.suite), config.options)
    mode = "rgb_array" if frames else None
    envs = make_envs(suite, config.task, lanes or config.num_envs, render_mode=mode, vectorize=config.vectorize)
    try:
        yield suite, envs, task_spec(suite, config.task, envs)
    except KeyboardInterrupt:  # someone asked a second time
        end_envs(envs)
        raise
    finally:
        close_envs(envs)


def check_lanes(config: EnvConfig) -> None:
    """Refuse more lanes than there can be open files: whoever writes rows of a lane holds its shard and a lock.

    Raises:
        UsageError: there are too many.
    """
    lanes, most = config.num_envs, resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if most != resource.RLIM_INFINITY and 2 * lanes >= most:
        need = f"{lanes} lanes need {2 * lanes} open files, and {most} are allowed"
        raise UsageError(f"env.num_envs: {need}; use fewer, or raise the limit with `ulimit -n`")


def take(rows: Sequence[Row], budget: int) -> list[Row]:
    """Rows that cost at most `budget` actions: lanes beyond it keep their last one untaken."""
    taken, left = [], budget
    for row in rows:
        if row.is_first or left > 0:
            taken.append(row)
            left -= not row.is_first
    return taken
