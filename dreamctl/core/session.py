"""How a stage is run, as against which experiment it runs: seed, device, output policy, progress, and when to stop."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from dreamctl.core.errors import Interrupted, StoppedEarly

Existing = Literal["refuse", "resume", "overwrite", "append"]


class Progress(Protocol):
    """Where a stage tells how far it is; the command line draws it on stderr."""

    def start(self, label: str, total: int) -> None:
        """Begin a stretch of `total` units."""

    def update(self, done: int, **figures: float) -> None:
        """`done` units are behind us; figures are shown beside the bar."""

    def note(self, message: str) -> None:
        """One line a person should see: a warning, a milestone."""


class Silence:
    """Progress that nobody watches: for notebooks and tests."""

    def start(self, label: str, total: int) -> None: ...

    def update(self, done: int, **figures: float) -> None: ...

    def note(self, message: str) -> None: ...


@dataclass
class Stop:
    """A wish to stop at the next safe place, by signal or by the clock."""

    deadline: float | None = None
    signal: int | None = None

    @classmethod
    def after(cls, minutes: float | None) -> "Stop":
        """Stop when so many minutes have passed from now; never by the clock when None."""
        return cls(None if minutes is None else time.monotonic() + 60 * minutes)

    def requested(self) -> bool:
        """Whether to save and leave now."""
        return self.signal is not None or (self.deadline is not None and time.monotonic() >= self.deadline)

    def error(self, saved: Path, position: str, ways: str = "--resume") -> StoppedEarly | Interrupted:
        """What to raise once state is saved, with the options to go on by: exit code 130 after SIGINT, otherwise 75."""
        message = f"{saved}: stopped at {position}, state saved; go on with {ways}"
        return self._kind(message)

    def lost(self, what: str, position: str) -> StoppedEarly | Interrupted:
        """What to raise where there is no state to save; the same exit codes."""
        return self._kind(f"{what}: stopped at {position}, nothing was written; start it again")

    def _kind(self, message: str) -> StoppedEarly | Interrupted:
        return Interrupted(message) if self.signal == signal.SIGINT else StoppedEarly(message)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """While inside, the first SIGINT or SIGTERM asks to stop; a second one acts at once."""

        def ask(number: int, _: object) -> None:
            self.signal = number
            signal.signal(number, previous[signal.Signals(number)])

        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in previous:
            signal.signal(number, ask)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


@dataclass(frozen=True)
class Session:
    """Where and how a stage runs.

    Attributes:
        seed: of everything random in this run.
        device: `auto` or what torch calls it.
        precision: `auto`, `fp32` or `bf16`.
        threads: torch threads, None for torch's own choice.
        existing: what to do with an output that is there already.
        follow: whether rows that others write to the inputs meanwhile are taken in.
        tensorboard: folder for event files, or None.
        command: the command line, recorded in every artefact.
    """

    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    existing: Existing = "refuse"
    follow: bool = False
    tensorboard: Path | None = None
    command: tuple[str, ...] = ()
    progress: Progress = field(default_factory=Silence)
    stop: Stop = field(default_factory=Stop)
