"""`dreamctl envs`."""

from typing import Annotated

import typer

from dreamctl.cli.grouped import grouped
from dreamctl.cli.help import Command, Group
from dreamctl.cli.options import How, Shown, Which, argument
from dreamctl.core.errors import CheckFailed

app = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode=None, help="Environment suites that are installed.")
Name = Annotated[str, argument("SUITE", "One suite: its options and tasks.")]
Env = Annotated[str, argument("ENV", "SUITE:TASK or a Gymnasium id.")]


@app.command("list", cls=Command)
@grouped
def list_suites(shown: Shown, name: Name = "") -> None:
    """List the suites; with a name, its options and tasks."""
    from dreamctl.stages.envs import show_suite, suites

    with How().session():
        result = show_suite(name) if name else suites()
    shown.emit(result)


@app.command("check", cls=Command)
@grouped
def check(env: Env, which: Which, shown: Shown) -> None:
    """Check that an environment keeps what dreamctl relies on."""
    with How().session():
        from dreamctl.stages.envs import check_env, suite_and_task

        suite, task = suite_and_task(env)
        # Options are of one suite: those of a config for another one are none of this one's.
        layers = [layer.values.get("env", {}) for layer in which.layers({})]
        given = {key: value for values in layers if values.get("suite", suite) == suite for key, value in values.items()}
        result = check_env(suite, task, given)
    shown.emit(result)
    if result.failed:
        raise CheckFailed(f"{suite}:{task}: {result.failed} of {len(result.findings)} checks failed")
