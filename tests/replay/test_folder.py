"""What is left of the parts of a file that is complete goes, and nothing else does."""

import errno
import os
from pathlib import Path

import pytest

from dreamctl.core.errors import InputError, OutputError
from dreamctl.replay.folder import remove_parts, shard_files
from tests.replay.rows import stream_rows, write


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


def test_a_folder_that_may_not_be_looked_into_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    write(tmp_path / "replay", stream_rows([4]))
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"replay: cannot be read \(Permission denied\)"):
        shard_files(tmp_path / "replay")
