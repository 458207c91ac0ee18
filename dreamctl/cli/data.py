"""`dreamctl data`."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from dreamctl.cli import convert, data_edit
from dreamctl.cli.command_line import COMMAND_LINE
from dreamctl.cli.grouped import grouped
from dreamctl.cli.help import Command, Group
from dreamctl.cli.options import EXPERIMENT, LARGEST_SEED, OUTPUT, Replacing, Replays, Shown, Which, argument, option, out_option
from dreamctl.cli.output import emit_lines, reader_stays
from dreamctl.core.errors import CheckFailed, Interrupted, StoppedEarly, UsageError

app = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode=None, help="Replays and imagined rollouts.")


LOOKING, MENDING, CHANGING = "Looking", "Mending", "Changing"
EVERY = 1.0  # seconds between two looks at a replay that grows
One = Annotated[Path, argument("A", "A replay file or folder.")]
Other = Annotated[Path, argument("B", "Another one.")]


def named(paths: list[Path]) -> str:
    """Paths as a message begins."""
    return ", ".join(map(str, paths))


@app.callback()
def group() -> None:
    """Replays and imagined rollouts."""


@app.command("info", cls=Command, rich_help_panel=LOOKING)
@grouped
def info(replays: Replays, shown: Shown) -> None:
    """Tell what replays hold."""
    from dreamctl.stages.data import info

    shown.emit(info(replays))


@app.command("ls", cls=Command, rich_help_panel=LOOKING)
@grouped
def ls(
    replays: Replays,
    shown: Shown,
    episodes: Annotated[bool, option(OUTPUT, "One line an episode instead of a file.", "--episodes")] = False,
) -> None:
    """List the files of replays, damaged ones too."""
    from dreamctl.stages.data_ls import ls, ls_episodes

    shown.emit(ls_episodes(replays) if episodes else ls(replays))


@app.command("schema", cls=Command, rich_help_panel=LOOKING)
@grouped
def schema(replays: Replays, shown: Shown) -> None:
    """Show the datasets of replays and how they are stored."""
    from dreamctl.stages.data_schema import schema

    shown.emit(schema(replays))


@app.command("stats", cls=Command, rich_help_panel=LOOKING)
@grouped
def stats(replays: Replays, shown: Shown) -> None:
    """Figures of each column, of choices, returns and lengths."""
    from dreamctl.stages.data_stats import stats

    shown.emit(stats(replays))


@app.command("tail", cls=Command, rich_help_panel=LOOKING)
@grouped
def tail(
    replays: Replays,
    shown: Shown,
    number: Annotated[int, option(OUTPUT, "How many of those that are there (10).", "-n", metavar="N", least=0)] = 10,
    rows: Annotated[bool, option(OUTPUT, "Rows of each stream instead of episodes.", "--rows")] = False,
    growing: Annotated[bool, option(OUTPUT, "Go on with those that come, until interrupted.", "--follow", "-f")] = False,
) -> None:
    """Show the last episodes, and go on while a replay grows.

    \b
    dreamctl data tail -f replay             each episode as it ends, until Ctrl-C
    dreamctl data tail --rows -n 3 replay    the last three rows of each stream
    """
    from dreamctl.core.session import Stop
    from dreamctl.stages.data_tail import follow, tail

    if not growing:
        shown.emit(tail(replays, number, rows=rows))
        return
    if shown.quiet:
        raise UsageError("-q and --follow: exclude each other; nothing is written")
    stop = Stop()
    try:
        # A KeyboardInterrupt alone might be lost where Python drops exceptions, such as while something is let go.
        with stop.on_signals():
            emit_lines(follow(replays, number, lambda: not stop.requested() and reader_stays(EVERY), rows=rows), as_json=shown.as_json)
    except KeyboardInterrupt as end:  # how following ends: nothing to tell
        raise typer.Exit(Interrupted.code) from end
    if stop.requested():
        raise typer.Exit(Interrupted.code if stop.signal == signal.SIGINT else StoppedEarly.code)


@app.command("sample", cls=Command, rich_help_panel=LOOKING)
@grouped
def sample(
    replays: Replays,
    *,
    which: Which,
    seed: Annotated[int, option(EXPERIMENT, "Of the draws (0).", metavar="N", least=0, most=LARGEST_SEED)] = 0,
    batch: Annotated[int, option(EXPERIMENT, "Which batch of that seed (0).", metavar="K", least=0)] = 0,
    out: Annotated[Path | None, out_option("FILE", ".npz for the arrays, .png for a contact sheet.")] = None,
    replacing: Replacing,
    shown: Shown,
) -> None:
    """Draw one batch, as a training would.

    \b
    dreamctl data sample replay -o batch.png --set replay.batch_length=16
    dreamctl data sample replay -o batch.npz --preset dreamer-v3 --batch 5
    """
    from dreamctl.core.session import Session
    from dreamctl.stages.data_sample import drawn_by, sample

    session = Session(seed=seed, existing=replacing.existing)
    shown.emit(sample(replays, drawn_by(which.layers({})), batch=batch, out=out, session=session))


@app.command("verify", cls=Command, rich_help_panel=MENDING)
@grouped
def verify(
    replays: Replays, shown: Shown, deep: Annotated[bool, option(EXPERIMENT, "Decode every byte and check it.", "--deep")] = False
) -> None:
    """Check every file of replays; exit 1 where one is damaged.

    Without --deep: that each file is whole, its episodes fit together and small columns are finite. Rows of live shards have no checksum;
    what is sealed has one.
    """
    from dreamctl.stages.data_verify import verify_replays
    from dreamctl.stages.tables import count

    result = verify_replays(replays, deep=deep)
    shown.emit(result)
    if result.found.problems:
        found = result.found
        what = f"{count(len(found.problems), 'problem')} in {count(found.files, 'file')}"
        raise CheckFailed(f"{named(replays)}: {what}; see `dreamctl data repair`")


@app.command("repair", cls=Command, rich_help_panel=MENDING)
@grouped
def repair(
    replays: Replays,
    *,
    salvage: Annotated[Path | None, option(OUTPUT, "Write what can be read to a new file.", "--salvage", metavar="FILE.h5")] = None,
    replacing: Replacing,
    shown: Shown,
) -> None:
    """Seal what a crash left; exit 1 where files are damaged.

    \b
    dreamctl data repair replay
    dreamctl data repair replay --salvage saved.h5    what can be read of damaged files too
    """
    from dreamctl.core.session import Session
    from dreamctl.stages.data_repair import repair
    from dreamctl.stages.tables import count

    session = Session(existing=replacing.existing, command=("dreamctl", *COMMAND_LINE.get()))
    result = repair(replays, salvage, session)
    shown.emit(result)
    if result.left and salvage is None:
        left = count(result.left, "problem")
        raise CheckFailed(f"{named(replays)}: {left} left; --salvage NEW.h5 writes what can be read to a new file")


@app.command("diff", cls=Command, rich_help_panel=LOOKING)
@grouped
def diff(left: One, right: Other, shown: Shown) -> None:
    """Compare two replays by content; exit 1 where they differ."""
    from dreamctl.stages.data_diff import diff

    result = diff(left, right)
    shown.emit(result)
    if not result.found.equal:
        raise CheckFailed(f"{left} and {right}: differ")


_EDITING: dict[str, Callable[..., None]] = {
    "merge": data_edit.merge,
    "split": data_edit.split,
    "filter": data_edit.filter_episodes,
    "prune": data_edit.prune,
    "convert": convert.convert,
}
for _name, _function in _EDITING.items():
    app.command(_name, cls=Command, rich_help_panel=CHANGING)(grouped(_function))
