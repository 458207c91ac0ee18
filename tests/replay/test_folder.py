"""What is left of the parts of a file that is complete goes, and nothing else does; what may not be looked into is told."""

import errno
import os
from pathlib import Path

import pytest

from dreamctl.core.errors import InputError, OutputError
from dreamctl.core.session import Session
from dreamctl.replay.convert.archives import npz_files
from dreamctl.replay.convert.kinds import OurReplay
from dreamctl.replay.convert.minari import Minari
from dreamctl.replay.figures.verify import verify
from dreamctl.replay.folder import remove_parts, shard_files
from dreamctl.replay.reader import open_replay
from dreamctl.replay.writing.gone import Gone
from dreamctl.stages.data_repair import repair
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


def test_a_folder_that_may_be_listed_and_not_entered_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replay = write(tmp_path / "replay", stream_rows([4]))
    stat = os.stat

    def refuse(path: str | Path, **how: bool) -> os.stat_result:
        if str(path).startswith(f"{replay}/"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **how)

    monkeypatch.setattr(os, "stat", refuse)
    told = pytest.raises(InputError, match=r"replay: cannot be read \(Permission denied\); ask its owner")
    with told:
        open_replay([replay])
    with told:
        verify([replay], deep=False)
    with told:
        repair([replay], None, Session())
    with told, OurReplay().read(replay, None, lambda _: None):
        pass
    with pytest.raises(InputError, match=r"replay: cannot read \(Permission denied\)"):
        npz_files(replay)
    with pytest.raises(InputError, match=r"metadata\.json: not readable \(No such file"), Minari().read(replay, None, lambda _: None):
        pass
    monkeypatch.setattr(Path, "read_text", lambda path: refuse(path))
    with pytest.raises(InputError, match=r"\.gone\.json: cannot be read \(Permission denied\)"):
        Gone.of(replay)


def test_a_link_that_leads_nowhere_is_not_taken_for_a_shard_that_went(tmp_path: Path) -> None:
    replay = write(tmp_path / "replay", stream_rows([4]))
    link = replay / "linked-e0-000000.h5"
    link.symlink_to(tmp_path / "nowhere.h5")
    with pytest.raises(InputError, match=r"linked-e0-000000\.h5: cannot read \(No such file or directory\)"):
        open_replay([replay])
    assert [problem.path for problem in verify([replay], deep=False).problems] == [link]


def test_what_is_repaired_may_lie_where_nobody_may_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: bool) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(InputError, match=r"below: cannot be read \(Permission denied\)"):
        repair([tmp_path / "below"], None, Session())
