"""`dreamctl train-ac`."""

from pathlib import Path
from typing import Annotated

from dreamctl.cli.options import Follow, How, Init, Planned, Replays, Resuming, Updates, Watching, Which, argument, out_option

WorldModel = Annotated[Path, argument("WM.ckpt", "Checkpoint of either kind; its world model stays as it is.")]


def train_ac(
    world_model: WorldModel,
    replays: Replays,
    *,
    updates: Updates = None,
    init: Init = None,
    follow: Follow = False,
    which: Which,
    out: Annotated[Path, out_option("AGENT.ckpt", "The agent checkpoint, its world model inside.")],
    resuming: Resuming,
    watching: Watching,
    shown: Planned,
    how: How,
) -> None:
    """Train an actor and a critic in a frozen world model's imagination."""
    with how.session(resuming.existing, watching.tensorboard, follow=follow) as session:
        from dreamctl.stages.train_ac import plan, train_ac

        resolved = which.resolve({"--updates": ("train_ac.updates", updates)})
        result = (plan if shown.dry_run else train_ac)(resolved, world_model, replays, out, init, session)
    shown.emit(result)
