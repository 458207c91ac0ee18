"""Windows are rows as stored, drawn the same for the same seed; only the batch copy knows resets and previous actions."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from dreamctl.core.errors import InputError
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.replay.streams.stream import Stream
from dreamctl.replay.windows.index import AcrossEpisodes, WindowKind, WithinEpisode
from dreamctl.replay.windows.starts import shift_actions
from dreamctl.replay.writer import write_episodes
from tests.replay.rows import SPEC, dream, episode_rows, stream_rows, write

CONFIG = ReplayConfig(batch_size=64, batch_length=8)


def memory(*lengths: int, lanes: int = 1) -> Replay:
    replay = Replay.empty(SPEC, lanes)
    for lane in range(lanes):
        for row in stream_rows(lengths, lane):
            replay.add(row)
    return replay


def test_prev_action_is_the_action_of_the_row_before_and_zero_where_an_episode_begins() -> None:
    action = np.arange(1, 13).reshape(2, 6)
    before = action.copy()
    is_first = np.array([[1, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 1]], bool)
    assert shift_actions(action, is_first).tolist() == [[0, 1, 2, 0, 4, 5], [0, 7, 8, 9, 10, 0]]
    assert (action == before).all()


def test_prev_action_of_vectors_is_shifted_in_time_only() -> None:
    action = np.random.default_rng(0).normal(size=(3, 5, 2))
    is_first = np.zeros((3, 5), bool)
    found = shift_actions(action, is_first)
    assert (found[:, 1:] == action[:, :-1]).all()
    assert (found[:, 0] == 0).all()


@pytest.mark.parametrize("kind", get_args(WindowKind))
def test_windows_hold_the_rows_as_they_are_stored(kind: type[WindowKind]) -> None:
    replay = memory(12, 9, 20, 11, lanes=3)
    windows = WindowSampler(replay, replace(CONFIG, windows=kind()), seed=1).sample(0)
    for i, (stream, row) in enumerate(zip(windows.stream, windows.row, strict=True)):
        columns = {name: column[row : row + 8] for name, column in replay.streams[stream].columns.items()}
        assert np.array_equal(windows.observation["observation"][i], columns["observation/observation"])
        assert np.array_equal(windows.action[i], columns["action"])
        assert np.array_equal(windows.reward[i], columns["reward"])
        assert np.array_equal(windows.is_first[i, 1:], columns["is_first"][1:])
        assert windows.is_first[i, 0]
        assert np.array_equal(windows.prev_action[i, 1:], np.where(columns["is_first"][1:], 0, columns["action"][:-1]))
        assert windows.prev_action[i, 0] == 0
        assert np.array_equal(windows.terminated[i], columns["terminated"])


def test_windows_cross_episode_ends_and_is_first_resets_inside() -> None:
    windows = WindowSampler(memory(3, 3, 3, 3, 3), CONFIG, seed=0).sample(0)
    starts = windows.observation["observation"][..., 2] == 0
    assert (windows.is_first[:, 1:] == starts[:, 1:]).all()
    assert windows.is_first[:, 1:].any()
    assert (windows.is_last[:, :-1] == starts[:, 1:]).all()


def test_is_last_also_marks_the_end_of_a_cut_episode_even_on_the_last_row_of_a_window() -> None:
    replay = Replay.empty(SPEC, 1)
    for row in [*episode_rows(0, 4, ended=False), *episode_rows(1, 9, ended=False)]:
        replay.add(row)
    windows = WindowSampler(replay, ReplayConfig(batch_size=64, batch_length=4), seed=0).sample(0)
    first = windows.is_last[windows.row == 0]
    assert len(first)
    assert (first == [False, False, False, True]).all()
    assert not windows.terminated.any()


def test_windows_within_episodes_never_cross_and_report_what_they_skip() -> None:
    sampler = WindowSampler(memory(10, 3, 8, 7), replace(CONFIG, windows=WithinEpisode()), seed=0)
    found = {(int(row)) for k in range(20) for row in sampler.sample(k).row}
    assert found == {0, 1, 2, 13}
    assert sampler.skipped == (2, 10)
    assert not sampler.sample(0).is_first[:, 1:].any()


def test_every_window_is_drawn_about_equally_often() -> None:
    replay = memory(5, 6, lanes=2)
    sampler = WindowSampler(replay, CONFIG, seed=3)
    draws = [(int(s), int(r)) for k in range(200) for w in [sampler.sample(k)] for s, r in zip(w.stream, w.row, strict=True)]
    places, counts = np.unique(draws, axis=0, return_counts=True)
    assert places.tolist() == [[s, r] for s in range(2) for r in range(4)]
    assert (abs(counts / len(draws) - 1 / 8) < 0.01).all()


def test_a_batch_is_a_pure_function_of_seed_and_number() -> None:
    replay = memory(200)
    one, two, other = (WindowSampler(replay, CONFIG, seed=seed) for seed in (1, 1, 2))
    two.sample(7)
    assert (one.sample(5).row == two.sample(5).row).all()
    assert (one.sample(5).row != other.sample(5).row).any()
    assert len({one.sample(k).row.tobytes() for k in range(100)}) == 100


def test_batches_share_no_run_of_random_numbers() -> None:
    sampler = WindowSampler(memory(5000), CONFIG, seed=1)
    one, two = sampler.sample(0).row, sampler.sample(1).row
    assert not any((one[shift:] == two[: len(two) - shift]).all() for shift in range(1, 60))


@pytest.mark.parametrize("seed", [-1, 0, 2**63, 2**70])
def test_any_whole_number_is_a_seed(seed: int) -> None:
    assert WindowSampler(memory(20), CONFIG, seed=seed).sample(0).row.shape == (64,)


def test_rows_added_since_the_last_batch_are_drawn() -> None:
    replay = memory(8)
    sampler = WindowSampler(replay, CONFIG, seed=0)
    assert set(sampler.sample(0).row) == {0}
    for row in episode_rows(1, 4):
        replay.add(row)
    assert set(sampler.sample(1).row) == {0, 1, 2, 3, 4}


def test_batches_do_not_change_when_the_replay_grows() -> None:
    replay = memory(8)
    windows = WindowSampler(replay, CONFIG, seed=0).sample(0)
    before = windows.observation["observation"].copy()
    for row in stream_rows([3000]):
        replay.add(row)
    windows.reward[:] = 9
    assert (windows.observation["observation"] == before).all()
    assert replay.streams[0].columns["reward"].max() == 1


def test_a_batch_looks_at_no_rows_of_streams_that_it_does_not_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = WindowSampler(memory(20, lanes=40), ReplayConfig(batch_size=8, batch_length=8), seed=0)
    sampler.check()
    seen, number, rows = set(), {stream: n for n, stream in enumerate(sampler.streams)}, vars(Stream)["rows"].fget
    monkeypatch.setattr(Stream, "rows", property(lambda stream: (seen.add(number[stream]), rows(stream))[1]))
    assert set(sampler.sample(0).stream) == seen


def test_too_little_data_names_the_file_the_window_and_the_mend(tmp_path: Path) -> None:
    folder = write(tmp_path / "replay", stream_rows([4, 3]))
    with pytest.raises(InputError) as caught:
        WindowSampler(open_replay([folder]), CONFIG, seed=0).sample(0)
    wanted = f"{folder}: longest stream holds 7 rows, replay.batch_length is 8; collect more or set replay.batch_length=7"
    assert str(caught.value) == wanted
    assert caught.value.code == 3
    with pytest.raises(InputError, match=r"longest episode holds 4 rows, .* or replay\.windows=across$"):
        WindowSampler(open_replay([folder]), replace(CONFIG, windows=WithinEpisode()), seed=0).check()


def test_an_empty_replay_asks_for_more() -> None:
    with pytest.raises(InputError, match=r"replay in memory: longest stream holds 0 rows, replay\.batch_length is 8; collect more$"):
        WindowSampler(Replay.empty(SPEC, 2), CONFIG, seed=0).sample(0)
    with pytest.raises(InputError, match="holds 0 rows"):
        WindowSampler(Replay.empty(SPEC, 0), replace(CONFIG, windows=AcrossEpisodes()), seed=0).check()


def test_dreams_are_drawn_only_when_allowed(tmp_path: Path) -> None:
    write_episodes(tmp_path / "dreams.h5", SPEC, [dream(10)], kind="imagined", parent={})
    replay = open_replay([tmp_path / "dreams.h5"])
    with pytest.raises(InputError, match=r"dreams\.h5: holds imagined rollouts; .* set replay\.allow_imagined=true"):
        WindowSampler(replay, CONFIG, seed=0)
    assert WindowSampler(replay, replace(CONFIG, allow_imagined=True), seed=0).sample(0).reward.shape == (64, 8)


def test_windows_join_segments_across_shards(tmp_path: Path) -> None:
    replay = open_replay([write(tmp_path / "replay", stream_rows([20]), shard_rows=5)])
    windows = WindowSampler(replay, CONFIG, seed=0).sample(0)
    assert (np.diff(windows.observation["observation"][..., 2], axis=1) == 1).all()
    assert set(windows.row) == set(range(13))
