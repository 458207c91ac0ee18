"""A replay that others write to: looked at now and then, rows keep their places, episodes their sides."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from dreamctl.core.errors import InputError
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.replay.streams.holdout import held_out
from dreamctl.replay.windows.drawing import Drawn
from dreamctl.replay.windows.follow import BATCHES, SECONDS, Following
from dreamctl.replay.windows.index import Behind, Places, WindowIndex
from dreamctl.replay.windows.selectors import Online
from dreamctl.replay.writer import ReplayWriter
from tests.replay.pictures import SPEC as PICTURES
from tests.replay.pictures import picture_rows, right
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


def test_what_comes_after_episodes_that_were_all_held_out_is_new(tmp_path: Path) -> None:
    """Then these are learned from for want of others, and counted as they lie; later the rows of others count."""
    share, rows = 0.5, stream_rows([30] * 12)
    with ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0) as writer:
        held = [held_out(f"{writer.collector}-e0/{number}", share) for number in range(12)]
        first = held.index(False)
        assert first, "the first episode is to be held out; take another seed"
        for row in islice(rows, 30 * first):
            writer.add(row)
        clock = Clock()
        following = Following(open_replay([writer.path]), replace(CONFIG, selector=Online()), 0, share=share, clock=clock)
        following.go_on(None)
        following.sample(0)
        for row in rows:
            writer.add(row)
        clock.now += SECONDS
        new = [row for k in range(1, 40) for row in following.sample(k).row.tolist()]
    count = (30 * held.count(False) - 6) // 5
    assert new[:count] == list(range(1, 1 + 5 * count, 5))


# Shards that others remove


@pytest.fixture
def pruned(tmp_path: Path) -> Path:
    return write(tmp_path / "pictures", picture_rows([25, 50, 40, 60, 30]), spec=PICTURES, shard_rows=40)


def remove_oldest(folder: Path, count: int = 1) -> None:
    for path in sorted(folder.glob("*.h5"))[:count]:
        path.unlink()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_rows_of_oldest_shards_that_were_removed_are_not_drawn_any_more(pruned: Path, share: float) -> None:
    clock = Clock()
    following = Following(open_replay([pruned]), CONFIG, 0, share=share, clock=clock)
    for k in range(3):
        remove_oldest(pruned)
        clock.now += SECONDS
        windows = following.sample(k)
        assert windows.observation["small"][..., 1].min() >= 40 * (k + 1)
        assert right(dict(windows.observation))


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_shard_that_was_removed_since_the_last_look_costs_one(pruned: Path, looks: list[bool], share: float) -> None:
    following = Following(open_replay([pruned]), CONFIG, 0, share=share, clock=Clock())
    remove_oldest(pruned, 3)
    for k in range(10):
        windows = following.sample(k)
        assert windows.observation["small"][..., 1].min() >= 120
        assert right(dict(windows.observation))
    assert looks == [True]


def test_new_windows_of_a_batch_whose_rows_had_left_in_part_are_new_still(pruned: Path) -> None:
    following = Following(open_replay([pruned]), replace(CONFIG, selector=Online()), 0, clock=Clock())
    following.go_on({following.streams[0].name: 20})
    remove_oldest(pruned)
    assert following.sample(0).observation["small"][:, 0, 1].tolist() == list(range(41, 81, 5))


def test_rows_that_cannot_be_read_are_an_error_however_fast_others_come(pruned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    following = Following(open_replay([pruned]), CONFIG, 0, clock=Clock())
    sorted(pruned.glob("*.h5"))[2].unlink()
    looks = iter([True] * 20)
    monkeypatch.setattr(Replay, "refresh", lambda _: next(looks))
    with pytest.raises(InputError, match=r"-000002\.h5: is gone since it was opened"):
        all(following.sample(k) for k in range(10))


def test_batches_that_were_drawn_before_are_kept_when_their_rows_leave(pruned: Path) -> None:
    replay = open_replay([pruned])
    sampler = WindowSampler(replay.split(0.5)[1], CONFIG, 3)
    drawn, before = Drawn(sampler, 3), [sampler.sample(k) for k in range(3)]
    assert (drawn.streams, drawn.config, drawn.behind) == (sampler.streams, CONFIG, sampler.behind)
    remove_oldest(pruned, 4)
    replay.refresh()
    for k in range(3):
        assert (drawn.sample(k).observation["eye"] == before[k].observation["eye"]).all()


def test_a_shard_that_was_removed_from_the_middle_is_an_error(pruned: Path) -> None:
    following = Following(open_replay([pruned]), CONFIG, 0, clock=Clock())
    sorted(pruned.glob("*.h5"))[2].unlink()
    with pytest.raises(InputError, match=r"-000002\.h5: is gone since it was opened"):
        all(following.sample(k) for k in range(10))


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_each_window_is_new_once_though_rows_leave(tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    new = WindowIndex.new

    def noted(index: WindowIndex, behind: Behind, most: int) -> Places:
        places = new(index, behind, most)
        found.extend(int(index.streams[s].columns["observation/small"][r, 1]) for s, r in zip(*places, strict=True))
        return places

    monkeypatch.setattr(WindowIndex, "new", noted)
    rows, clock = picture_rows([31] * 40), Clock()
    with ReplayWriter(tmp_path / "replay", PICTURES, lanes=1, seed=0, shard_rows=41) as writer:
        for row in islice(rows, 300):
            writer.add(row)
        following = Following(open_replay([writer.path]), replace(CONFIG, selector=Online()), 0, share=share, clock=clock)
        following.go_on(None)
        for k in range(1, 60):
            for row in islice(rows, 12):
                writer.add(row)
            for rotated in writer.rotated[: len(writer.rotated) - 6]:
                writer.wait_sealed(rotated.path)
                rotated.path.unlink(missing_ok=True)
            clock.now += SECONDS
            following.sample(k)
        held = [held_out(f"{writer.collector}-e0/{number}", share) for number in range(40)]
    kept = [number for number in range(31 * 40) if not held[number // 31]]
    places = [kept.index(number) for number in found]
    apart = np.diff(places)
    assert apart.min() == 5, "they do not overlap"
    # Where episodes are held out nobody knows how many of the rows that have left were not: windows are counted from those that are there.
    assert apart.max() == (5 if not share else 9)
    assert len(found) > 70


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
