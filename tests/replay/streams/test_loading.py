"""An episode is loaded in memory of its own, and in no more than it needs."""

import tracemalloc
from pathlib import Path

import numpy as np

from dreamctl.replay.reader import open_replay
from tests.replay.pictures import SPEC, picture_rows, right
from tests.replay.rows import write

ROW_BYTES = 16 * 16 * 3 + 400


def test_big_columns_are_in_memory_once(tmp_path: Path) -> None:
    replay = open_replay([write(tmp_path / "replay", picture_rows([2000]), spec=SPEC)])
    (info,) = replay.episodes()
    replay.load(info)
    tracemalloc.start()
    try:
        episode = replay.load(info)
        assert 2000 * ROW_BYTES < tracemalloc.get_traced_memory()[1] < 1.3 * 2000 * ROW_BYTES
    finally:
        tracemalloc.stop()
    assert right(dict(episode.observation))


def test_an_episode_may_be_changed(tmp_path: Path) -> None:
    replay = open_replay([write(tmp_path / "replay", picture_rows([20]), spec=SPEC)])
    (info,) = replay.episodes()
    episode = replay.load(info)
    for column in (*episode.observation.values(), episode.action, episode.reward, episode.is_first, episode.terminated):
        assert isinstance(column, np.ndarray)
        column[...] = 1
    again = replay.load(info)
    assert right(dict(again.observation))
    assert (again.reward[0], again.is_first.sum(), again.terminated[:-1].sum(), again.action[3]) == (0, 1, 0, 0)
