"""Figures of a replay are those of the numbers that were received, taken and seen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

from dreamctl.core.experience import Row, TaskSpec
from dreamctl.replay.figures.stats import ReplayStats, replay_stats
from dreamctl.replay.reader import open_replay
from dreamctl.replay.writer import write_episodes
from tests.replay.rows import SPEC, dream, episode_rows, stream_rows, write

IMAGES = TaskSpec({"image": Box(0, 255, (12, 10, 3), np.uint8)}, Discrete(5), "gym", "Picture-v0")


def figures_of(path: Path) -> ReplayStats:
    return replay_stats(open_replay([path]))


def pictures(count: int, seed: int = 0) -> list[Row]:
    noise = np.random.default_rng(seed)
    rows = episode_rows(0, count)
    return [replace(row, observation={"image": noise.integers(0, 200, (12, 10, 3), np.uint8)}) for row in rows]


def test_figures_are_those_of_all_rows_in_all_shards(tmp_path: Path) -> None:
    replay = open_replay([write(tmp_path / "r", stream_rows([5, 9, 4]), shard_rows=4)])
    found = {column.name: column for column in replay_stats(replay).columns}
    seen = np.concatenate([replay.load(info).observation["observation"] for info in replay.episodes()]).astype(np.float64)
    column = found["observation/observation"]
    assert column.whole.mean == pytest.approx(seen.mean())
    assert column.whole.std == pytest.approx(seen.std())
    assert [one.max for one in column.dimensions] == seen.max(0).tolist()
    assert column.whole.count == 18 * 3


def test_rewards_of_first_rows_and_actions_of_last_rows_do_not_count(tmp_path: Path) -> None:
    rows = [*episode_rows(0, 5), *episode_rows(1, 4, ended=False)]
    stats = figures_of(write(tmp_path / "r", rows))
    found = {column.name: column.whole for column in stats.columns}
    assert (found["reward"].count, found["reward"].min) == (7, 1.0)
    assert found["action"].count == 7
    # Steps 0 to 3 of the one, 0 to 2 of the other, each 1 + step.
    assert stats.choices == {"action": {1: 2, 2: 2, 3: 2, 4: 1}}


def test_only_whole_episodes_have_a_return(tmp_path: Path) -> None:
    stats = figures_of(write(tmp_path / "r", [*stream_rows([3, 3, 11]), *episode_rows(3, 40, ended=False)]))
    assert stats.episodes == 3
    assert stats.returns is not None
    assert stats.returns.figures.mean == pytest.approx((2 + 2 + 10) / 3)
    assert stats.returns.quantiles[0.5] == 2
    assert sum(stats.returns.counts) == 3
    assert (stats.returns.edges[0], stats.returns.edges[-1]) == (2, 10)
    assert stats.lengths == stats.returns


def test_returns_that_are_neighbouring_numbers_share_a_bar(tmp_path: Path) -> None:
    rewards = [(0.0, 2.0**53, 0.0), (0.0, 2.0**53, 2.0)]
    rows = [
        replace(row, reward=reward) for number, of in enumerate(rewards) for row, reward in zip(episode_rows(number, 3), of, strict=True)
    ]
    stats = figures_of(write(tmp_path / "r", rows))
    assert stats.returns is not None
    assert sum(stats.returns.counts) == 2


def test_a_replay_without_a_whole_episode_has_no_returns(tmp_path: Path) -> None:
    stats = figures_of(write(tmp_path / "r", episode_rows(0, 5, ended=False)))
    assert (stats.episodes, stats.returns, stats.lengths) == (0, None, None)


def test_every_byte_of_pictures_is_counted_shard_by_shard(tmp_path: Path) -> None:
    rows = pictures(90)
    (column, *_) = figures_of(write(tmp_path / "r", rows, spec=IMAGES, shard_rows=40)).columns
    seen = np.stack([row.observation["image"] for row in rows]).astype(np.float64)
    assert (column.whole.count, column.whole.min, column.whole.max) == (seen.size, seen.min(), seen.max())
    assert column.whole.mean == pytest.approx(seen.mean(), rel=1e-12)
    assert column.whole.std == pytest.approx(seen.std(), rel=1e-12)
    assert column.dimensions == ()


def test_each_part_of_a_choice_is_counted_for_itself(tmp_path: Path) -> None:
    spec = replace(SPEC, action=MultiDiscrete([3, 4]))
    rows = [replace(row, action=np.array([1, t % 2]) if t < 4 else np.zeros(2, np.int64)) for t, row in enumerate(episode_rows(0, 5))]
    stats = figures_of(write(tmp_path / "r", rows, spec=spec))
    assert stats.choices == {"action[0]": {1: 4}, "action[1]": {0: 2, 1: 2}}


def test_a_nested_action_has_a_column_a_leaf(tmp_path: Path) -> None:
    spec = replace(SPEC, action=Dict({"gear": Discrete(3), "gas": Box(-1, 1, (2,), np.float32)}))
    dtype = np.dtype([("gas", "<f4", (2,)), ("gear", "<i8")])
    rows = [replace(row, action=np.array(([0.5, -0.5], 2) if t < 3 else ([0, 0], 0), dtype)) for t, row in enumerate(episode_rows(0, 4))]
    stats = figures_of(write(tmp_path / "r", rows, spec=spec))
    found = {column.name: column for column in stats.columns}
    assert [one.mean for one in found["action/gas"].dimensions] == [0.5, -0.5]
    assert stats.choices == {"action/gear": {2: 3}}


def test_further_columns_of_a_dream_are_counted_too(tmp_path: Path) -> None:
    write_episodes(tmp_path / "dreams.h5", SPEC, [dream(), dream()], kind="imagined", parent={})
    stats = figures_of(tmp_path / "dreams.h5")
    found = {column.name: column.whole for column in stats.columns}
    assert (found["extra/value"].count, found["extra/value"].mean) == (12, 2.5)
    assert found["truth/observation"].count == 36
    assert stats.episodes == 2


def test_numbers_that_are_not_finite_are_counted_where_a_replay_may_hold_them(tmp_path: Path) -> None:
    rows = episode_rows(0, 5, extra={"log_prob": np.array([0, -np.inf, np.nan, 1, 2], np.float32)})
    found = {column.name: column.whole for column in figures_of(write(tmp_path / "r", rows)).columns}
    assert (found["extra/log_prob"].count, found["extra/log_prob"].not_finite) == (3, 2)
