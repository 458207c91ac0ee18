"""Progress without a terminal: a line every few seconds; with one, a bar."""

import io

import pytest

from dreamctl.cli import progress
from dreamctl.cli.progress import Bar, Lines, progress_on


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_every_few_seconds(clock):
    stream = io.StringIO()
    lines = Lines(stream)
    lines.start("train-wm", 100)
    for second in range(12):
        clock[0] = 100.0 + second
        lines.update(second * 2, loss=1.25, other=float("nan"))
    assert stream.getvalue().splitlines() == ["train-wm 10/100, 0:45 left, loss 1.25", "train-wm 20/100, 0:40 left, loss 1.25"]


def test_what_is_quick_says_nothing(clock):
    stream = io.StringIO()
    lines = Lines(stream)
    lines.start("imagine", 3)
    clock[0] += 4
    lines.update(3)
    assert stream.getvalue() == ""


def test_a_reader_that_went_away_does_not_stop_the_work():
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    Lines(Gone()).note("hello")


def test_a_terminal_gets_a_bar(capsys):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    with progress_on(Terminal()) as bar:
        assert isinstance(bar, Bar)
        bar.note("before")
        bar.start("collect", 10)
        bar.update(5, loss=2.0)
        bar.note("between [brackets]")
    told = capsys.readouterr()
    assert told.out == ""
    assert "between [brackets]" in told.err
    assert "collect" in told.err
