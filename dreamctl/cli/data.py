"""`dreamctl data`."""

import typer

from dreamctl.cli.grouped import grouped
from dreamctl.cli.help import Command, Group
from dreamctl.cli.options import Replays, Shown

app = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode=None, help="Replays and imagined rollouts.")


@app.callback()
def group() -> None:
    """Replays and imagined rollouts."""


@app.command("info", cls=Command)
@grouped
def info(replays: Replays, shown: Shown) -> None:
    """Tell what replays hold."""
    from dreamctl.stages.data import info

    shown.emit(info(replays))
