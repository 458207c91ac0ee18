from pathlib import Path

import pytest

from dreamctl.core.errors import OutputError, UsageError
from dreamctl.core.session import Session
from dreamctl.stages.collect import plan
from dreamctl.stages.evaluate import evaluate
from dreamctl.stages.imagine import imagine
from dreamctl.stages.output import check_output
from dreamctl.stages.render import render
from dreamctl.stages.resume import CheckpointFile
from tests.stages.tiny import OVERWRITE, tiny


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
