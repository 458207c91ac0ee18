"""A writer that is made to be killed: every number of its rows is known beforehand, and it notes each row that was acknowledged."""

import functools
import os
import struct
from pathlib import Path

import h5py
import numpy as np
from gymnasium.spaces import Box, Discrete

from dreamctl.core.experience import Row, TaskSpec
from dreamctl.replay.writer import ReplayWriter
from dreamctl.replay.writing.recovery import recover

LANES = 3
SPEC = TaskSpec(
    {"image": Box(0, 255, (64, 64, 3), np.uint8), "vector": Box(-np.inf, np.inf, (4,), np.float32)}, Discrete(5), "gym", "Toy-v0"
)
NOISE = np.random.default_rng(0).integers(0, 256, 4096 + 64 * 64 * 3, np.uint8)
ACKNOWLEDGED = struct.Struct(f"<{LANES}q")
COLUMNS = ("observation/image", "observation/vector", "action", "reward", "is_first", "terminated", "truncated")
# Rows of the episodes of a lane, over and over: a lone reset, short ones, and one that is longer than a shard of 2 MB.
LENGTHS = np.array([7, 2, 1, 40, 230, 3, 61])
ENDS = np.cumsum(LENGTHS)


def row(lane: int, number: int) -> Row:
    """Row `number` of a lane."""
    turn, at = divmod(number, int(ENDS[-1]))
    episode = int(np.searchsorted(ENDS, at, side="right"))
    step = at - int(ENDS[episode] - LENGTHS[episode])
    last = step == LENGTHS[episode] - 1 and LENGTHS[episode] > 1
    place = (37 * number + 101 * lane) % 4096
    return Row(
        lane=lane,
        observation={
            "image": NOISE[place : place + 64 * 64 * 3].reshape(64, 64, 3),
            "vector": np.array([lane, number, episode, step], np.float32),
        },
        action=np.int64(0 if last else 1 + number % 4),
        reward=0.0 if step == 0 else number % 7 / 8,
        is_first=step == 0,
        terminated=last and (turn + episode) % 2 == 0,
        truncated=last and (turn + episode) % 2 == 1,
        seed=turn * len(LENGTHS) + episode,
    )


def columns(lane: int, first: int, rows: int) -> dict[str, np.ndarray]:
    """What the replay must hold of a lane; the last action of an episode that ended or was cut is 0."""
    known = _columns(lane, 1 << max(9, (first + rows).bit_length()))
    return {name: column[first : first + rows] for name, column in known.items()}


@functools.lru_cache(maxsize=2 * LANES)
def _columns(lane: int, rows: int) -> dict[str, np.ndarray]:
    """The first rows of a lane."""
    wanted = [row(lane, number) for number in range(rows + 1)]
    found = {f"observation/{key}": np.stack([r.observation[key] for r in wanted[:-1]]) for key in SPEC.observation}
    found |= {name: np.array([getattr(r, name) for r in wanted[:-1]]) for name in COLUMNS[2:]}
    found["action"][[after.is_first for after in wanted[1:]]] = 0
    return found


def write(folder: Path, acknowledged: Path) -> None:
    """Write rows until someone kills this process."""
    descriptor = os.open(acknowledged, os.O_RDWR | os.O_CREAT)
    writer = ReplayWriter(folder, SPEC, lanes=LANES, seed=0, shard_mb=2, sync_seconds=0.02, append=True)
    for number in range(10**9):
        for lane in range(LANES):
            writer.add(row(lane, number))
            counts = [number + (other <= lane) for other in range(LANES)]
            # One write within a page, so that it is there or not there, as the rows are.
            os.pwrite(descriptor, ACKNOWLEDGED.pack(*counts), 0)


def mend(folder: Path) -> None:
    """Recover a folder."""
    recover(folder)


def acknowledged_rows(path: Path) -> list[int]:
    """How many rows of each lane were acknowledged."""
    data = path.read_bytes() if path.exists() else b""
    return list(ACKNOWLEDGED.unpack(data)) if data else [0] * LANES


def check_with_h5py(folder: Path) -> tuple[list[int], list[str]]:
    """Rows of each lane as plain h5py reads them, every one compared, and the states of the shards."""
    rows, states = [0] * LANES, []
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as file:
            states.append(file.attrs["state"].decode())
            lane, committed = int(path.name.split("-")[1].removeprefix("e")), int(file["commit"][0])
            assert file.attrs["first_row"] == rows[lane], f"{path.name} does not go on where the shard before ended"
            if committed == 0:
                continue
            wanted = columns(lane, rows[lane], committed)
            for name in COLUMNS:
                found = file[f"steps/{name}"][:committed]
                known = committed - (name == "action")  # of a row that is the last one nobody knows what it did
                assert np.array_equal(found[:known], wanted[name][:known]), f"{path.name}: {name}"
            rows[lane] += committed
    return rows, states
