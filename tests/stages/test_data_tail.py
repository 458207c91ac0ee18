"""Following a replay tells each episode once, when it has ended, and each row once; it ends with its reader or by Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dreamctl.core.errors import InputError
from dreamctl.replay.reader import Replay
from dreamctl.replay.writer import ReplayWriter
from dreamctl.stages.data_tail import Listed, follow
from tests.cli.conftest import run_command
from tests.replay.rows import SPEC, episode_rows, stream_rows

Looking = Callable[[], list[Listed]]
Child = subprocess.Popen[str]
Following = Callable[..., Child]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[ReplayWriter]:
    """A writer that has written two episodes and half of a third one."""
    with ReplayWriter(tmp_path / "replay", SPEC, lanes=2, seed=0) as writer:
        for row in [*stream_rows([4, 3]), *episode_rows(2, 5, ended=False)]:
            writer.add(row)
        yield writer


def followed(path: Path, *, rows: bool) -> Looking:
    """What is told each time one looks: the lines that came since."""
    looked: list[bool] = []
    coming = follow([path], 10, lambda: looked.append(True) or len(looked) < 50, rows=rows)
    first = list(next(coming).lines)

    def look() -> list[Listed]:
        if first:
            told, first[:] = first[:], []
            return told
        looked.clear()
        found = next(coming, None)
        return [] if found is None else list(found.lines)

    return look


def test_an_episode_is_told_once_when_it_has_ended(writer: ReplayWriter) -> None:
    look = followed(writer.path, rows=False)
    assert [(line.steps, line.end) for line in look()] == [(3, "terminated"), (2, "truncated"), (4, "running")]
    for row in episode_rows(2, 7)[5:]:
        writer.add(row)
    assert [(line.steps, line.end) for line in look()] == [(6, "terminated")]
    for row in [*episode_rows(3, 3), *episode_rows(0, 6, lane=1)]:
        writer.add(row)
    assert sorted((line.steps, line.end) for line in look()) == [(2, "truncated"), (5, "terminated")]


def test_rows_are_told_once_their_action_is_known(writer: ReplayWriter) -> None:
    look = followed(writer.path, rows=True)
    assert [line.row for line in look()] == list(range(1, 11))
    for row in episode_rows(2, 8, ended=False)[5:]:
        writer.add(row)
    assert [(line.row, line.action) for line in look()] == [(row, {"action": 1 + step % 4}) for row, step in ((11, 4), (12, 5), (13, 6))]
    writer.add(episode_rows(2, 9)[8])
    assert [(line.row, line.flags) for line in look()] == [(14, ()), (15, ("terminated",))]


@pytest.mark.parametrize(("rows", "told"), [(False, [(4, "cut")]), (True, [10])])
def test_closing_ends_the_episode_that_was_running(writer: ReplayWriter, rows: bool, told: list[object]) -> None:
    look = followed(writer.path, rows=rows)
    before = len(look())
    writer.close()
    found = look()
    assert [line.row - before for line in found] if rows else [(line.steps, line.end) for line in found] == told


def test_nothing_new_is_nothing_told(writer: ReplayWriter) -> None:
    looks = iter([True, True, False])
    assert len(list(follow([writer.path], 10, lambda: next(looks), rows=False))) == 1


@pytest.fixture
def tail() -> Iterator[Following]:
    """Follow a replay in a process of its own."""
    children: list[Child] = []

    def begin(path: Path, *options: str) -> Child:
        line = [sys.executable, "-m", "dreamctl", "data", "tail", "-f", str(path), *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        children.append(subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment))
        return children[-1]

    yield begin
    for child in children:
        child.kill()
        child.wait()


def test_a_process_follows_until_interrupted(writer: ReplayWriter, tail: Following) -> None:
    child = tail(writer.path, "--json")
    assert child.stdout is not None
    first = [json.loads(child.stdout.readline()) for _ in range(3)]
    assert [line["steps"] for line in first] == [3, 2, 4]
    for row in episode_rows(2, 7)[5:]:
        writer.add(row)
    assert json.loads(child.stdout.readline())["end"] == "terminated"
    child.send_signal(signal.SIGINT)
    stdout, stderr = child.communicate(timeout=30)
    assert (child.returncode, stdout, stderr) == (130, "", "")


def test_an_interrupt_is_not_lost_while_something_is_let_go(writer: ReplayWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python drops what a signal raises there."""
    looks: list[int] = []

    class LetGo:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def refresh(_: Replay) -> bool:
        looks.append(len(looks))
        assert len(looks) == 1, "it goes on"
        LetGo()
        return False

    monkeypatch.setattr(Replay, "refresh", refresh)
    assert run_command(["data", "tail", "-f", str(writer.path)]).code == 130


def test_a_process_ends_when_its_reader_goes_away_although_nothing_comes(writer: ReplayWriter, tail: Following) -> None:
    child = tail(writer.path)
    assert child.stdout is not None
    told = [child.stdout.readline() for _ in range(4)]
    assert [told[0][:8], "running" in told[3]] == ["episode ", True]
    child.stdout.close()
    assert child.wait(30) == 0
    assert child.stderr is not None
    assert child.stderr.read() == ""


@pytest.mark.parametrize("rows", [False, True])
def test_a_folder_that_vanishes_or_is_closed_ends_it(rows: bool, writer: ReplayWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [followed(writer.path, rows=rows) for _ in range(2)]
    for look in looks:
        look()

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(InputError, match=r"replay: cannot be read \(Permission denied\)"):
            looks[0]()
    writer.path.rename(writer.path.with_name("moved"))
    with pytest.raises(InputError, match=r"replay: cannot read \(No such file or directory\)"):
        looks[1]()
    writer.path.with_name("moved").rename(writer.path)
