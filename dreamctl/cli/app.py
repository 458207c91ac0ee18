"""The Typer app: which commands there are, and how an error becomes one line and an exit code."""

import errno
import json
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import typer

from dreamctl.cli import bench, ckpt, collect, config, data, doctor, envs, evaluate, imagine, render, run, train_ac, train_wm
from dreamctl.cli.command_line import COMMAND_LINE
from dreamctl.cli.grouped import grouped
from dreamctl.cli.help import Command, Group
from dreamctl.cli.output import lenient
from dreamctl.core.errors import EXIT_CODES, DreamctlError, Interrupted, OutputError, UsageError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
EPILOG = "\b\nExit codes:\n" + "\n".join(f"{code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())


class Root(Group):
    """The group of all commands; errors are told here, so that whoever calls the app sees exit codes."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> Any:
        """As Typer does it, with wrong usage told in one line."""
        COMMAND_LINE.set(tuple(args))
        with _told():
            _check_filled(args)
            return super().make_context(info_name, args, *rest, **extra)

    def invoke(self, ctx: Any) -> Any:
        """As Typer does it, with errors told in one line."""
        with _told():
            return super().invoke(ctx)


def _check_filled(args: Sequence[str]) -> None:
    """Refuse what a variable that is not set leaves: an empty name would be taken for the current folder.

    Raises:
        UsageError: an argument is empty.
    """
    for before, text in zip(["dreamctl", *args], args, strict=False):
        if not text or re.fullmatch("--[a-z-]+=", text):
            raise UsageError(f"{text or f'the argument after {before}'}: is empty; give it a value, or leave it out")


@contextmanager
def _told() -> Iterator[None]:
    """An error becomes its line on stderr and its exit code; a bug keeps its traceback."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except (Exception, KeyboardInterrupt) as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        code, message = _verdict(error)
        _tell(code, " ".join(message.split("\n")))
        raise typer.Exit(code) from error


def _verdict(error: BaseException) -> tuple[int, str]:
    """Exit code and line of an error; prints the traceback of a bug."""
    if isinstance(error, DreamctlError):
        return error.code, str(error)
    if isinstance(error, KeyboardInterrupt):
        return Interrupted.code, "interrupted"
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return OutputError.code, f"{error.filename or 'output'}: cannot write ({error.strerror}); free some space"
    wrong_usage = getattr(error, "format_message", None)
    if wrong_usage is not None:
        return UsageError.code, f"{_lower(wrong_usage())}; see {_path(error)} --help"
    traceback.print_exception(error)
    return 70, f"{type(error).__name__}: {error}; this is a bug in dreamctl, please report the lines above"


def _tell(code: int, message: str) -> None:
    told = json.dumps({"error": {"code": code, "message": message}}) if "--json" in COMMAND_LINE.get() else f"error: {message}"
    with suppress(BrokenPipeError):
        print(told, file=sys.stderr, flush=True)


def _lower(message: str) -> str:
    """Typer's sentence as the part of a line that ours are."""
    return message[:1].lower() + message[1:].rstrip(".")


def _path(error: BaseException) -> str:
    return str(getattr(getattr(error, "ctx", None), "command_path", "") or "dreamctl")


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"dreamctl {version('dreamctl')}")
        raise typer.Exit


def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Learn a world model of an environment, train an actor-critic in its imagination, and script every step."""
    del version
    if sys.platform == "win32":
        raise UsageError("Windows: dreamctl runs on Linux and macOS; use WSL")


app = typer.Typer(cls=Root, no_args_is_help=True, epilog=EPILOG, pretty_exceptions_enable=False, rich_markup_mode=None)
app.callback()(_root)
STAGES: dict[str, Callable[..., None]] = {
    "collect": collect.collect,
    "train-wm": train_wm.train_wm,
    "imagine": imagine.imagine,
    "train-ac": train_ac.train_ac,
    "eval": evaluate.evaluate,
    "render": render.render,
    "run": run.run,
}
for _name, _function in STAGES.items():
    app.command(_name, cls=Command, rich_help_panel="Stages")(grouped(_function))
for _name, _group in {"envs": envs.app, "data": data.app, "ckpt": ckpt.app, "config": config.app, "bench": bench.app}.items():
    app.add_typer(_group, name=_name, rich_help_panel="Looking")
app.command("doctor", cls=Command, rich_help_panel="Looking")(grouped(doctor.doctor))


def main() -> None:
    """The console script."""
    lenient()
    app(prog_name="dreamctl")
