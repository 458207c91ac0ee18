"""The fixture files, and a report of what was compared with them at the end of a session."""

from pathlib import Path

import pytest

from tests.conftest import Golden
from tests.golden.report import REPORT

COVERAGE = "test_every_number_of_the_fixtures_is_compared"


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Golden:
    """Load one fixture file by name: `golden("symlog")["in.x"]`."""
    folder: Path = request.config.getoption("--golden")
    return lambda name: REPORT.load(folder / f"{name}.npz")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What counts the comparisons goes last."""
    items.sort(key=lambda item: item.name == COVERAGE)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table of comparisons."""
    if REPORT.worst:
        terminalreporter.section("golden comparisons")
        for line in REPORT.lines(config.getoption("--golden")):
            terminalreporter.write_line(line)
