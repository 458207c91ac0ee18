import errno
import os
from pathlib import Path

import pytest

from dreamctl.core.errors import OutputError, UsageError
from dreamctl.core.session import Session
from dreamctl.stages.collect import collect, plan
from dreamctl.stages.evaluate import evaluate
from dreamctl.stages.imagine import imagine
from dreamctl.stages.output import check_directory, check_file, check_output, remove_output
from dreamctl.stages.render import render
from dreamctl.stages.replacing import check_replay
from dreamctl.stages.resume import CheckpointFile
from dreamctl.stages.run import run
from tests.replay.rows import stream_rows, write
from tests.stages.tiny import OVERWRITE, RESUME, tiny


def test_a_plan_makes_no_folder_either(tmp_path: Path) -> None:
    plan(tiny(), tmp_path / "deep" / "below" / "replay", None, Session())
    assert list(tmp_path.iterdir()) == []


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file is no folder; choose another --out"):
        check_output(tmp_path / "file" / "deep" / "out", Session())


def test_a_folder_that_cannot_be_written_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(OutputError, match="cannot be written to; choose another --out"):
        check_output(tmp_path / "deep" / "out", Session())


def test_appending_asks_nothing_of_the_folder_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = write(tmp_path / "replay", stream_rows([3]))
    monkeypatch.setattr("os.access", lambda path, _: Path(path) == out)
    check_output(out, Session(existing="append"), append=True)
    with pytest.raises(OutputError, match="cannot be written to"):
        check_output(out, OVERWRITE)


@pytest.mark.parametrize("session", [Session(), OVERWRITE, RESUME], ids=["plain", "overwrite", "resume"])
@pytest.mark.parametrize("closed", ["scandir", "stat"])
def test_a_folder_that_may_not_be_looked_into_costs_one_line(
    closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: Session
) -> None:
    out = write(tmp_path / "replay", stream_rows([3]))
    opened = getattr(os, closed)

    def refuse(path: object, *rest: object, **options: object) -> object:
        if str(path).startswith(f"{out}{'/' * (closed == 'stat')}"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *rest, **options)

    monkeypatch.setattr(os, closed, refuse)
    for work in (lambda: check_replay(out, session), lambda: collect(tiny(), out, None, session), lambda: run(tiny(), out, session)):
        with pytest.raises(OutputError, match=r"replay: cannot be looked into \(Permission denied\); choose another --out"):
            work()


@pytest.mark.parametrize("session", [Session(), OVERWRITE], ids=["plain", "overwrite"])
def test_a_folder_is_refused_where_a_file_is_written(agent: Path, replay: Path, tmp_path: Path, session: Session) -> None:
    folder = tmp_path / "folder.gif"
    folder.mkdir()
    told = pytest.raises(UsageError, match="is a folder, wanted the name of a file")
    with told:
        CheckpointFile(folder, session)
    with told:
        evaluate(tiny(), agent, folder, session)
    with told:
        imagine(tiny(), agent, [replay], folder, session)
    with told:
        render(tiny(), [replay], folder, session)


@pytest.mark.parametrize("place", ["/", "//", "/..", "/tmp/../.."])
@pytest.mark.parametrize("session", [Session(), OVERWRITE, Session(existing="append")], ids=["plain", "overwrite", "append"])
def test_nothing_is_written_beside_the_root_folder(place: str, session: Session) -> None:
    with pytest.raises(UsageError, match=r"is the root folder, beside which nothing can be written; choose another --out"):
        check_output(Path(place), session, append=True)


def test_what_cannot_be_removed_costs_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.h5").touch()

    def refused(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(OutputError, match=r"a\.h5: cannot remove it \(Permission denied\); choose another --out"):
        remove_output(tmp_path, ["*.h5"])


STRANGERS = ["weights.h5", "table-e0-000001.h5/", ".hidden.h5", ".swap.tmp", ".editor.lock", "notes.tmp"]


@pytest.mark.parametrize("name", STRANGERS)
def test_overwriting_a_replay_removes_nothing_that_another_wrote(name: str, tmp_path: Path) -> None:
    out = write(tmp_path / "replay", stream_rows([3]))
    (out / name).mkdir() if name.endswith("/") else (out / name).write_text("mine")
    left = sorted(path.name for path in out.iterdir())
    if ".h5" in name and not name.startswith("."):
        with pytest.raises(UsageError, match="is no shard of a replay and would be lost; choose another --out"):
            collect(tiny(), out, None, OVERWRITE)
        assert sorted(path.name for path in out.iterdir()) == left
    else:
        collect(tiny(collect={"steps": 4}), out, None, OVERWRITE)
    assert (out / name).exists()
    with pytest.raises(UsageError, match="would be lost; choose another --out"):
        check_replay(out, OVERWRITE)


def test_a_device_is_not_replaced_by_a_file() -> None:
    with pytest.raises(UsageError, match="/dev/null: is no file, wanted the name of a file"):
        check_file(Path("/dev/null"), OVERWRITE)
    with pytest.raises(UsageError, match="/dev/null: is a file, wanted the name of a folder"):
        check_directory(Path("/dev/null"), OVERWRITE)


@pytest.mark.parametrize("name", ["thesis", "thesis.tex"])
def test_a_file_where_a_folder_is_wanted_stays(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("years")
    for command in (lambda out: collect(tiny(), out, None, OVERWRITE), lambda out: run(tiny(), out, OVERWRITE)):
        with pytest.raises(UsageError, match="is a file, wanted the name of a folder; choose another --out"):
            command(tmp_path / name)
    assert (tmp_path / name).read_text() == "years"


def test_a_folder_that_is_no_run_is_not_made_one_by_force(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mine: 1")
    (tmp_path / "replay").mkdir()
    with pytest.raises(UsageError, match=r"is no run, and holds config\.yaml, which would be lost; choose another --out"):
        run(tiny(), tmp_path, OVERWRITE)
    (tmp_path / "metrics.jsonl").touch()
    (tmp_path / "replay" / "thesis.tex").write_text("years")
    with pytest.raises(UsageError, match=r"replay: holds thesis\.tex, which would be lost; choose another --out"):
        run(tiny(), tmp_path, OVERWRITE)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["config.yaml", "metrics.jsonl", "replay", "thesis.tex"]


def test_a_mount_point_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path)
    with pytest.raises(OutputError, match=r"is where a file system is mounted, .*; choose a folder in it"):
        check_replay(tmp_path, Session())
