"""SIGKILL at any moment costs nothing: every row that was acknowledged is there, bit for bit, in files that any HDF5 tool opens."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from dreamctl.replay.reader import open_replay
from dreamctl.replay.writing.recovery import recover
from tests.replay import kill_writer
from tests.replay.kill_writer import LANES, acknowledged_rows, check_with_h5py, columns, row

# A server that has imported everything starts a process in milliseconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.replay.kill_writer"])


def killed(work: Callable[..., None], *arguments: Path, ready: Callable[[], bool]) -> BaseProcess:
    """Run in a process of its own, and kill it as soon as it is ready for that or has ended."""
    child = PROCESSES.Process(target=work, args=arguments)
    child.start()
    until = time.monotonic() + 60
    while not ready() and child.is_alive():
        assert time.monotonic() < until, "nothing happens"
    assert child.pid is not None
    if child.is_alive():
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    return child


def moments(noise: random.Random, trial: int, folder: Path, acknowledged: Path) -> Callable[[], bool]:
    """When to kill a writer: at a random row, or, every third time, while a shard is being made or sealed."""
    rows, sealing = noise.randrange(1, 1200), trial % 3 == 0
    return lambda: sum(acknowledged_rows(acknowledged)) >= rows and (not sealing or any(folder.glob(".*.tmp")))


def check(folder: Path, acknowledged: list[int]) -> set[str]:
    """All that was acknowledged is there, for our reader and for plain h5py; the states of the shards that were seen."""
    rows, states = check_with_h5py(folder)
    for lane, (found, told) in enumerate(zip(rows, acknowledged, strict=True)):
        # Once a shard is sealed, a reset that no action followed is not kept.
        lone = told > 0 and row(lane, told - 1).is_first
        assert found >= told - (lone and "live" not in states), f"{acknowledged} were acknowledged, {rows} are there"
    # What was committed and not acknowledged is at most the row at hand.
    assert sum(rows) <= sum(acknowledged) + 1
    if any(rows):
        replay = open_replay([folder])
        for stream in replay.streams:
            lane = int(stream.name[-1])
            wanted = columns(lane, 0, len(stream))
            # Readers wait with a reset until an action follows it.
            assert len(stream) == rows[lane] - row(lane, rows[lane] - 1).is_first or len(stream) == rows[lane]
            for name in ("observation/vector", "reward", "is_first", "terminated", "truncated"):
                assert np.array_equal(stream.column(name, 0, len(stream)), wanted[name]), name
    return set(states)


def trials(folder: Path, number: int, noise: random.Random) -> Iterator[set[str]]:
    """Kill a writer, look; kill its recovery, look; recover, look."""
    for trial in range(number):
        replay, acknowledged = folder / f"replay-{trial}", folder / f"acknowledged-{trial}"
        killed(kill_writer.write, replay, acknowledged, ready=moments(noise, trial, replay, acknowledged))
        told = acknowledged_rows(acknowledged)
        seen = check(replay, told)
        if trial % 2 == 0:
            begun = time.monotonic() + noise.uniform(0, 0.05)
            killed(kill_writer.mend, replay, ready=lambda begun=begun: time.monotonic() > begun)
            seen |= check(replay, told)
        recover(replay)
        assert check(replay, told) <= {"sealed"}
        assert not list(replay.glob(".*")), "locks and unfinished files of the dead are gone"
        yield seen
        shutil.rmtree(replay)


def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    """Twenty processes that write some hundred images each: about ten seconds."""
    seen = list(trials(tmp_path, 20, random.Random(0)))
    assert {"live", "sealed"} in seen


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    assert len(list(trials(tmp_path, 200, random.Random(1)))) == 200


def test_the_rows_of_the_writer_have_lone_resets_cuts_and_episodes_longer_than_a_shard() -> None:
    lane = columns(0, 0, 400)
    assert LANES == 3
    assert lane["is_first"].sum() > 5
    assert (lane["is_first"][:-1] & lane["is_first"][1:]).any()
    assert max(np.diff(np.flatnonzero(lane["is_first"]))) * 64 * 64 * 3 > 2 << 20
