"""`dreamctl bench`."""

from typing import Annotated

import typer

from dreamctl.cli.grouped import grouped
from dreamctl.cli.help import Command, Group
from dreamctl.cli.options import EXPERIMENT, How, Shown, option

app = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode=None, help="How fast this installation is.")
Rows = Annotated[int, option(EXPERIMENT, "Rows to render and write (8000).", "--steps", metavar="N", least=200)]
Rounds = Annotated[int, option(EXPERIMENT, "How often each thing is timed; the median counts (5).", metavar="N", least=1)]
Seed = Annotated[int, option(EXPERIMENT, "Of the rendered episodes (0).", metavar="N", least=0)]


@app.callback()
def group() -> None:
    """How fast this installation is."""


@app.command("replay", cls=Command)
@grouped
def replay(shown: Shown, steps: Rows = 8000, rounds: Rounds = 5, seed: Seed = 0) -> None:
    """Time a replay: sample, append, seal, open, size on disk.

    \b
    taskset -c 0 dreamctl bench replay    on one core

    CartPole is rendered and written to a temporary folder, then read in every way: by this format's sampler, by plain h5py on the same
    files, and as arrays in memory. CPU time counts, the median of the rounds.
    """
    with How(seed=seed).session() as session:
        from dreamctl.stages.bench import bench_replay

        result = bench_replay(steps, rounds, session)
    shown.emit(result)
