"""`eval`: whole episodes of an agent in its environment, each from a seed of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.experience import Episode, TaskSpec
from dreamctl.core.provenance import file_hash
from dreamctl.core.session import Session
from dreamctl.envs.driver import Environments, Frames, Policy, gym_spec, iter_episodes
from dreamctl.replay.writer import write_episodes
from dreamctl.stages.agent import check_task
from dreamctl.stages.environments import environments
from dreamctl.stages.experiment import EnvConfig, Resolved, recorded
from dreamctl.stages.output import check_file
from dreamctl.stages.plan import Plan
from dreamctl.stages.policy import load_policy

# Seeds of reported scores, of the choice of the best checkpoint, and of collecting never meet.
REPORT_SEEDS, CHOICE_SEEDS = 1_000_000, 2_000_000
SEEDS_A_RUN = 10_000


@dataclass(frozen=True)
class EvalResult:
    """Undiscounted returns of whole episodes.

    Attributes:
        path: where the episodes were written, or None.
        env: `suite:task`.
        returns, lengths, seeds: one an episode, in order; a length is in environment steps.
    """

    path: Path | None
    env: str
    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    seeds: tuple[int, ...]

    @property
    def return_mean(self) -> float:
        """The score."""
        return float(np.mean(self.returns))

    def to_json(self) -> dict[str, object]:
        """As one object; the interval is the normal approximation's half-width of the mean."""
        returns = np.array(self.returns)
        spread = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
        return {
            **({"path": str(self.path)} if self.path else {}),
            "env": self.env,
            "return_mean": self.return_mean,
            "return_std": spread,
            "return_min": float(returns.min()),
            "return_max": float(returns.max()),
            "return_median": float(np.median(returns)),
            "return_ci95": 1.96 * spread / len(returns) ** 0.5,
            "length_mean": float(np.mean(self.lengths)),
            "episodes": len(returns),
            "env_steps": sum(self.lengths),
            "returns": list(self.returns),
            "seeds": list(self.seeds),
        }

    def summary(self) -> str:
        """For a person."""
        found = self.to_json()
        numbers = f"mean return {self.return_mean:.1f} ± {found['return_ci95']:.1f}, {min(self.returns):.0f} to {max(self.returns):.0f}"
        return f"{self.env}: {numbers} over {len(self.returns)} episodes ({found['env_steps']} steps)"


def evaluate(resolved: Resolved, agent: Path, out: Path | None, session: Session, frames: bool = False) -> EvalResult:
    """Play `eval.episodes` episodes.

    Args:
        resolved: the experiment; sections env and eval. Without a task in it the agent's own environment is played.
        agent: the checkpoint.
        out: NAME.h5 for the episodes, or None.
        session: how it is run.
        frames: store `env.render()` beside each row.

    Raises:
        UsageError, InputError, EnvironmentFailure, OutputError, StoppedEarly, Interrupted: as DESIGN section 5 says.
    """
    if out is not None:
        check_file(out, session, resume=False)
    checkpoint = Checkpoint.load(agent)
    config = resolved.experiment.eval
    policy = load_policy(checkpoint, agent, session, action=config.action, seed=session.seed)
    seeds = report_seeds(session.seed, config.episodes)
    pictures = Frames(config.frame_size) if frames else None
    with environments(_environment(resolved, checkpoint, agent), frames, lanes=config.lanes) as (_, envs, spec):
        _check_fits(checkpoint, agent, spec)
        episodes = play(envs, spec, policy, seeds, session, pictures)
        origin = gym_spec(envs)
    if out is not None:
        parent = {"agent": str(agent), "sha256": file_hash(agent), "updates": checkpoint.updates, "action": config.action}
        write_episodes(
            out, spec, episodes, kind="env", parent={}, seed=session.seed, policy=parent, command=session.command, gym_spec=origin
        )
    return scores(spec, episodes, out)


def plan(resolved: Resolved, agent: Path, out: Path | None, session: Session) -> Plan:
    """What `evaluate` would do."""
    if out is not None:
        check_file(out, session, resume=False)
    checkpoint = Checkpoint.load(agent)
    config = resolved.experiment.eval
    load_policy(checkpoint, agent, session, action=config.action, seed=session.seed)
    with environments(_environment(resolved, checkpoint, agent), frames=False, lanes=1) as (_, _, spec):
        _check_fits(checkpoint, agent, spec)
    return Plan(
        {
            "environment": spec.name,
            "agent": f"{agent}: {checkpoint.updates} updates, {checkpoint.env_steps} environment steps",
            "episodes": f"{config.episodes}, {config.lanes} at once, actions by {config.action}",
            "output": str(out or "none"),
        }
    )


def play(
    envs: Environments, spec: TaskSpec, policy: Policy, seeds: Sequence[int], session: Session, frames: Frames | None = None
) -> list[Episode]:
    """One episode a seed.

    Raises:
        StoppedEarly, Interrupted: when asked to stop; there is nothing to save.
    """

    def on_step(done: int) -> None:
        session.progress.update(len(episodes), steps=done)
        if session.stop.requested():
            raise session.stop.lost("eval", f"episode {len(episodes)} of {len(seeds)}")

    episodes: list[Episode] = []
    session.progress.start("eval", len(seeds))
    for episode in iter_episodes(envs, spec, policy, seeds, frames=frames, on_step=on_step):
        episodes.append(episode)
    return episodes


def scores(spec: TaskSpec, episodes: Sequence[Episode], path: Path | None = None) -> EvalResult:
    """The result that these episodes make."""
    return EvalResult(
        path=path,
        env=spec.name,
        returns=tuple(episode.episode_return for episode in episodes),
        lengths=tuple(len(episode) - 1 for episode in episodes),
        seeds=tuple(episode.seed for episode in episodes),
    )


def report_seeds(seed: int, episodes: int) -> list[int]:
    """Seeds of the episodes that a score is reported on."""
    return [REPORT_SEEDS + seed * SEEDS_A_RUN + i for i in range(episodes)]


def choice_seeds(seed: int, episodes: int) -> list[int]:
    """Seeds of the episodes by which `run` chooses its best checkpoint."""
    return [CHOICE_SEEDS + seed * SEEDS_A_RUN + i for i in range(episodes)]


def _check_fits(checkpoint: Checkpoint, agent: Path, spec: TaskSpec) -> None:
    """Whether the agent can act here: another task will do, as long as its spaces are the same."""
    check_task(replace(checkpoint.spec, suite=spec.suite, task=spec.task, action_repeat=spec.action_repeat), agent, spec, "the environment")


def _environment(resolved: Resolved, checkpoint: Checkpoint, agent: Path) -> EnvConfig:
    """The environment asked for, otherwise the one that the agent was trained in."""
    asked = resolved.experiment.env
    if asked.task:
        return asked
    trained = recorded(checkpoint.config, agent).experiment.env
    spec = checkpoint.spec
    return EnvConfig(spec.suite, spec.task, trained.num_envs, asked.vectorize, spec.options)
