"""`envs`: which suites are installed, what one of them offers, and whether an environment keeps what the driver relies on."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, fields
from pathlib import Path
from textwrap import wrap
from typing import Any

from dreamctl.core.config import to_plain
from dreamctl.core.errors import EnvironmentFailure
from dreamctl.envs.check import Finding, check_suite
from dreamctl.envs.discovery import SuiteEntry, build_suite, load_suite, resolve, suite_names
from dreamctl.envs.suite import Listing, one_line
from dreamctl.stages.tables import table

SECTION_KEYS = ("suite", "task", "num_envs", "vectorize")
MARKS = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}


@dataclass(frozen=True)
class Suites:
    """The declared suites; nothing of them was imported."""

    entries: Sequence[SuiteEntry]
    path: Path | None = None

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {"suites": [entry._asdict() for entry in self.entries]}

    def summary(self) -> str:
        """One line a suite."""
        rows = [(entry.name, f"{entry.distribution} {entry.version}", entry.value) for entry in self.entries]
        return table([("suite", "from", "class"), *rows])


@dataclass(frozen=True)
class Option:
    """One option of a suite, set with `--set env.<name>=`."""

    name: str
    type: str
    default: object
    help: str


@dataclass(frozen=True)
class SuiteInfo:
    """One suite: what it says of itself, its options, its tasks where it lists them."""

    name: str
    doc: str
    options: Sequence[Option]
    tasks: Sequence[str]
    path: Path | None = None

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {"name": self.name, "doc": self.doc, "options": [asdict(option) for option in self.options], "tasks": list(self.tasks)}

    def summary(self) -> str:
        """Options one a line, tasks in a paragraph."""
        rows = [(f"  env.{o.name}={o.default}", o.type, o.help) for o in self.options]
        options = f"options (--set env.NAME=VALUE):\n{table(rows)}" if rows else "options: none"
        names = "\n".join(wrap(", ".join(self.tasks), 118, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False))
        tasks = f"tasks ({len(self.tasks)}):\n{names}" if self.tasks else "tasks: not listed"
        return f"{self.name}: {self.doc}\n{options}\n{tasks}"


@dataclass(frozen=True)
class CheckResult:
    """What came of each check of one environment."""

    env: str
    findings: Sequence[Finding]
    path: Path | None = None

    @property
    def failed(self) -> int:
        """How many did not hold."""
        return sum(finding.outcome == "failed" for finding in self.findings)

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {"env": self.env, "failed": self.failed, "checks": [asdict(finding) for finding in self.findings]}

    def summary(self) -> str:
        """One line a check."""
        details = [(finding, f": {finding.detail}" if finding.detail else "") for finding in self.findings]
        return "\n".join(f"{MARKS[finding.outcome]}  {finding.check}{detail}" for finding, detail in details)


def suites() -> Suites:
    """Every suite that an installed distribution declares."""
    return Suites(suite_names())


def show_suite(name: str) -> SuiteInfo:
    """One suite, imported.

    Raises:
        UsageError: unknown.
        EnvironmentFailure: installed but broken.
    """
    cls = load_suite(name)
    suite = build_suite(cls, {})
    try:
        tasks = suite.tasks() if isinstance(suite, Listing) else []
    except Exception as error:  # a suite is foreign code and raises what it likes
        raise EnvironmentFailure(f"suite {name!r}: cannot list its tasks: {one_line(error)}") from error
    text = inspect.cleandoc(cls.__doc__ or "")
    return SuiteInfo(name, text.partition("\n")[0], [_option(field, text) for field in fields(suite)], tasks)  # type: ignore[arg-type]


def check_env(suite: str, task: str, config: Mapping[str, object]) -> CheckResult:
    """Every check on one environment.

    Args:
        suite: its suite.
        task: its task.
        config: section `env`; the suite's own options are taken from it.

    Raises:
        UsageError: an unknown suite or option.
        EnvironmentFailure: the suite is broken.
    """
    options = {key: value for key, value in config.items() if key not in SECTION_KEYS}
    return CheckResult(f"{suite}:{task}", check_suite(build_suite(load_suite(suite), options), task))


def suite_and_task(env: str) -> tuple[str, str]:
    """What ENV on the command line stands for.

    Raises:
        UsageError: neither a suite nor a module is called so.
    """
    return resolve(env)


def _option(field: "Field[Any]", doc: str) -> Option:
    """A field with its line of the class docstring."""
    told = (line.strip().partition(": ") for line in doc.splitlines() if ": " in line)
    help_text = next((text for names, _, text in told if field.name in names.replace(",", " ").split()), "")
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
    return Option(field.name, str(kind) if "." not in str(field.type) else str(field.type).rpartition(".")[2], to_plain(default), help_text)
