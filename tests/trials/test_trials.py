"""Each trial experiment learns its task, with one seed; minutes each: `pytest -m slow tests/trials`."""

import json
from pathlib import Path

import pytest
import yaml

from dreamctl.core.config import Layer, load_layers
from dreamctl.core.session import Session
from dreamctl.stages.experiment import SECTIONS, Resolved, resolve
from dreamctl.stages.run import RunResult, run
from tests.stages.tiny import TINY

FILE = Path(__file__).parent / "experiments.yaml"
TRIALS = list(yaml.safe_load(FILE.read_text(encoding="utf-8")))
# Mean returns to reach; random actions give about 22 and -1,200 on the first two.
BARS = {"CartPole-v1": 150.0, "Pendulum-v1": -700.0, "tests.trials.room:Room-v0": 0.8}


def trial(name: str, *over: Layer) -> Resolved:
    return resolve([*load_layers(f"{FILE}:{name}", SECTIONS), *over])


def score(resolved: Resolved, out: Path) -> RunResult:
    """The best agent of a run with seed 0, on seeds that chose nothing."""
    result = run(resolved, out, Session(threads=1))
    assert result.evaluation.return_mean == json.loads((out / "eval.json").read_text())["return_mean"]
    return result


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", TRIALS)
def test_a_trial_learns_its_task(name: str, tmp_path: Path) -> None:
    resolved = trial(name)
    found = score(resolved, tmp_path / "run").evaluation.return_mean
    assert found >= BARS[resolved.experiment.env.task]


@pytest.mark.parametrize("name", TRIALS)
def test_every_trial_is_a_valid_experiment_with_a_bar(name: str) -> None:
    assert trial(name).experiment.env.task in BARS


@pytest.mark.parametrize("name", ["dreamer-v1", "room"])
def test_a_trial_of_a_few_steps_ends(name: str, tmp_path: Path) -> None:
    small = {
        "actor_critic": {"horizon": 3},
        "replay": {"batch_size": 2, "batch_length": 6},
        "imagine": {"episodes": 1, "context": 2, "horizon": 3},
        "render": TINY["render"],
        "eval": {"episodes": 1},
        "run": {"steps": 60, "prefill": 50, "train_ratio": 1, "eval_every": 60, "eval_episodes": 1},
    }
    assert score(trial(name, Layer("few steps", small)), tmp_path / "run").env_steps == 60
