"""Shared fixtures; `--golden DIR` runs the golden tests on another folder with the same keys."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Golden = Callable[[str], dict[str, np.ndarray]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", type=Path, default=Path(__file__).parent / "golden", help="folder of golden .npz files")


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Golden:
    """Load one fixture file by name: `golden("symlog")["in.x"]`."""
    folder: Path = request.config.getoption("--golden")

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
            return {key: file[key] for key in file.files}

    return load
