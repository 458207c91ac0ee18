"""`dreamctl imagine`."""

from pathlib import Path
from typing import Annotated

from dreamctl.cli.options import How, Planned, Replays, Resuming, Which, argument, out_option

Model = Annotated[Path, argument("MODEL.ckpt", "World model or agent.")]


def imagine(
    model: Model,
    replays: Replays,
    *,
    which: Which,
    out: Annotated[Path, out_option("DREAMS.h5", "The imagined rollouts.")],
    resuming: Resuming,
    shown: Planned,
    how: How,
) -> None:
    """Dream from real starts and write imagined rollouts."""
    with how.session(resuming.existing) as session:
        from dreamctl.stages.imagine import imagine, plan

        result = (plan if shown.dry_run else imagine)(which.resolve({}), model, replays, out, session)
    shown.emit(result)
