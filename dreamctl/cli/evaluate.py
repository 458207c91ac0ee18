"""`dreamctl eval`."""

from pathlib import Path
from typing import Annotated

from dreamctl.cli.options import (
    EXPERIMENT,
    OUTPUT,
    Episodes,
    How,
    NumEnvs,
    Planned,
    Replacing,
    StoreFrames,
    Which,
    argument,
    env_keys,
    option,
    out_option,
)
from dreamctl.core.errors import CheckFailed

Agent = Annotated[Path, argument("AGENT.ckpt", "Agent checkpoint.")]
Env = Annotated[str, option(EXPERIMENT, "Another environment than the agent's own.", "--env", metavar="ENV")]
Action = Annotated[str | None, option(EXPERIMENT, "How it acts (sample).", metavar="sample|mode")]
MinReturn = Annotated[float | None, option(OUTPUT, "Exit 1 where the mean return is below.", metavar="R")]


def evaluate(
    agent: Agent,
    *,
    env: Env = "",
    episodes: Episodes = None,
    action: Action = None,
    num_envs: NumEnvs = None,
    which: Which,
    out: Annotated[Path | None, out_option("EVAL.h5", "The episodes as a replay.")] = None,
    frames: StoreFrames = False,
    min_return: MinReturn = None,
    replacing: Replacing,
    shown: Planned,
    how: How,
) -> None:
    """Play whole episodes and tell their returns."""
    with how.session(replacing.existing) as session:
        from dreamctl.stages.evaluate import EvalResult, evaluate, plan

        given: dict[str, tuple[str, object]] = {"--episodes": ("eval.episodes", episodes), "--action": ("eval.action", action)}
        resolved = which.resolve(env_keys(env, "--env") | given | {"--num-envs": ("eval.num_envs", num_envs)})
        result = plan(resolved, agent, out, session) if shown.dry_run else evaluate(resolved, agent, out, session, frames)
    shown.emit(result)
    if min_return is not None and isinstance(result, EvalResult) and not result.return_mean >= min_return:
        raise CheckFailed(f"{agent}: mean return {result.return_mean:.1f} is below --min-return {min_return:g}; train on")
