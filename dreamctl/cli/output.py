"""What goes to stdout: the result of a command and nothing else."""

import codecs
import json
import math
import os
import select
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Protocol, TextIO

from dreamctl.core.errors import OutputError


class Result(Protocol):
    """What a stage returns."""

    @property
    def path(self) -> Path | None:
        """What was written."""

    def to_json(self) -> dict[str, object]:
        """As one object."""

    def summary(self) -> str:
        """For a person."""


class Line(Protocol):
    """One of several things that are told."""

    def to_json(self) -> dict[str, object]:
        """As one object."""


class Lines(Protocol):
    """Some of a result that comes bit by bit."""

    @property
    def lines(self) -> Sequence[Line]:
        """What is told."""

    @property
    def text(self) -> str:
        """For a person."""


def lenient() -> None:
    """Let text that stdout has no letters for be printed as well as it goes: bars on ASCII, names that are no UTF-8."""
    if isinstance(sys.stdout, TextIOWrapper):
        utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "replace")


def emit(result: Result, *, as_json: bool, quiet: bool) -> None:
    """Print a result; a reader that has gone away is no error.

    Args:
        result: of a command.
        as_json: as one object.
        quiet: only the path; not with `as_json`.

    Raises:
        OutputError: stdout cannot be written to.
    """
    short = str(result.path or "") if quiet else result.summary()
    text = json.dumps(_finite(result.to_json()), allow_nan=False) if as_json else short
    if text:
        _print(text)


def emit_lines(results: Iterable[Lines], *, as_json: bool) -> None:
    """Print results as they come, with `as_json` an object a line, until there are no more or nobody reads them.

    Raises:
        OutputError: stdout cannot be written to.
    """
    for result in results:
        objects = (json.dumps(_finite(line.to_json()), allow_nan=False) for line in result.lines)
        text = "\n".join(objects) if as_json else result.text
        if text and not _print(text):
            return


def reader_stays(seconds: float) -> bool:
    """Wait so long; False as soon as nobody reads stdout any more."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return not poll.poll(1000 * seconds)
    except (OSError, ValueError, AttributeError):  # no descriptor, or a system without poll
        time.sleep(seconds)
        return True


def _print(text: str) -> bool:
    """Whether someone read it.

    Raises:
        OutputError: stdout cannot be written to.
    """
    try:
        # In one piece, also where Python does not buffer: whoever reads lines gets whole ones.
        print(f"{text}\n", end="", flush=True)
    except OSError as error:
        # What is left in the buffer would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"stdout: cannot write ({error.strerror}); the command itself is done") from error
        return False
    return True


@contextmanager
def result_only() -> Iterator[TextIO]:
    """Meanwhile, whatever is printed on stdout goes to stderr: environments and their C libraries print what they like."""
    with redirect_stdout(sys.stderr), _descriptor(1, onto=2):
        yield sys.stderr


@contextmanager
def _descriptor(number: int, *, onto: int) -> Iterator[None]:
    try:
        saved = os.dup(number)
        os.dup2(onto, number)
    except OSError:  # one of them is closed: then nothing can be printed there either
        yield
        return
    try:
        yield
    finally:
        os.dup2(saved, number)
        os.close(saved)


def _finite(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value
