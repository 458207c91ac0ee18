"""What a window begins with: which rows are drawn, where an episode is made to begin, which action comes first."""

from dataclasses import replace

import numpy as np
import pytest

from dreamctl.core.config import build, to_plain
from dreamctl.core.errors import InputError
from dreamctl.core.experience import Windows
from dreamctl.replay.reader import Replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.replay.windows.index import WithinEpisode
from dreamctl.replay.windows.starts import BurnIn, Latents, Start, StoredLatents, Zero, go_on
from tests.kinds import each
from tests.replay.rows import SPEC, stream_rows

CONFIG = ReplayConfig(batch_size=64, batch_length=8)


class Told:
    """States that tell where they come from: (kind, rows)."""

    def __init__(self, known: bool = True) -> None:
        self.known = known

    def zero(self, windows: Windows) -> tuple[str, object]:
        return "zero", len(windows.row)

    def observed(self, windows: Windows) -> tuple[str, Windows]:
        return "observed", windows

    def stored(self, windows: Windows) -> Latents:
        rows = windows.row[:, None].astype(float)
        return Latents(rows, -rows, np.full(len(rows), self.known))

    def given(self, latents: Latents) -> tuple[str, Latents]:
        return "given", latents


def memory(*lengths: int) -> Replay:
    replay = Replay.empty(SPEC, 1)
    for row in stream_rows(lengths):
        replay.add(row)
    return replay


def begun(start: Start, states: Told, *lengths: int) -> tuple[Windows, Windows, tuple[str, object]]:
    """The windows as they were drawn, the rows to learn from, and the state."""
    windows = WindowSampler(memory(*(lengths or (40,))), replace(CONFIG, start=start), seed=0).sample(0)
    return windows, *start.begin(windows, states)


def test_zero_is_the_default() -> None:
    assert ReplayConfig().start == Zero()


@each("kind", Start)
def test_every_kind_hands_on_t_rows_and_draws_its_context_in_front(kind: type[Start]) -> None:
    windows, rest, _ = begun(kind(), Told())
    assert windows.reward.shape == (64, kind().context + 8)
    assert rest.reward.shape == (64, 8)
    assert (rest.row == windows.row + kind().context).all()
    assert (rest.observation["observation"][:, 0, 2] == rest.row).all()
    assert (rest.prev_action[:, 1:] == rest.action[:, :-1]).all()


@each("kind", Start)
def test_every_kind_is_read_from_its_name(kind: type[Start]) -> None:
    assert build(ReplayConfig, {"start": kind.kind}).start == kind()
    assert build(ReplayConfig, to_plain(replace(CONFIG, start=kind()))).start == kind()


def test_zero_forces_the_first_row_and_no_other() -> None:
    _, rest, state = begun(Zero(), Told())
    assert rest.is_first[:, 0].all()
    assert not rest.is_first[:, 1:].any()
    assert state == ("zero", 64)


def test_burn_in_forces_its_own_first_row_only_and_keeps_the_action_between() -> None:
    windows, rest, (_, seen) = begun(BurnIn(3), Told())
    assert seen.reward.shape == (64, 3)
    assert seen.is_first[:, 0].all()
    assert not seen.is_first[:, 1:].any()
    inside = rest.row > 0
    assert not rest.is_first[inside].any()
    assert (rest.prev_action[:, 0] == windows.action[:, 2]).all()


def test_latents_go_on_from_the_row_in_front() -> None:
    windows, rest, (_, latents) = begun(StoredLatents(), Told())
    assert (latents.h[:, 0] == windows.row).all()
    assert (rest.prev_action[:, 0] == windows.action[:, 0]).all()
    assert not rest.is_first.any(), "the row in front is never forced to be a first one"


def test_a_window_without_stored_latents_begins_anew() -> None:
    _, rest, (_, latents) = begun(StoredLatents(), Told(known=False))
    assert rest.is_first[:, 0].all()
    assert (rest.prev_action[:, 0] == 0).all()
    assert not latents.h.any()
    assert not latents.z.any()


def test_a_row_in_front_that_ended_its_episode_resets_by_itself() -> None:
    windows, rest, _ = begun(StoredLatents(), Told(), 5, 30)
    behind_an_end = windows.row == 4
    assert behind_an_end.any()
    assert rest.is_first[behind_an_end, 0].all()
    assert (rest.prev_action[behind_an_end, 0] == 0).all()
    assert not rest.is_first[windows.row > 4].any()


def test_going_on_does_not_touch_the_windows() -> None:
    windows, _, _ = begun(StoredLatents(), Told())
    is_first, action = windows.is_first.copy(), windows.action.copy()
    go_on(windows, Latents(np.zeros((64, 1)), np.zeros((64, 1)), np.zeros(64, bool)))
    assert (windows.is_first == is_first).all()
    assert (windows.action == action).all()


@pytest.mark.parametrize(("start", "least"), [(Zero(), 8), (StoredLatents(), 9), (BurnIn(5), 13)])
def test_too_little_data_counts_the_context(start: Start, least: int) -> None:
    config = replace(CONFIG, start=start)
    assert (WindowSampler(memory(least), config, seed=0).sample(0).row == 0).all()
    with pytest.raises(InputError) as caught:
        WindowSampler(memory(least - 1), config, seed=0).check()
    front = f" after {start.context} of replay.start={start.kind}" if start.context else ""
    mend = "collect more or set replay.batch_length=7"
    assert str(caught.value) == f"replay in memory: longest stream holds {least - 1} rows, replay.batch_length is 8{front}; {mend}"


def test_within_episodes_the_context_lies_inside_too() -> None:
    config = replace(CONFIG, start=StoredLatents(), windows=WithinEpisode())
    sampler = WindowSampler(memory(8, 10, 9), config, seed=0)
    assert {int(row) for k in range(20) for row in sampler.sample(k).row} == {8, 9, 18}
    assert sampler.skipped == (1, 8)
