"""Files that are whole or not there, and outputs with one writer at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from dreamctl.core.errors import OutputError
from dreamctl.core.files import sole_writer

OTHER = """
import sys
from pathlib import Path
from dreamctl.core.errors import OutputError
from dreamctl.core.files import sole_writer
try:
    with sole_writer(Path(sys.argv[1])):
        print("wrote")
except OutputError as error:
    print(error.code, error)
"""


def another(path: Path) -> str:
    return subprocess.run([sys.executable, "-c", OTHER, str(path)], capture_output=True, text=True, check=True).stdout.strip()


def test_an_output_has_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run"
    with sole_writer(path):
        assert another(path) == f"74 {path}: another process is writing it; wait for it, stop it, or choose another --out"
        assert another(tmp_path / "deep" / "other") == "wrote"
    assert another(path) == "wrote"
    assert list(path.parent.iterdir()) == []


def test_a_lock_that_a_kill_left_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / ".run.lock").touch()
    with sole_writer(tmp_path / "run"):
        pass


def test_an_error_inside_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="mine"), sole_writer(tmp_path / "run"):
        raise OutputError("mine")
