"""Which windows are drawn: all alike, newer ones more often, or each new one once; and a draw depends on nothing else."""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dreamctl.core.config import build, to_plain
from dreamctl.core.errors import UsageError
from dreamctl.core.experience import Windows
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.replay.windows.index import AcrossEpisodes, WindowIndex, WithinEpisode
from dreamctl.replay.windows.selectors import Online, Recency, Selector, Uniform
from tests.kinds import each
from tests.replay.rows import SPEC, episode_rows, stream_rows, write

LENGTH = 5
CONFIG = ReplayConfig(batch_size=3, batch_length=LENGTH, selector=Online())


def memory(lanes: int = 1) -> Replay:
    return Replay.empty(SPEC, lanes)


def grow(replay: Replay, rows: int, lanes: Sequence[int] = (0,)) -> Replay:
    """So many rows more in each lane, in step."""
    for _ in range(rows):
        for lane in lanes:
            at = len(replay.lane(lane))
            replay.add(replace(episode_rows(0, 2, lane=lane)[0], is_first=at == 0, reward=float(at)))
    return replay


def places(windows: Windows) -> list[tuple[int, int]]:
    return list(zip(windows.stream.tolist(), windows.row.tolist(), strict=True))


def waiting(sampler: WindowSampler, most: int = 1000) -> list[tuple[int, int]]:
    """Windows that are new."""
    index = WindowIndex.of(sampler.streams, AcrossEpisodes(), LENGTH)
    return [(int(s), int(r)) for s, r in zip(*index.new(sampler.behind, most), strict=True)]


@each("kind", Selector)
def test_every_kind_is_a_pure_function_of_what_it_is_given(kind: type[Selector]) -> None:
    replay, config = grow(memory(2), 200, [0, 1]), replace(CONFIG, selector=kind())
    one, two, other = (WindowSampler(replay, config, seed) for seed in (1, 1, 2))
    found = [one.sample(k) for k in range(40)]
    two.go_on(dict(one.behind))
    assert places(one.sample(40)) == places(two.sample(40))
    assert one.behind == two.behind
    assert any(places(other.sample(k)) != places(windows) for k, windows in enumerate(found))


@each("kind", Selector)
def test_every_kind_is_made_from_plain_values(kind: type[Selector]) -> None:
    config = ReplayConfig(selector=kind())
    assert build(ReplayConfig, to_plain(config)) == config
    assert build(ReplayConfig, {"selector": kind.kind}) == config


def test_a_half_life_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"selector\.half_life: found 0\.0, wanted 0\.001 to 1e\+12"):
        build(ReplayConfig, {"selector": {"kind": "recency", "half_life": 0}})


# Recency


@pytest.mark.parametrize("half_life", [0.3, 2.0, 7.0, 1e9])
def test_ages_follow_the_truncated_geometric_distribution(half_life: float) -> None:
    config = replace(CONFIG, batch_size=2000, selector=Recency(half_life))
    sampler = WindowSampler(grow(memory(), 20 + LENGTH - 1), config, seed=0)
    ages = np.concatenate([19 - sampler.sample(k).row for k in range(50)])
    q = 0.5 ** (1 / half_life)
    wanted = (1 - q) * q ** np.arange(20) / (1 - q**20)
    assert np.bincount(ages, minlength=20).shape == (20,)
    np.testing.assert_allclose(np.bincount(ages, minlength=20) / len(ages), wanted, atol=0.006)


def test_recency_draws_streams_by_their_share_and_the_newest_of_each() -> None:
    replay = grow(grow(memory(2), 60 + LENGTH - 1, [0]), 20 + LENGTH - 1, [1])
    windows = WindowSampler(replay, replace(CONFIG, batch_size=20_000, selector=Recency(1e-3)), seed=0).sample(0)
    assert set(places(windows)) == {(0, 59), (1, 19)}
    assert abs((windows.stream == 1).mean() - 0.25) < 0.02


# Online


def test_new_windows_do_not_overlap_and_are_drawn_first_then_any() -> None:
    sampler = WindowSampler(grow(memory(), 21), CONFIG, seed=0)
    assert places(sampler.sample(0)) == [(0, 1), (0, 6), (0, 11)]
    uniform = WindowSampler(sampler._replay, replace(CONFIG, batch_size=2, selector=Uniform()), seed=0)
    assert places(sampler.sample(1)) == [(0, 16), *places(uniform.sample(1))]
    uniform = WindowSampler(sampler._replay, replace(CONFIG, selector=Uniform()), seed=0)
    assert places(sampler.sample(2)) == places(uniform.sample(2))


@pytest.mark.parametrize("seed", range(5))
def test_each_new_window_is_drawn_exactly_once_before_any_other(seed: int) -> None:
    """Lanes in step and batches at any time, as in `run`; a window that is drawn for being new leads its batch."""
    noise = np.random.default_rng(seed)
    replay, drawn = memory(3), []
    sampler = WindowSampler(replay, CONFIG, seed)
    for k in range(60):
        grow(replay, int(noise.integers(1, 9)), range(3))
        if len(replay.streams[0]) < LENGTH:
            continue
        new = waiting(sampler)
        found = places(sampler.sample(k))
        assert found[: len(new)] == new[: len(found)]
        drawn += new[: len(found)]
    drawn += waiting(sampler)
    rows = len(replay.streams[0])
    assert sorted(drawn) == [(s, r) for s in range(3) for r in range(1, rows - LENGTH + 1, LENGTH)]
    assert drawn == sorted(drawn, key=lambda place: place[::-1]), "in the order in which they became complete"


