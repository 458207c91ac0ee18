"""Which suites are installed: entry points of group `dreamctl.envs`, listed without importing, imported one by one."""

import importlib.metadata
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import NamedTuple, cast

from dreamctl.core.config import build
from dreamctl.core.errors import EnvironmentFailure, UsageError, nearest
from dreamctl.envs.suite import Suite, one_line

GROUP = "dreamctl.envs"
DEFAULT = "gym"


class SuiteEntry(NamedTuple):
    """An entry point as its distribution declares it; nothing of it is imported."""

    name: str
    distribution: str
    version: str
    value: str


def suite_names() -> list[SuiteEntry]:
    """Every declared suite, sorted by name; a name that two distributions claim is there twice."""
    found = importlib.metadata.entry_points(group=GROUP)
    return sorted({SuiteEntry(entry.name, *_distribution(entry), entry.value) for entry in found})


def load_suite(name: str) -> type[Suite]:
    """The suite's class; only its own module is imported.

    Raises:
        UsageError: unknown name, or a name that two distributions claim.
        EnvironmentFailure: installed but broken.
    """
    entry = _entry(name)
    place = f"suite {name!r} of {entry.distribution} {entry.version} ({entry.value})"
    try:
        suite = importlib.metadata.EntryPoint(name, entry.value, GROUP).load()
    except Exception as error:  # a plugin's import is foreign code and raises what it likes
        raise EnvironmentFailure(f"{place}: is installed but broken: {one_line(error)}; mend or uninstall {entry.distribution}") from error
    if not (isinstance(suite, type) and is_dataclass(suite) and callable(getattr(suite, "make", None))):
        raise EnvironmentFailure(f"{place}: is {suite!r}, wanted a frozen dataclass with make(task, *, render_mode)")
    return cast(type[Suite], suite)


def build_suite(cls: type[Suite], options: Mapping[str, object]) -> Suite:
    """The suite with these options; what is left out keeps its default.

    Raises:
        UsageError: an unknown option or a value of another type.
    """
    return build(cls, options, path="env")


def resolve(env: str) -> tuple[str, str]:
    """Suite and task of ENV as written on the command line: `suite:task`, or a Gymnasium id.

    Raises:
        UsageError: the text in front of the colon is neither a suite nor a module, or the task is missing.
    """
    known = {entry.name for entry in suite_names()}
    head, colon, task = env.partition(":")
    if env in known or (head in known and not task):
        raise UsageError(f"ENV {env!r}: names a suite without a task, wanted {head}:TASK; `dreamctl envs list {head}` shows its tasks")
    if not head or (colon and not task):
        raise UsageError(f"ENV {env!r}: wanted SUITE:TASK or a Gymnasium id such as CartPole-v1")
    if head in known:
        return head, task
    if colon and not importable(head):
        raise UsageError(f"ENV {env!r}: no suite and no Python module is called {head!r}{nearest(head, known)}")
    return DEFAULT, env


def suite_name(suite: Suite) -> str:
    """The name under which the suite's class is declared; its class name in lower case where it is not."""
    for entry in suite_names():
        module, _, attribute = entry.value.partition("[")[0].strip().partition(":")
        if getattr(sys.modules.get(module), attribute, None) is type(suite):
            return entry.name
    return type(suite).__name__.lower()


def importable(module: str) -> bool:
    """Whether the package of a dotted name can be found, the working folder included, without importing it."""
    package = module.partition(".")[0]
    here = str(Path.cwd())
    # `python -m` has the working folder on its path, a console script has not: my_module:MyEnv-v0 must not depend on how one starts.
    if here not in sys.path and (Path(here, f"{package}.py").is_file() or Path(here, package).is_dir()):
        sys.path.append(here)
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _entry(name: str) -> SuiteEntry:
    entries = suite_names()
    claims = [entry for entry in entries if entry.name == name]
    if not claims:
        raise UsageError(f"suite {name!r}: is not installed{nearest(name, [entry.name for entry in entries])}")
    if len(claims) > 1:
        who = " and ".join(f"{entry.distribution} {entry.version} ({entry.value})" for entry in claims)
        raise UsageError(f"suite {name!r}: is claimed by {who}; uninstall one of them")
    return claims[0]


def _distribution(entry: importlib.metadata.EntryPoint) -> tuple[str, str]:
    """Name and version of who declares the entry point."""
    if entry.dist is None:
        return "an unknown distribution", "?"
    return entry.dist.name, entry.dist.version
