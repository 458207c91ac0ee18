"""`dreamctl run`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from dreamctl.cli.options import OUTPUT, How, NumEnvs, Planned, Resuming, Steps, Watching, Which, argument, option, out_option

Experiment = Annotated[str | None, argument("FILE.yaml:NAME", "A named experiment, as with --config.")]


@dataclass(frozen=True)
class Beginning(Resuming):
    """What to do with a run that exists."""

    overwrite: Annotated[bool, option(OUTPUT, "Begin anew; what an older run wrote there goes first.", "--overwrite")] = False


def run(
    experiment: Experiment = None,
    *,
    steps: Steps = None,
    num_envs: NumEnvs = None,
    which: Which,
    out: Annotated[Path, out_option("DIR", "The run's folder.")],
    resuming: Beginning,
    watching: Watching,
    shown: Planned,
    how: How,
) -> None:
    """Learn an environment from nothing: collect, train, evaluate, dream, render."""
    with how.session(resuming.existing, watching.tensorboard) as session:
        from dreamctl.stages.run import plan, run

        short: dict[str, tuple[str, object]] = {"--steps": ("run.steps", steps), "--num-envs": ("env.num_envs", num_envs)}
        result = (plan if shown.dry_run else run)(which.resolve(short, experiment), out, session)
    shown.emit(result)
