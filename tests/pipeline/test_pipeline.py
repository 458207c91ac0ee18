"""The bash pipeline, as the README shows it, on the example that takes seconds."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from PIL import Image

SCRIPT = Path(__file__).parent / "cartpole.sh"
ROOT = SCRIPT.parent.parent.parent


@pytest.mark.timeout(180)
def test_six_steps_with_files_between_them(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    command = ["bash", str(SCRIPT), "examples.yaml:tiny", str(tmp_path), "0", "1"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    evaluation, gif = done.stdout.strip().splitlines()
    assert "CartPole-v1" in evaluation
    assert Path(gif) == tmp_path / "dreams.gif"
    with Image.open(gif) as film:
        assert film.n_frames > 20
    with h5py.File(tmp_path / "dreams.h5") as dreams:
        assert dreams.attrs["kind"] == b"imagined"
        assert dreams["steps/truth_valid"][:].all(), "recorded actions have their truth beside them"
    with h5py.File(tmp_path / "eval.h5") as episodes:
        assert episodes["steps/extra/frame"].dtype == "uint8"
