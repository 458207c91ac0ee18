"""`dreamctl collect`."""

from pathlib import Path
from typing import Annotated

from dreamctl.cli.options import (
    EXPERIMENT,
    Environment,
    Episodes,
    Growing,
    How,
    NumEnvs,
    Planned,
    Steps,
    StoreFrames,
    Which,
    env_keys,
    option,
    out_option,
)
from dreamctl.core.errors import UsageError

Policy = Annotated[str, option(EXPERIMENT, "Who acts.", metavar="random|AGENT.ckpt")]


def collect(
    env: Environment = "",
    *,
    policy: Policy = "random",
    steps: Steps = None,
    episodes: Episodes = None,
    num_envs: NumEnvs = None,
    which: Which,
    out: Annotated[Path, out_option("REPLAY", "A folder, or NAME.h5.")],
    frames: StoreFrames = False,
    growing: Growing,
    shown: Planned,
    how: How,
) -> None:
    """Act in an environment and write a replay."""
    if steps is not None and episodes is not None:
        raise UsageError("--steps and --episodes: exclude each other; give one of them")
    with how.session(growing.existing) as session:
        from dreamctl.stages.collect import collect, plan

        budget: dict[str, tuple[str, object]] = {"--steps": ("collect.steps", steps), "--episodes": ("collect.episodes", episodes)}
        resolved = which.resolve(env_keys(env) | budget | {"--num-envs": ("env.num_envs", num_envs)})
        actor = None if policy == "random" else Path(policy)
        result = plan(resolved, out, actor, session, frames) if shown.dry_run else collect(resolved, out, actor, session, frames)
    shown.emit(result)
