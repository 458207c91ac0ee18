"""Conformance of an environment suite: Gymnasium's own checker, and what it does not look at."""

import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Literal

from dreamctl.envs.claims import CHECKS, NoOccasion, Subject, Violation
from dreamctl.envs.suite import Suite, one_line

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Finding:
    """What came of one check.

    Attributes:
        check: the claim that was looked at.
        outcome: `skipped` where the environment gave no occasion to look.
        detail: what was found instead, or why it was skipped.
    """

    check: str
    outcome: Outcome
    detail: str = ""


def check_suite(suite: Suite, task: str, *, max_steps: int = 2000) -> list[Finding]:
    """One finding a check, none raised.

    Args:
        suite: the suite, options and all.
        task: one of its tasks.
        max_steps: how long to wait for an episode's end.
    """
    subject = Subject(suite, task, max_steps)
    printed: list[str] = []
    with warnings.catch_warnings(), _stdout_into(printed):
        warnings.simplefilter("ignore")
        findings = [_look(claim, check, subject) for claim, check in CHECKS.items()]
    said = "".join(printed).strip()
    outcome: Outcome = "failed" if said else "passed"
    return [*findings, Finding("nothing is printed on stdout", outcome, said.partition("\n")[0])]


def _look(claim: str, check: Callable[[Subject], None], subject: Subject) -> Finding:
    try:
        check(subject)
    except Violation as found:
        return Finding(claim, "failed", str(found))
    except NoOccasion as reason:
        return Finding(claim, "skipped", str(reason))
    except Exception as error:  # a suite is foreign code and raises what it likes
        return Finding(claim, "failed", one_line(error))
    return Finding(claim, "passed")


@contextmanager
def _stdout_into(printed: list[str]) -> Iterator[None]:
    """Collect what is written to stdout meanwhile, by Python, by C libraries and by child processes."""
    sys.stdout.flush()
    saved, text = os.dup(1), StringIO()
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 1)
        try:
            with redirect_stdout(text):
                yield
        finally:
            os.dup2(saved, 1)
            os.close(saved)
            sink.seek(0)
            printed += [text.getvalue(), sink.read().decode(errors="replace")]
