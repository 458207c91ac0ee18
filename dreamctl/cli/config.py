"""`dreamctl config`."""

import typer

from dreamctl.cli.grouped import grouped
from dreamctl.cli.help import Command, Group
from dreamctl.cli.options import Environment, Shown, Which, env_keys

app = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode=None, help="Experiments as config.")


@app.callback()
def group() -> None:
    """Experiments as config."""


@app.command("show", cls=Command)
@grouped
def show(which: Which, shown: Shown, env: Environment = "") -> None:
    """Print the merged config as YAML, each value with its source; what is printed is itself a valid --config."""
    from dreamctl.stages.config import show

    shown.emit(show(which.resolve(env_keys(env))))
