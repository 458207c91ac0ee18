"""`dreamctl train-wm`."""

from pathlib import Path
from typing import Annotated

from dreamctl.cli.options import Follow, How, Init, Planned, Replays, Resuming, Updates, Watching, Which, out_option


def train_wm(
    replays: Replays,
    *,
    updates: Updates = None,
    init: Init = None,
    follow: Follow = False,
    which: Which,
    out: Annotated[Path, out_option("WM.ckpt", "The world-model checkpoint.")],
    resuming: Resuming,
    watching: Watching,
    shown: Planned,
    how: How,
) -> None:
    """Train a world model on replays."""
    with how.session(resuming.existing, watching.tensorboard, follow=follow) as session:
        from dreamctl.stages.train_wm import plan, train_wm

        resolved = which.resolve({"--updates": ("train_wm.updates", updates)})
        result = (plan if shown.dry_run else train_wm)(resolved, replays, out, init, session)
    shown.emit(result)
