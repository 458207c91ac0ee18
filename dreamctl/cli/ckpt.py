"""`dreamctl ckpt`."""

from pathlib import Path
from typing import Annotated

import typer

from dreamctl.cli.grouped import grouped
from dreamctl.cli.help import Command, Group
from dreamctl.cli.options import Shown, argument

app = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode=None, help="Checkpoints.")
File = Annotated[Path, argument("FILE.ckpt", "World model or agent.")]


@app.callback()
def group() -> None:
    """Checkpoints."""


@app.command("show", cls=Command)
@grouped
def show(file: File, shown: Shown) -> None:
    """Tell what a checkpoint is and where it comes from."""
    from dreamctl.stages.ckpt import show

    shown.emit(show(file))