@pytest.mark.parametrize("seed", range(4))
def test_new_windows_are_those_of_the_official_queue(seed: int) -> None:
    """Lanes in step; of the official code (`Replay.add`, `_sample`) one queue for all workers; rows go, and training is resumed."""
    noise, lanes = np.random.default_rng(seed), 1 + seed
    replay, queue, counts = memory(lanes), deque[tuple[int, int]](), [0] * lanes
    sampler, seen = WindowSampler(replay, CONFIG, seed), 0
    for k in range(80):
        for _ in range(int(noise.integers(0, 9))):
            grow(replay, 1, range(lanes))
            for lane in range(lanes):
                start = counts[lane] + 1 - LENGTH
                queue.extend([(lane, start)] if start >= 0 and counts[lane] % LENGTH == 0 else [])
                counts[lane] += 1
        if noise.random() < 0.2:
            for stream in replay.streams:
                stream.drop(min(int(noise.integers(0, 4 * LENGTH)), max(0, len(stream) - LENGTH)))
        if noise.random() < 0.2:
            sampler, behind = WindowSampler(replay, CONFIG, seed), json.loads(json.dumps(dict(sampler.behind)))
            sampler.go_on(behind)
        if not sampler.windows:
            continue
        found = [(stream, row + replay.streams[stream].first_row) for stream, row in places(sampler.sample(k))]
        left = [(lane, start) for lane, start in queue if start >= replay.streams[lane].first_row]
        queue = deque(left[len(found) :])
        assert found[: len(left)] == left[: len(found)]
        seen += len(left[: len(found)])
    assert seen > 30


def test_a_sampler_that_is_given_what_is_behind_goes_on_with_the_same_draws() -> None:
    replay = grow(memory(2), 53, [0, 1])
    whole, first, second = (WindowSampler(replay, CONFIG, seed=4) for _ in range(3))
    wanted = [places(whole.sample(k)) for k in range(10)]
    found = [places(first.sample(k)) for k in range(3)]
    second.go_on(dict(first.behind))
    assert found + [places(second.sample(k)) for k in range(3, 10)] == wanted


def test_what_is_left_behind_is_not_new_and_what_comes_later_is() -> None:
    replay = grow(memory(2), 23, [0, 1])
    sampler = WindowSampler(replay, CONFIG, seed=0)
    sampler.go_on(None)
    assert waiting(sampler) == []
    grow(replay, 3, [0, 1])
    assert waiting(sampler) == [(0, 21), (1, 21)]
    grow(replay, 20, [1])
    assert waiting(sampler) == [(0, 21), *((1, row) for row in (21, 26, 31, 36, 41))]


def test_what_is_dropped_before_its_turn_is_skipped_and_the_others_keep_their_places() -> None:
    replay = grow(memory(), 40)
    sampler = WindowSampler(replay, CONFIG, seed=0)
    sampler.sample(0)
    replay.streams[0].drop(24)
    assert waiting(sampler) == [(0, 26 - 24), (0, 31 - 24)]
    assert places(sampler.sample(1))[:2] == [(0, 2), (0, 7)]
    grow(replay, 6)
    assert waiting(sampler) == [(0, 36 - 24), (0, 41 - 24)]


def test_windows_within_episodes_are_new_episode_by_episode() -> None:
    replay = memory()
    for row in stream_rows([12, 3, 5, 11]):
        replay.add(row)
    sampler = WindowSampler(replay, replace(CONFIG, batch_size=5, windows=WithinEpisode()), seed=0)
    assert places(sampler.sample(0)) == [(0, row) for row in (0, 5, 15, 20, 25)]


def test_what_is_left_of_an_episode_has_no_new_window_with_rows_of_one_that_was_drawn() -> None:
    replay = memory()
    for row in stream_rows([40]):
        replay.add(row)
    sampler = WindowSampler(replay, replace(CONFIG, windows=WithinEpisode()), seed=0)
    assert places(sampler.sample(0)) == [(0, 0), (0, 5), (0, 10)]
    replay.streams[0].drop(7)
    (row, *_) = sampler._current().new(sampler.behind, 10).row
    assert row + 7 >= 15


def test_a_replay_read_again_has_the_same_new_windows(tmp_path: Path) -> None:
    folder = write(tmp_path / "replay", list(stream_rows([30])) + list(stream_rows([30], lane=1)), lanes=2)
    one, two = (WindowSampler(open_replay([folder]), CONFIG, seed=0) for _ in range(2))
    for _ in range(2):
        one.sample(0)
    two.go_on(one.behind)
    assert waiting(one) == waiting(two)
    found = waiting(WindowSampler(open_replay([folder]), CONFIG, seed=0))
    assert found == [(stream, row) for row in (1, 6, 11, 16, 21) for stream in (0, 1)]


@pytest.mark.parametrize("plain", [{"selector": {"kind": "recency", "half_life": float("inf")}}, {"cache_gb": float("inf")}])
def test_numbers_without_end_are_refused(plain: dict) -> None:
    with pytest.raises(UsageError, match="found inf, wanted"):
        build(ReplayConfig, plain, "replay")


def test_streams_of_one_name_in_two_folders_are_behind_us_each_for_itself(tmp_path: Path) -> None:
    folders = [write(tmp_path / name, stream_rows([rows])) for name, rows in {"long": 100, "short": 60}.items()]
    sampler = WindowSampler(open_replay(folders), CONFIG, seed=0)
    assert len({stream.name for stream in sampler.streams}) == 1
    sampler.go_on(None)
    assert waiting(sampler) == []
    sampler.go_on({})
    first = {(0, 1), (1, 1), (0, 1 + LENGTH)}
    assert set(places(sampler.sample(0))) == first
    assert not first.intersection(waiting(sampler))
