"""A replay is sampled while several processes write to it: every window holds the rows that belong there, wholly."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Windows
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from tests.replay.pictures import right

CONFIG = ReplayConfig(batch_size=64, batch_length=8)
WRITERS, LANES, EPISODE = 3, 2, 17
# Pictures and vectors; what a row holds follows from writer, lane and number: a shard of a megabyte is full after some 800 rows.
WRITE = """
import sys, time
from pathlib import Path
from dreamctl.replay.writer import ReplayWriter
from tests.replay.pictures import SPEC, picture_rows
folder, number, lanes, episode = Path(sys.argv[1]), *map(int, sys.argv[2:])
with ReplayWriter(folder, SPEC, lanes=lanes, seed=number, shard_mb=1, append=True) as writer:
    print("writes", flush=True)
    for rows in zip(*(picture_rows([episode] * 100_000, lane, code=number) for lane in range(lanes))):
        for row in rows:
            writer.add(row)
        time.sleep(0.0005)  # as an environment takes its time
"""


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_no_window_is_torn_or_wrong_while_three_processes_write(tmp_path: Path, seconds: int) -> None:
    """Takes its seconds: shards have to become full and be sealed meanwhile."""
    folder, counted = tmp_path / "replay", {"windows": 0, "torn": 0, "wrong": 0}
    with _writers(folder):
        # Rows come from files as they are, and from the cache, which keeps blocks that grow and files that are replaced.
        replays = [_opened(folder), _opened(folder)]
        replays[1].cache(4 << 20)
        samplers = [WindowSampler(replay, CONFIG, seed=seconds) for replay in replays]
        end = time.monotonic() + seconds
        while time.monotonic() < end or not all(_everything_seen(replay) for replay in replays):
            for replay, sampler in zip(replays, samplers, strict=True):
                replay.refresh()
                windows = sampler.sample(counted["windows"])
                counted["windows"] += len(windows.row)
                counted["torn"] += _torn(windows)
                counted["wrong"] += _wrong(windows, replay)
    print(f"{counted}; {replays[0].rows} rows of {len(replays[0].streams)} streams in {len(replays[0].files)} shards")
    assert counted["windows"] > 20 * seconds
    assert (counted["torn"], counted["wrong"]) == (0, 0)


@contextmanager
def _writers(folder: Path) -> Iterator[None]:
    command = [sys.executable, "-c", WRITE, str(folder)]
    processes = [subprocess.Popen([*command, str(number), str(LANES), str(EPISODE)], stdout=subprocess.PIPE) for number in range(WRITERS)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"writes\n"
        yield
        assert [process.poll() for process in processes] == [None] * WRITERS, "they wrote all the time"
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _opened(folder: Path) -> Replay:
    """The replay once it holds a window."""
    while True:
        with suppress(InputError):
            replay = open_replay([folder])
            WindowSampler(replay, CONFIG, seed=0).check()
            return replay


def _everything_seen(replay: Replay) -> bool:
    """Every lane, and of each a shard that was sealed and the one behind it."""
    streams = {record.path.name[: -len("-000000.h5")] for record in replay.files if record.path not in replay.live}
    return len(replay.streams) == len(streams) == WRITERS * LANES


def _torn(windows: Windows) -> int:
    """Windows whose rows do not follow one another, or are of several lanes."""
    codes, numbers = np.moveaxis(windows.observation["small"], -1, 0)
    return int(((codes != codes[:, :1]).any(1) | (np.diff(numbers, axis=1) != 1).any(1)).sum())


def _wrong(windows: Windows, replay: Replay) -> int:
    """Windows that hold another row than the one that their number says, in any column."""
    number = windows.observation["small"][..., 1].astype(int)
    step = number % EPISODE
    ends = step == EPISODE - 1
    action = np.where(ends, 0, number % 3)
    # Nobody saw yet what the last row of a stream led to.
    last = windows.row + CONFIG.batch_length == [len(replay.streams[stream]) for stream in windows.stream]
    action[last, -1] = np.where(windows.action[last, -1] == 0, 0, action[last, -1])
    is_first = step == 0
    is_first[:, 0] = True
    previous = np.zeros_like(action)
    previous[:, 1:] = np.where(is_first[:, 1:], 0, action[:, :-1])
    wanted = {"reward": step > 0, "is_first": is_first, "terminated": ends, "is_last": ends, "action": action, "prev_action": previous}
    observation = dict(windows.observation)
    every = right(observation)
    good = np.array([every or right({name: rows[i] for name, rows in observation.items()}) for i in range(len(number))])
    good &= number[:, 0] == windows.row
    for name, column in wanted.items():
        good &= (getattr(windows, name) == column).all(1)
    return int((~good).sum())
