"""A tiny CartPole experiment, sessions that stop where a test wants, and what checkpoints are compared by."""

import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.config import Layer
from dreamctl.core.session import Session, Silence, Stop
from dreamctl.stages.experiment import Resolved, resolve

SMALL = {"layers": 1, "units": 8}
TINY = {
    "env": {"task": "CartPole-v1"},
    "collect": {"steps": 400},
    "replay": {"batch_size": 4, "batch_length": 8},
    "world_model": {
        "rssm": {"recurrent": 16, "units": 8, "cell": {"blocks": 4}, "prior_layers": 1},
        "latent": {"groups": 4, "classes": 4},
        "encoder": SMALL,
        "decoder": SMALL,
        "reward_predictor": SMALL,
        "continue_predictor": SMALL,
        "vectors": "standardize",
    },
    "actor_critic": {"actor": SMALL, "critic": SMALL, "horizon": 4},
    "optimizer": {"learning_rate": 1e-2, "warmup": 2},
    "train_wm": {"updates": 6, "holdout_batches": 1},
    "train_ac": {"updates": 6},
    "imagine": {"episodes": 3, "context": 3, "horizon": 6},
    "eval": {"episodes": 3},
    "render": {"size": 64, "max_steps": 6, "episodes": 1},
    "run": {"steps": 240, "prefill": 80, "train_ratio": 2, "eval_every": 90, "eval_episodes": 2, "log_every": 5},
}


def tiny(**sections: Mapping[str, object]) -> Resolved:
    """The tiny experiment with other values in some sections."""
    return resolve([Layer("tiny", TINY), Layer("test", sections)])


class Hook(Silence):
    """Does something when a stage has come so far."""

    def __init__(self, at: int, act: object) -> None:
        self.at, self.act, self.notes = at, act, []
        self.done: list[int] = []

    def update(self, done: int, **_: float) -> None:
        self.done.append(done)
        if done == self.at:
            self.act()

    def note(self, message: str) -> None:
        self.notes.append(message)


def stopping(at: int, number: int = signal.SIGTERM, **fields: object) -> Session:
    """A session in which a signal comes once `at` units are behind it."""
    stop = Stop()

    def ask() -> None:
        stop.signal = number

    return Session(progress=Hook(at, ask), stop=stop, **fields)


def tensors(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Every leaf of nested plain values and tensors, by path."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from tensors(part, f"{name}/{key}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from tensors(part, f"{name}/{number}")
    else:
        yield name, value


def learnt(path: Path) -> dict[str, object]:
    """Weights and optimizer of a checkpoint by path."""
    checkpoint = Checkpoint.load(path)
    return dict(tensors({"weights": checkpoint.weights, "optimizer": checkpoint.optimizer}))


def differing(one: Path, two: Path) -> list[str]:
    """Names of what two checkpoints have learnt differently, bit for bit."""
    left, right = learnt(one), learnt(two)
    assert left.keys() == right.keys()
    return [name for name, value in left.items() if not equal(value, right[name])]


def equal(one: object, two: object) -> bool:
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


def finite(path: Path) -> bool:
    return all(bool(value.isfinite().all()) for value in learnt(path).values() if isinstance(value, torch.Tensor))


RESUME = replace(Session(), existing="resume")
OVERWRITE = replace(Session(), existing="overwrite")
