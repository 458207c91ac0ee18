"""The tools that come with HDF5 itself print live and sealed shards, and the numbers that they print are those that were written."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from dreamctl.core.experience import Row, TaskSpec
from dreamctl.replay.shards.shard import read_shard
from dreamctl.replay.writer import ReplayWriter
from tests.replay.rows import episode_rows

TOOLS = ("h5dump", "h5ls")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="h5dump or h5ls is not installed (Debian package hdf5-tools)")

SPEC = TaskSpec(
    {"image": Box(0, 255, (64, 64, 3), np.uint8), "vector": Box(-np.inf, np.inf, (3,), np.float32)}, Discrete(5), "gym", "Toy-v0"
)
LENGTHS = (20, 17)


def rows() -> list[Row]:
    """Two episodes of noisy images, of vectors that tell where they belong, and of fractions as rewards."""
    noise, found = np.random.default_rng(0), []
    for number, length in enumerate(LENGTHS):
        for row in episode_rows(number, length):
            image = noise.integers(0, 256, (64, 64, 3), np.uint8)
            observation = {"image": image, "vector": row.observation["observation"]}
            found.append(replace(row, observation=observation, reward=len(found) / 8))
    return found


@pytest.fixture(params=["sealed", "live"])
def shard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0, steps=100) as writer:
        for row in rows():
            writer.add(row)
        if request.param == "sealed":
            writer.close()
        path = next((tmp_path / "replay").glob("*.h5"))
        assert read_shard(path).state == request.param
        yield path


def told(*line: object) -> str:
    """What a tool prints; it complains of nothing."""
    ran = subprocess.run([str(word) for word in line], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def dumped(path: Path, dataset: str, *options: str) -> list[str]:
    """The values that h5dump prints of a dataset; it says 0 at its end even where it could print none."""
    text = told("h5dump", "-y", "-w", "0", "-m", "%.9g", "-d", dataset, *options, path)
    body = re.search(r"DATA \{\n(.*?)\n\s*\}", text, re.DOTALL)
    assert body, text
    return [word for word in re.split(r"[\s,\[\]]+", body[1]) if word]


def test_h5dump_prints_the_columns_that_were_written(shard: Path) -> None:
    wanted, count = rows(), sum(LENGTHS)
    one, three = (f"--start=0 --count={count}".split(), f"--start=0,0 --count={count},3".split())
    assert [float(word) for word in dumped(shard, "/steps/reward", *one)] == [row.reward for row in wanted]
    assert [int(word) for word in dumped(shard, "/steps/action", *one)] == [int(row.action) for row in wanted]
    assert dumped(shard, "/steps/is_first", *one) == [str(row.is_first).upper() for row in wanted]
    vectors = [float(word) for word in dumped(shard, "/steps/observation/vector", *three)]
    assert vectors == np.concatenate([row.observation["vector"] for row in wanted]).tolist()
    assert [int(word) for word in dumped(shard, "/episodes/length", "--start=0", "--count=2")] == list(LENGTHS)
    assert [int(word) for word in dumped(shard, "/commit")][:2] == [count, 2]


@pytest.mark.parametrize("number", [0, 36])
def test_h5dump_prints_the_pixels_that_were_written(shard: Path, number: int) -> None:
    window = f"--start={number},0,0,0 --count=1,1,64,3".split()
    pixels = [int(word) for word in dumped(shard, "/steps/observation/image", *window)]
    assert pixels == rows()[number].observation["image"][0].ravel().tolist()


def test_h5dump_prints_the_attributes(shard: Path) -> None:
    text = told("h5dump", "-A", shard)
    for word in ("dreamctl-replay", read_shard(shard).state, "obs_t,reward_t,flags_t,action_t", "Toy-v0"):
        assert word in text


def test_h5ls_lists_every_dataset(shard: Path) -> None:
    listed = dict(line.split(None, 1) for line in told("h5ls", "-r", shard).splitlines())
    fields = read_shard(shard).header.fields
    assert {field.path for field in fields} | {"/commit"} <= set(listed)
    assert re.fullmatch(r"Dataset \{\d+, 64, 64, 3\}\s*", listed["/steps/observation/image"])
    rows_found = int(listed["/steps/reward"].split("{")[1].rstrip("}\n "))
    assert rows_found == sum(LENGTHS) or (read_shard(shard).state == "live" and rows_found > sum(LENGTHS))
