"""A batch ahead in a thread: the same batches, buffers that are used again, errors where the batch is asked for."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import DTypeLike

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array, Windows
from dreamctl.replay.reader import Replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.replay.windows.prefetch import Prefetch
from dreamctl.replay.windows.selectors import Online, Selector
from dreamctl.replay.windows.starts import BurnIn
from tests.kinds import each
from tests.replay.rows import SPEC, stream_rows

CONFIG = ReplayConfig(batch_size=4, batch_length=6)
NAMES = ("action", "prev_action", "reward", "is_first", "is_last", "terminated", "stream", "row")


@pytest.fixture
def replay() -> Replay:
    replay = Replay.empty(SPEC, 2)
    for lane in range(2):
        for row in stream_rows([40, 7, 30], lane):
            replay.add(row)
    return replay


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def content(windows: Windows) -> bytes:
    columns = [*windows.observation.values(), *(getattr(windows, name) for name in NAMES)]
    return b"".join(np.ascontiguousarray(column).tobytes() for column in columns)


@each("kind", Selector)
def test_batches_are_the_same_bit_for_bit(replay: Replay, kind: type[Selector]) -> None:
    config = replace(CONFIG, selector=kind(), start=BurnIn(2))
    plain = WindowSampler(replay, config, seed=3)
    with Prefetch(WindowSampler(replay, config, seed=3)) as ahead:
        for k in range(20):
            assert content(ahead.sample(k)) == content(plain.sample(k))
            assert ahead.behind == plain.behind, "what was only made ahead is not behind us"


@each("kind", Selector)
def test_any_batch_may_be_asked_for(replay: Replay, kind: type[Selector]) -> None:
    config = replace(CONFIG, selector=kind())
    plain = WindowSampler(replay, config, seed=3)
    with Prefetch(WindowSampler(replay, config, seed=3)) as ahead:
        for k in (5, 5, 6, 9, 0, 1, 1):
            assert content(ahead.sample(k)) == content(plain.sample(k))
            assert ahead.behind == plain.behind


def test_a_batch_that_nobody_asked_for_was_never_drawn(replay: Replay) -> None:
    config = replace(CONFIG, selector=Online())
    sampler, plain = (WindowSampler(replay, config, seed=0) for _ in range(2))
    with Prefetch(sampler) as ahead:
        ahead.sample(0)
    plain.sample(0)
    assert sampler.behind == plain.behind


def test_a_batch_stays_whole_until_the_next_but_one_is_asked_for(replay: Replay) -> None:
    with Prefetch(WindowSampler(replay, CONFIG, seed=0)) as ahead:
        for k in (0, 1, 5, 5, 6):
            batch = ahead.sample(k)
            before = content(batch)
            ahead.sample(k + 1)
            ahead._ahead.windows.result()
            assert content(batch) == before


def test_three_buffers_are_used_again_and_are_the_callers_own(replay: Replay) -> None:
    made: list[Array] = []

    def allocate(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        made.append(np.full(shape, 1, dtype))
        return made[-1]

    with Prefetch(WindowSampler(replay, CONFIG, seed=0), allocate=allocate) as ahead:
        rewards = [ahead.sample(k).reward for k in range(12)]
    assert len({array.ctypes.data for array in rewards}) == 3
    assert all(any(np.shares_memory(array, ours) for ours in made) for array in rewards)
    assert len(made) == 3 * 7, "observation and six columns of three buffers"


def test_an_error_is_raised_where_its_batch_is_asked_for(replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = WindowSampler(replay, CONFIG, seed=0)
    sample = sampler.sample

    def damaged(k: int, out: Windows | None = None) -> Windows:
        if k == 2:
            raise InputError("shard.h5: is damaged")
        return sample(k, out)

    monkeypatch.setattr(sampler, "sample", damaged)
    with Prefetch(sampler) as ahead:
        ahead.sample(0)
        assert len(ahead.sample(1).reward) == 4
        with pytest.raises(InputError, match="is damaged"):
            ahead.sample(2)
        assert content(ahead.sample(3)) == content(WindowSampler(replay, CONFIG, seed=0).sample(3))


def test_too_little_data_is_told_as_without_it() -> None:
    sampler = WindowSampler(Replay.empty(SPEC, 1), CONFIG, seed=0)
    with Prefetch(sampler) as ahead, pytest.raises(InputError, match="longest stream holds 0 rows"):
        ahead.sample(0)
