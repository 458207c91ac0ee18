"""The user's mistakes and the world's accidents: each costs one line and its exit code (bugs keep their traceback)."""

from collections.abc import Iterable
from difflib import get_close_matches


class DreamctlError(Exception):
    """An error whose message is one line: place, what was found, what is wanted or nearest, how to mend it."""

    code = 70


class CheckFailed(DreamctlError):
    """The command ran, but a check or a threshold failed."""

    code = 1


class UsageError(DreamctlError):
    """Wrong usage or config: unknown environment, suite, preset or key, `--out` that exists."""

    code = 2


class InputError(DreamctlError):
    """An input file is missing, incompatible or corrupt."""

    code = 3


class EnvironmentFailure(DreamctlError):
    """The environment or a plugin failed, or gave non-finite values."""

    code = 4


class TrainingDiverged(DreamctlError):
    """A loss or gradient became non-finite."""

    code = 5


class OutputError(DreamctlError):
    """An output cannot be written: disk full, locked by another writer."""

    code = 74


class StoppedEarly(DreamctlError):
    """Stopped by SIGTERM or a time budget; state is saved and `--resume` goes on."""

    code = 75


class Interrupted(DreamctlError):
    """Interrupted by SIGINT; state is saved and `--resume` goes on."""

    code = 130


EXIT_CODES = {
    0: "done",
    1: "ran, but a check or threshold failed",
    2: "usage or config: unknown environment, suite or key, --out that exists",
    3: "an input file is missing, incompatible or corrupt",
    4: "the environment or a plugin failed",
    5: "training became non-finite",
    70: "a bug, with its traceback",
    74: "cannot write: disk full, locked by another writer",
    75: "stopped early and resumable (SIGTERM, --max-minutes)",
    130: "interrupted, state saved",
}


def nearest(name: str, candidates: Iterable[str]) -> str:
    """The end of an error line that names the nearest candidates: `; nearest: a, b` or `; known: a, b, c`."""
    known = sorted(set(candidates))
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"; nearest: {', '.join(close)}"
    return f"; known: {', '.join(known)}" if known else ""
