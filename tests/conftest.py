"""Shared fixtures; `--golden DIR` runs the golden tests on another folder with the same keys."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Golden = Callable[[str], dict[str, np.ndarray]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", type=Path, default=Path(__file__).parent / "golden", help="folder of golden .npz files")
