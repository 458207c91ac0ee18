"""What goes to stdout: the result of a command and nothing else."""

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Protocol, TextIO

from dreamctl.core.errors import OutputError, UsageError


class Result(Protocol):
    """What a stage returns."""

    @property
    def path(self) -> Path | None:
        """What was written."""

    def to_json(self) -> dict[str, object]:
        """As one object."""

    def summary(self) -> str:
        """For a person."""


def emit(result: Result, *, as_json: bool, quiet: bool) -> None:
    """Print a result; a reader that has gone away is no error.

    Raises:
        UsageError: both ways at once.
        OutputError: stdout cannot be written to.
    """
    if as_json and quiet:
        raise UsageError("--json and -q: exclude each other; give one of them")
    short = str(result.path or "") if quiet else result.summary()
    text = json.dumps(_finite(result.to_json()), allow_nan=False) if as_json else short
    try:
        if text:
            print(text)
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"stdout: cannot write ({error.strerror}); the command itself is done") from error


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
