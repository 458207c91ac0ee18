"""A million vector rows and two hundred thousand images: written, opened and sampled in little memory. Slow: takes about two minutes."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from dreamctl.core.experience import Row, TaskSpec
from dreamctl.replay.writer import ReplayWriter

SIZE, EPISODE = 64, 250
VECTORS = TaskSpec({"vector": Box(-np.inf, np.inf, (8,), np.float32)}, Discrete(4), "gym", "Scale-v0")
IMAGES = TaskSpec({"image": Box(0, 255, (SIZE, SIZE, 3), np.uint8)}, Discrete(4), "gym", "Scale-v0")
# A process of its own, as memory is that of a process; it says what it took on its last line.
SAMPLER = """
import json, resource, sys, time
from dreamctl.replay.reader import open_replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
begin = time.process_time()
replay = open_replay([__import__("pathlib").Path(sys.argv[1])])
opened = time.process_time() - begin
config = ReplayConfig(cache="none")
replay.cache(config.cache_bytes)
sampler = WindowSampler(replay, config, seed=0)
out = sampler.buffers()
batches = int(sys.argv[2])
begin = time.process_time()
for k in range(batches):
    sampler.sample(k, out)
taken = time.process_time() - begin
print(json.dumps({
    "rows": replay.rows, "shards": len(replay.files), "open_s": opened, "windows_per_s": batches * config.batch_size / taken,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "torch": "torch" in sys.modules,
}))
"""


def image_of(step: int) -> np.ndarray:
    """A picture that its step can be read off: a box that moves over a background that changes with it."""
    image = np.full((SIZE, SIZE, 3), step % 251, np.uint8)
    image[step % 56 : step % 56 + 8, step // 56 % 56 : step // 56 % 56 + 8] = (255, step % 256, step // 256 % 256)
    return image


def rows_of(name: str, count: int) -> Iterator[Row]:
    """Rows in two lanes, episodes of 250 rows."""
    for step in range(count // 2):
        at = step % EPISODE
        for lane in range(2):
            value = image_of(2 * step + lane) if name == "image" else np.full(8, 2 * step + lane, np.float32)
            action = np.array(0 if at == EPISODE - 1 else step % 4)
            yield Row(lane, {name: value}, action, float(at > 0), at == 0, False, at == EPISODE - 1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("spec", "rows", "batches"), [(VECTORS, 1_000_000, 2000), (IMAGES, 200_000, 200)], ids=["vectors", "images"])
def test_large_replays_are_sampled_in_little_memory(tmp_path: Path, spec: TaskSpec, rows: int, batches: int) -> None:
    begin = time.process_time()
    with ReplayWriter(tmp_path / "replay", spec, lanes=2, seed=0) as writer:
        for row in rows_of(next(iter(spec.observation)), rows):
            writer.add(row)
    written = time.process_time() - begin
    done = subprocess.run(
        [sys.executable, "-c", SAMPLER, str(tmp_path / "replay"), str(batches)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{spec.observation}: written in {written:.1f} s CPU; {found}")
    assert found["rows"] == rows
    assert not found["torch"]
    assert found["peak_mb"] < 500
    assert found["open_s"] < 1.0 if rows == 200_000 else found["open_s"] < 5.0
