"""Stages that have no state worth saving still stop when asked, and say so."""

import signal
from pathlib import Path

import pytest

from dreamctl.core.errors import Interrupted, StoppedEarly, UsageError
from dreamctl.core.session import Session
from dreamctl.stages.evaluate import evaluate
from dreamctl.stages.imagine import imagine
from dreamctl.stages.render import render
from tests.stages.tiny import stopping, tiny

LOST = "nothing was written; start it again"


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_evaluation_that_is_stopped_writes_nothing(agent: Path, tmp_path: Path) -> None:
    with pytest.raises(StoppedEarly, match=f"eval: stopped at episode 0 of 3, {LOST}"):
        evaluate(tiny(), agent, tmp_path / "eval.h5", stopping(0))
    assert left(tmp_path) == []


def test_dreams_that_are_stopped_write_nothing(agent: Path, replay: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match=f"imagine: stopped at dream 1 of 3, {LOST}"):
        imagine(tiny(), agent, [replay], tmp_path / "dreams.h5", stopping(1, signal.SIGINT))
    assert left(tmp_path) == []


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_a_film_that_is_stopped_leaves_nothing_behind(replay: Path, tmp_path: Path, suffix: str) -> None:
    with pytest.raises(Interrupted, match=f"render: stopped at frame 3 of 7, {LOST}"):
        render(tiny(), [replay], tmp_path / f"film{suffix}", stopping(3, signal.SIGINT))
    assert left(tmp_path) == []


def test_an_evaluation_that_exists_is_not_offered_a_resume(agent: Path, tmp_path: Path) -> None:
    (tmp_path / "eval.h5").touch()
    with pytest.raises(UsageError, match="exists; use --overwrite or another --out"):
        evaluate(tiny(), agent, tmp_path / "eval.h5", Session())
