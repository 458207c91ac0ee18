"""The index of windows against a list of every one there is, on replays of any shape."""

import numpy as np
import pytest

from dreamctl.replay.reader import Replay
from dreamctl.replay.windows.index import AcrossEpisodes, WindowIndex, WindowKind, WithinEpisode
from tests.kinds import each
from tests.replay.rows import SPEC, stream_rows

Noise = np.random.Generator


def some_replay(noise: Noise) -> Replay:
    """A few lanes of a few episodes, some of them empty, some without their first rows."""
    replay = Replay.empty(SPEC, int(noise.integers(1, 5)))
    for lane, stream in enumerate(replay.streams):
        for row in stream_rows(noise.integers(2, 12, size=noise.integers(0, 6)).tolist(), lane=lane):
            replay.add(row)
        if len(stream) and noise.random() < 0.5:
            stream.drop(int(noise.integers(0, len(stream))))
    return replay


def every_window(replay: Replay, kind: type[WindowKind], length: int) -> list[tuple[int, int]]:
    return [
        (number, row)
        for number, stream in enumerate(replay.streams)
        for row in range(len(stream) - length + 1)
        if kind is AcrossEpisodes or not stream.columns["is_first"][row + 1 : row + length].any()
    ]


@pytest.mark.parametrize("seed", range(20))
@each("kind", WindowKind)
def test_it_holds_every_window_once_and_no_other(kind: type[WindowKind], seed: int) -> None:
    noise = np.random.default_rng(seed)
    for _ in range(10):
        replay, length = some_replay(noise), int(noise.integers(2, 9))
        index, wanted = WindowIndex.of(replay.streams, kind(), length), every_window(replay, kind, length)
        places = index.places(np.arange(len(index)))
        assert list(zip(places.stream.tolist(), places.row.tolist(), strict=True)) == wanted
        in_streams = np.bincount([number for number, _ in wanted], minlength=len(replay.streams))
        assert np.diff(index.stream_ends, prepend=0).tolist() == in_streams.tolist()


@pytest.mark.parametrize("seed", range(20))
@each("kind", WindowKind)
def test_new_ones_are_apart_in_each_run_and_the_oldest_come_first(kind: type[WindowKind], seed: int) -> None:
    noise = np.random.default_rng(seed)
    for _ in range(5):
        replay, length = some_replay(noise), int(noise.integers(2, 9))
        index = WindowIndex.of(replay.streams, kind(), length)
        behind = {stream.name: stream.first_row + int(noise.integers(0, 30)) for stream in replay.streams}
        wanted = []
        for number, stream in enumerate(replay.streams):
            for first, rows, anchor in zip(*(column.tolist() for column in kind().runs(stream)), strict=True):
                starts = [row for row in range(first, first + rows - length + 1) if (row - anchor) % length == 0]
                wanted += [(row + stream.first_row, number) for row in starts if row + stream.first_row >= behind[stream.name]]
        found = index.new(behind, 1000)
        assert [(r + replay.streams[s].first_row, s) for s, r in zip(*map(np.ndarray.tolist, found), strict=True)] == sorted(wanted)
        assert all((few == all_of_them[:3]).all() for few, all_of_them in zip(index.new(behind, 3), found, strict=True))


def test_very_many_episodes_that_are_too_short_are_windows_of_nobody() -> None:
    replay = Replay.empty(SPEC, 1)
    for row in stream_rows([3] * 50 + [6] + [3] * 50):
        replay.add(row)
    index = WindowIndex.of(replay.streams, WithinEpisode(), 5)
    assert (len(index), index.new({}, 10).row.tolist()) == (2, [150])
