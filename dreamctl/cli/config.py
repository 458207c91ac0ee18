"""`dreamctl config`."""

import typer

from dreamctl.cli.grouped import grouped
from dreamctl.cli.options import Environment, Shown, Which, env_keys

app = typer.Typer(no_args_is_help=True, help="Experiments as config.")


@app.callback()
def group() -> None:
    """Experiments as config."""


@app.command("show")
@grouped
def show(which: Which, shown: Shown, env: Environment = "") -> None:
    """Print the merged config as YAML, each value with its source; what is printed is itself a valid --config."""
    from dreamctl.stages.config import show

    shown.emit(show(which.resolve(env_keys(env))))
