"""Options that several commands share, in groups, and what they mean: layers of config, a session, an output format."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.models import ArgumentInfo, OptionInfo

from dreamctl.cli.command_line import COMMAND_LINE
from dreamctl.cli.output import Result, emit, result_only
from dreamctl.core.errors import UsageError

if TYPE_CHECKING:
    from dreamctl.core.config import Layer
    from dreamctl.core.session import Existing, Session
    from dreamctl.stages.experiment import Resolved

LARGEST_SEED = 2**32 - 1
EXPERIMENT, OUTPUT, RUNNING = "Experiment", "Output", "How it is run"


def option(
    panel: str, text: str, *names: str, metavar: str | None = None, least: float | None = None, most: float | None = None
) -> OptionInfo:
    """An option in a panel of the help, without a default shown."""
    limits: dict[str, Any] = {"min": least, "max": most, "readable": False}  # whoever opens a file says why that cannot be
    made: OptionInfo = typer.Option(*names, metavar=metavar, help=text, rich_help_panel=panel, show_default=False, **limits)
    return made


def argument(metavar: str, text: str) -> ArgumentInfo:
    """A positional argument."""
    made: ArgumentInfo = typer.Argument(metavar=metavar, help=text, show_default=False, readable=False)
    return made


def out_option(metavar: str, text: str) -> OptionInfo:
    """The option -o of one command."""
    return option(OUTPUT, text, "--out", "-o", metavar=metavar)


Environment = Annotated[str, argument("ENV", "SUITE:TASK or a Gymnasium id: env.suite and env.task.")]
Replays = Annotated[list[Path], argument("REPLAY", "Replay files or folders.")]
Updates = Annotated[int | None, option(EXPERIMENT, "Gradient updates.", metavar="N", least=1)]
NumEnvs = Annotated[int | None, option(EXPERIMENT, "Environments at once.", metavar="N", least=1)]
Steps = Annotated[int | None, option(EXPERIMENT, "Actions taken in the environment.", metavar="N", least=1)]
Episodes = Annotated[int | None, option(EXPERIMENT, "Whole episodes.", metavar="N", least=1)]
Init = Annotated[Path | None, option(EXPERIMENT, "Start from the weights and optimizer of a checkpoint.", "--init", metavar="CKPT")]
StoreFrames = Annotated[bool, option(OUTPUT, "Store the environment's own pictures too.", "--frames")]
Overwrite = Annotated[bool, option(OUTPUT, "Replace an output that exists, once the new one is complete.", "--overwrite")]
Anew = Annotated[
    bool,
    option(OUTPUT, "Replace a replay that exists; shards of a folder go first, a file only when the new one is complete.", "--overwrite"),
]
Follow = Annotated[bool, option(RUNNING, "Take in what is added to the replays meanwhile.", "--follow")]
Resume = Annotated[bool, option(OUTPUT, "Finish an interrupted run of this command.", "--resume")]
Append = Annotated[bool, option(OUTPUT, "Add to a replay folder.", "--append")]


@dataclass(frozen=True)
class Which:
    """Which experiment: config in layers, later ones over earlier ones."""

    preset: Annotated[list[str] | None, option(EXPERIMENT, "A named preset; repeatable.", "--preset", metavar="NAME")] = None
    config: Annotated[str | None, option(EXPERIMENT, "A YAML file, over the presets.", "--config", metavar="FILE[:NAME]")] = None
    assign: Annotated[list[str] | None, option(EXPERIMENT, "One key, over the file; repeatable.", "--set", metavar="KEY=VALUE")] = None

    def resolve(self, shorthands: dict[str, tuple[str, object]], file: str | None = None) -> "Resolved":
        """The experiment: defaults < presets < file < `--set` < shorthands.

        Args:
            shorthands: option -> the key it names and its value; None was not given.
            file: FILE[:NAME] given as an argument.
        """
        from dreamctl.stages.experiment import resolve

        return resolve(self.layers(shorthands, file))

    def layers(self, shorthands: dict[str, tuple[str, object]], file: str | None = None) -> "list[Layer]":
        """The layers that `resolve` lays over the defaults; presets that a file names lie below those of the command line."""
        from dreamctl.core.config import Layer, parse_assignment, preset_layers

        files = [layer for text in (file, self.config) if text for layer in _file_layers(text)]
        named = [layer for name in self.preset or [] for layer in preset_layers(name)]
        presets = [layer for layer in files if layer.is_preset] + named
        own = [layer for layer in files if not layer.is_preset]
        assigned = [Layer(f"--set {text}", parse_assignment(text)) for text in self.assign or []]
        short = [Layer(option, _at(key, value)) for option, (key, value) in shorthands.items() if value is not None]
        return [*presets, *own, *assigned, *short]


@dataclass(frozen=True)
class How:
    """How the stage is run; none of it says which experiment it is."""

    seed: Annotated[int, option(RUNNING, "Of everything random (0).", metavar="N", least=0, most=LARGEST_SEED)] = 0
    device: Annotated[str, option(RUNNING, "auto, cpu, cuda or mps.", metavar="NAME")] = "auto"
    precision: Annotated[str, option(RUNNING, "auto, fp32 or bf16.", metavar="NAME")] = "auto"
    threads: Annotated[int | None, option(RUNNING, "Threads of PyTorch.", metavar="N", least=1)] = None
    max_minutes: Annotated[float | None, option(RUNNING, "Stop after so long, save, exit 75.", metavar="M", least=0)] = None

    @contextmanager
    def session(self, existing: "Existing" = "refuse", tensorboard: Path | None = None, *, follow: bool = False) -> "Iterator[Session]":
        """The session of one stage: progress on stderr, signals that ask to stop, stdout kept for the result."""
        from dreamctl.cli.progress import progress_on
        from dreamctl.core.session import Session, Stop

        stop = Stop.after(self.max_minutes)
        # Signals first: importing torch takes seconds, and a wish to stop during them counts.
        with stop.on_signals(), result_only() as stderr, progress_on(stderr) as progress:
            yield Session(
                seed=self.seed,
                device=self.device,
                precision=self.precision,
                threads=self.threads,
                existing=existing,
                follow=follow,
                tensorboard=tensorboard,
                command=("dreamctl", *COMMAND_LINE.get()),
                progress=progress,
                stop=stop,
            )


@dataclass(frozen=True)
class Replacing:
    """What to do with an output that exists."""

    overwrite: Overwrite = False

    @property
    def existing(self) -> "Existing":
        """The one way that was chosen."""
        return one_way(overwrite=self.overwrite)


@dataclass(frozen=True)
class Resuming:
    """What to do with an output that exists, when it may be an unfinished one."""

    resume: Resume = False
    overwrite: Overwrite = False

    @property
    def existing(self) -> "Existing":
        """The one way that was chosen."""
        return one_way(resume=self.resume, overwrite=self.overwrite)


@dataclass(frozen=True)
class Growing:
    """What to do with an output that exists, when more can be added to it."""

    resume: Resume = False
    overwrite: Anew = False
    append: Append = False

    @property
    def existing(self) -> "Existing":
        """The one way that was chosen."""
        return one_way(resume=self.resume, overwrite=self.overwrite, append=self.append)


@dataclass(frozen=True)
class Watching:
    """Where figures go besides the metrics file."""

    tensorboard: Annotated[Path | None, option(OUTPUT, "TensorBoard events, with the extra.", metavar="DIR")] = None


@dataclass(frozen=True)
class Shown:
    """How the result is printed."""

    as_json: Annotated[bool, option(OUTPUT, "Print the result as one JSON object.", "--json")] = False
    quiet: Annotated[bool, option(OUTPUT, "Print only the path that was written.", "--quiet", "-q")] = False

    def __post_init__(self) -> None:
        """Both ways at once are refused before there is any work.

        Raises:
            UsageError: both were asked for.
        """
        if self.as_json and self.quiet:
            raise UsageError("--json and -q: exclude each other; give one of them")

    def emit(self, result: Result) -> None:
        """Print a result in the way that was asked for."""
        emit(result, as_json=self.as_json, quiet=self.quiet)


@dataclass(frozen=True)
class Planned(Shown):
    """How the result is printed, or what would be done."""

    dry_run: Annotated[bool, option(OUTPUT, "Check everything, print the plan, write nothing.", "--dry-run")] = False


def one_way(**ways: bool) -> "Existing":
    """The one flag that is set; `refuse` without any.

    Raises:
        UsageError: more than one.
    """
    chosen = [name for name, given in ways.items() if given]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(f'--{name}' for name in chosen)}: exclude each other; give one of them")
    return chosen[0] if chosen else "refuse"  # type: ignore[return-value]


def env_keys(env: str | None, option: str = "ENV") -> dict[str, tuple[str, object]]:
    """The keys that ENV is a shorthand for."""
    if not env:
        return {}
    from dreamctl.stages.envs import suite_and_task

    suite, task = suite_and_task(env)
    return {option: ("env", {"suite": suite, "task": task})}


def _file_layers(text: str) -> "list[Layer]":
    """The layers of FILE[:NAME]; only the experiment knows its sections, and it loads torch."""
    from dreamctl.core.config import load_layers
    from dreamctl.stages.experiment import SECTIONS

    return load_layers(text, SECTIONS)


def _at(key: str, value: object) -> dict[str, object]:
    nested = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    assert isinstance(nested, dict)
    return nested
