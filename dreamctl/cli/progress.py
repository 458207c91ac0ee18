"""How far a stage is, on stderr: a bar in a terminal, otherwise one plain line every few seconds."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from dreamctl.core.session import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

EVERY = 5.0


@contextmanager
def progress_on(stream: TextIO) -> Iterator[Progress]:
    """Progress for the time of one stage."""
    if not stream.isatty():
        yield Lines(stream)
        return
    bar = Bar()
    try:
        yield bar
    finally:
        bar.stop()


class Lines:
    """One line every few seconds, nothing for what takes less."""

    def __init__(self, stream: TextIO, every: float = EVERY) -> None:
        self.stream, self.every = stream, every
        self.start("", 0)

    def start(self, label: str, total: int) -> None:
        """Begin a stretch of `total` units."""
        self.label, self.total = label, total
        self.first = self.told = time.monotonic()
        self.began_at: int | None = None

    def update(self, done: int, **figures: float) -> None:
        """Tell it if the last time was long enough ago."""
        now = time.monotonic()
        if self.began_at is None:
            self.began_at = done
        if now - self.told < self.every:
            return
        self.told = now
        rate = (done - self.began_at) / (now - self.first)
        left = f", {_clock((self.total - done) / rate)} left" if rate > 0 and self.total > done else ""
        self.note(f"{self.label} {done}/{self.total}{left}{_words(figures)}")

    def note(self, message: str) -> None:
        """One line; a reader that has gone away is no error."""
        with suppress(BrokenPipeError):
            print(message, file=self.stream, flush=True)


class Bar:
    """A bar with figures beside it."""

    def __init__(self) -> None:
        self._rich: RichProgress | None = None

    def start(self, label: str, total: int) -> None:
        """A new bar below the finished ones."""
        rich = self._rich or _bars()
        self._rich = rich
        self._task = rich.add_task(label, total=total or None, figures="")
        rich.start()

    def update(self, done: int, **figures: float) -> None:
        """Move the last bar."""
        if self._rich is not None:
            self._rich.update(self._task, completed=done, figures=_words(figures).lstrip(", "))

    def note(self, message: str) -> None:
        """One line above the bars."""
        if self._rich is not None:
            self._rich.console.print(message, markup=False, highlight=False)
        else:
            print(message, file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Leave the terminal as it should be."""
        if self._rich is not None:
            self._rich.stop()


def _bars() -> "RichProgress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    figures = TextColumn("{task.fields[figures]}")
    console = Console(stderr=True)
    return RichProgress(*columns, figures, console=console, refresh_per_second=4, redirect_stdout=False, redirect_stderr=False)


def _words(figures: dict[str, float]) -> str:
    return "".join(f", {name} {value:.4g}" for name, value in figures.items() if value == value)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
