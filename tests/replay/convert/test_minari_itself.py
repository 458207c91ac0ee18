"""Minari's own collector and loader against ours; run where this Python has Minari, or the one that MINARI_PYTHON names.

pip install "minari[hdf5,create]>=0.5.4" pillow
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box

from dreamctl.core.experience import Row, TaskSpec
from tests.replay.convert.test_minari import come_in, go_out
from tests.replay.rows import episode_rows, stream_rows, write

PYTHON = os.environ.get("MINARI_PYTHON", sys.executable)
RECORDED = ("cart/pole-v0", "pendulum-v1", "mixed/jpeg-v0", "mixed/raw-v0")


def minari(*arguments: object) -> None:
    """Run minari_itself.py by the Python that has Minari."""
    script = Path(__file__).with_name("minari_itself.py")
    ran = subprocess.run([PYTHON, str(script), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of datasets that Minari's collector made."""
    code = "import minari, h5py, PIL, jax; assert tuple(map(int, minari.__version__.split('.')[:3])) >= (0, 5, 4)"
    if subprocess.run([PYTHON, "-c", code], capture_output=True, check=False).returncode:
        pytest.skip(f"{PYTHON} has no Minari from 0.5.4 on with its extras hdf5 and create; MINARI_PYTHON names one that has")
    folder = tmp_path_factory.mktemp("minari")
    minari("record", folder)
    return folder


# Each starts Minari and JAX in a process of their own, which takes a few seconds.
@pytest.mark.parametrize("name", RECORDED)
def test_what_the_collector_made_comes_back_from_us_equal(name: str, recorded: Path, tmp_path: Path) -> None:
    come_in(recorded / name, tmp_path / "replay")
    ours = f"ours/{name.replace('/', '-')}"
    go_out(tmp_path / "replay", recorded / ours)
    minari("compare", recorded, name, ours)


def test_the_loader_opens_vectors_and_returns_what_was_stored(recorded: Path, tmp_path: Path) -> None:
    write(tmp_path / "replay", stream_rows([5, 2, 9]), shard_rows=4)
    go_out(tmp_path / "replay", recorded / "vectors-v0")
    minari("load", recorded, "vectors-v0", tmp_path / "arrays.npz")
    arrays = np.load(tmp_path / "arrays.npz")
    for number, length in enumerate([5, 2, 9]):
        rows = episode_rows(number, length)
        expect(arrays, number, rows, np.stack([row.observation["observation"] for row in rows]))
    assert arrays["spaces"].tolist() == ["Box(-inf, inf, (3,), float32)", "Discrete(5)"]


def test_the_loader_opens_images_and_returns_what_was_stored(recorded: Path, tmp_path: Path) -> None:
    spec = TaskSpec({"observation": Box(0, 255, (48, 40, 3), np.uint8)}, Box(-1, 1, (2,), np.float32), "gym", "Pictures-v0")
    noise = np.random.default_rng(0)
    pictures = noise.integers(0, 256, (2, 6, 48, 40, 3), np.uint8)
    actions = noise.uniform(-1, 1, (2, 6, 2)).astype(np.float32)
    actions[:, -1] = 0
    rows = [
        Row(0, {"observation": pictures[number, t]}, actions[number, t], float(t), t == 0, t == 5, False, seed=number)
        for number in range(2)
        for t in range(6)
    ]
    write(tmp_path / "replay.h5", rows, spec=spec)
    go_out(tmp_path / "replay.h5", recorded / "images-v0")
    minari("load", recorded, "images-v0", tmp_path / "arrays.npz")
    arrays = np.load(tmp_path / "arrays.npz")
    for number in range(2):
        expect(arrays, number, rows[6 * number : 6 * number + 6], pictures[number])


def expect(arrays: "np.lib.npyio.NpzFile", number: int, rows: list[Row], observations: np.ndarray) -> None:
    """What Minari loaded is what the rows were: the first has no action before it, the last none behind."""
    found = {name: arrays[f"{number}/{name}"] for name in ("observations", "actions", "rewards", "terminations", "truncations", "seed")}
    assert found["observations"].dtype == observations.dtype
    np.testing.assert_array_equal(found["observations"], observations)
    np.testing.assert_array_equal(found["actions"], np.stack([row.action for row in rows[:-1]]))
    np.testing.assert_array_equal(found["rewards"], np.array([row.reward for row in rows[1:]], np.float32))
    assert found["terminations"].tolist() == [row.terminated for row in rows[1:]]
    assert found["truncations"].tolist() == [row.truncated for row in rows[1:]]
    assert found["seed"] == rows[0].seed
