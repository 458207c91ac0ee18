"""What is left of the parts of a file that is complete goes, and nothing else does."""

from pathlib import Path

import pytest

from dreamctl.core.errors import OutputError
from dreamctl.replay.folder import remove_parts


def test_all_that_a_folder_of_shards_holds_goes_with_it(tmp_path: Path) -> None:
    parts = tmp_path / "out.h5.parts"
    parts.mkdir()
    for name in ("a-e0-000000.h5", ".a-e0.lock", ".a-e0-000001.h5.tmp", ".latents-0123", ".gone.json"):
        (parts / name).touch()
    remove_parts(parts)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    parts = tmp_path / "out.h5.parts"
    parts.mkdir()
    (parts / "notes.txt").touch()
    with pytest.raises(OutputError, match="remove the rest by hand"):
        remove_parts(parts)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["notes.txt"]
