"""Golden: the official replay with its online queue, row by row through the real replay and sampler."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from dreamctl.core.experience import Row, TaskSpec, Windows
from dreamctl.replay.reader import Replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.replay.windows.selectors import Online
from tests.conftest import Golden
from tests.golden.names import check

EVICTED = -1
Data = dict[str, np.ndarray]


@pytest.fixture
def data(golden: Golden) -> Data:
    return golden("replay")


def rows(data: Data) -> Iterator[Row]:
    """The fixture's rows; the observation is the row's number."""
    for i, (first, last) in enumerate(zip(data["in.is_first"], data["in.is_last"], strict=True)):
        yield Row(0, {"i": np.array(i, np.float32)}, np.int64(0), 0.0, bool(first), bool(last), False)


def sampler(data: Data) -> WindowSampler:
    """An empty replay of the fixture's length, whose new windows are drawn one at a time."""
    spec = TaskSpec({"i": Box(0, np.inf, (), np.float32)}, Discrete(2), "gym", "Count-v0")
    config = ReplayConfig(batch_size=1, batch_length=int(data["cfg.length"]), selector=Online())
    return WindowSampler(Replay.empty(spec, 1), config, seed=0)


def add(drawing: WindowSampler, row: Row, capacity: int) -> None:
    """One row more; where there are more windows than fit, the oldest goes."""
    drawing._replay.add(row)
    if drawing.windows > capacity:
        drawing.streams[0].drop(1)


def test_replay(data: Data) -> None:
    drawing, capacity, counts = sampler(data), int(data["cfg.capacity"]), []
    queued: list[int] = []
    for row in rows(data):
        add(drawing, row, capacity)
        counts.append(drawing.windows)
        queued += [start for start in new_starts(drawing) if start not in queued]
    check(torch.tensor(counts), data["out.num_items_after_add"])
    left = new_starts(drawing)
    check(torch.tensor([start if start in left else EVICTED for start in queued]), data["out.online_queue_starts"])
    assert [drawn(drawing.sample(k)) for k in range(len(left))] == left, "what was evicted is skipped"
    check_windows(data, drawing)


def new_starts(drawing: WindowSampler) -> list[int]:
    """Where the windows begin that are waiting, counted from the first row there ever was."""
    return [int(row) + drawing.streams[0].first_row for row in drawing._current().new(drawing.behind, 100).row]


def drawn(windows: Windows) -> int:
    return int(windows.observation["i"][0, 0])


def check_windows(data: Data, drawing: WindowSampler) -> None:
    """Every window that is left, as it is drawn; their starts, contents, and where episodes begin and end in them."""
    every = WindowSampler(drawing._replay, replace(drawing.config, batch_size=500), seed=0)
    every.go_on(None)
    found = every.sample(0)
    starts, one = np.unique(found.row, return_index=True)
    check(torch.from_numpy(starts + drawing.streams[0].first_row), data["out.item_starts"])
    check(torch.from_numpy(found.observation["i"][one]), data["out.seq_i"])
    check(torch.from_numpy(found.is_first[one]), data["out.seq_is_first"])
    check(torch.from_numpy(found.is_last[one]), data["out.seq_is_last"])
