"""A replay that others write to: looked at now and then, rows keep their places, episodes their sides."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dreamctl.core.errors import InputError
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.replay.windows.follow import BATCHES, SECONDS, Following
from dreamctl.replay.windows.selectors import Online
from dreamctl.replay.writer import ReplayWriter
from tests.replay.rows import SPEC, stream_rows, write

CONFIG = ReplayConfig(batch_size=8, batch_length=5)
OLD, NEW = [40, 30], [50, 20]


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "replay", stream_rows(OLD))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What each look found."""
    found: list[bool] = []
    refresh = Replay.refresh
    monkeypatch.setattr(Replay, "refresh", lambda self: [found.append(refresh(self)), found[-1]][1])
    return found


def test_it_looks_every_so_many_batches_and_every_so_many_seconds(folder: Path, looks: list[bool]) -> None:
    clock = Clock()
    following = Following(open_replay([folder]), CONFIG, 0, clock=clock)
    for k in range(2 * BATCHES + 1):
        following.sample(k)
    assert len(looks) == 2
    clock.now += SECONDS - 0.01
    following.sample(0)
    assert len(looks) == 2
    clock.now += 0.01
    following.sample(0)
    assert looks == [False] * 3


def test_a_look_that_takes_long_is_not_taken_so_often(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, looks = Clock(), []

    def slow(_: Replay) -> bool:
        looks.append(clock.now)
        clock.now += 3.0
        return False

    monkeypatch.setattr(Replay, "refresh", slow)
    following = Following(open_replay([folder]), CONFIG, 0, clock=clock)
    for k in range(100):
        clock.now += 1.0
        following.sample(k)
    assert looks == [2.0, 32.0, 62.0, 92.0]


def test_what_others_add_is_drawn_and_until_then_the_draws_are_the_samplers(folder: Path) -> None:
    clock = Clock()
    following = Following(open_replay([folder]), CONFIG, 3, clock=clock)
    before = open_replay([folder])
    write(folder, stream_rows(NEW), append=True, seed=1)
    for k in range(5):
        assert (following.sample(k).row == WindowSampler(before, CONFIG, 3).sample(k).row).all()
    clock.now += SECONDS
    after = WindowSampler(open_replay([folder]), CONFIG, 3)
    found = [following.sample(k) for k in range(5, 40)]
    assert {stream.name for stream in following.streams} == {stream.name for stream in after.streams}
    assert {following.streams[s].name for windows in found for s in windows.stream} == {stream.name for stream in after.streams}


def test_each_window_that_is_added_is_new_once(folder: Path) -> None:
    clock = Clock()
    following = Following(open_replay([folder]), replace(CONFIG, selector=Online()), 0, clock=clock)
    following.go_on(None)
    following.sample(0)
    write(folder, stream_rows(NEW), append=True, seed=1)
    clock.now += SECONDS
    drawn = [following.sample(k) for k in range(1, 3)]
    old = following.streams[0].name if len(following.streams[0]) == sum(OLD) else following.streams[1].name
    places = [(following.streams[s].name, int(r)) for windows in drawn for s, r in zip(windows.stream, windows.row, strict=True)]
    assert [row for name, row in places[:13] if name != old] == list(range(1, sum(NEW) - 4, 5))
    assert following.behind.keys() == {stream.name for stream in following.streams}


def test_episodes_of_a_live_shard_keep_their_sides_while_they_grow(tmp_path: Path) -> None:
    share, clock = 0.5, Clock()
    rows = list(stream_rows([12] * 12))
    with ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0) as writer:
        for row in rows[:50]:
            writer.add(row)
        following = Following(open_replay([tmp_path / "replay"]), CONFIG, 0, share=share, clock=clock)
        before = following.streams[0].column("observation/observation").copy()
        for row in rows[50:]:
            writer.add(row)
            clock.now += SECONDS
            following.sample(0)
            kept = following.streams[0].column("observation/observation")
            assert (kept[: len(before)] == before).all()
            before = kept.copy()
    kept_episodes, held = open_replay([tmp_path / "replay"]).split(share)
    clock.now += SECONDS
    following.sample(0)
    assert np.array_equal(following.streams[0].rows, kept_episodes.streams[0].rows)
    assert held.rows > 0


def test_rows_that_are_gone_are_an_error(folder: Path) -> None:
    clock = Clock()
    following = Following(open_replay([folder]), CONFIG, 0, clock=clock)
    following.sample(0)
    name = next(folder.glob("*.h5")).name
    other = write(folder.with_name("other"), stream_rows([7]))
    next(other.glob("*.h5")).rename(folder / name)
    clock.now += SECONDS
    with pytest.raises(InputError, match=r"\.h5: "):
        following.sample(1)
