"""Every preset learns something from images and from vectors, and the symlog kinds bear rewards and pixels of any size."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from dreamctl.core.config import Layer, preset_layers
from dreamctl.core.experience import TaskSpec
from dreamctl.core.tensors import Batch
from dreamctl.nn.adam import Adam
from dreamctl.stages.compute import Compute
from dreamctl.stages.experiment import Resolved, resolve
from dreamctl.stages.interleave import new_learner
from dreamctl.stages.learner import Learner

FAMILY = ("note", "dreamer-v1", "dreamer-v2", "dreamer-v3-2023", "dreamer-v3")
ROBUST = ("dreamer-v3-2023", "dreamer-v3")
SEEN = {
    "image": spaces.Box(0, 255, (8, 8, 3), np.uint8),
    "vector": spaces.Box(-np.inf, np.inf, (5,), np.float32),
}
ACTIONS = {"image": spaces.Discrete(3), "vector": spaces.Box(-1, 1, (2,), np.float32)}
NET = {"layers": 1, "units": 16}
SIZES = {
    "world_model": {
        "rssm": {"recurrent": 16, "units": 16},
        "encoder": NET,
        "decoder": NET,
        "convolutions": {"depth": 8, "multipliers": [1]},
        "reward_predictor": NET,
        "continue_predictor": NET,
    },
    "actor_critic": {"actor": NET, "critic": NET, "horizon": 3},
    "replay": {"batch_size": 4, "batch_length": 8},
}
B, T = 4, 8


def small(preset: str) -> Resolved:
    return resolve([*preset_layers(preset), Layer("small", SIZES)])


def rates(resolved: Resolved) -> dict[str, object]:
    """A rate at which a few updates show, whichever the optimizer."""
    group = {"learning_rate": 3e-3}
    adam = resolved.plain["optimizer"]["kind"] == "adam"
    return {"world_model": group, "actor": group, "critic": group} if adam else {"learning_rate": 3e-3, "warmup": 0}


def learner(preset: str, seen: str) -> Learner:
    torch.manual_seed(0)
    resolved = small(preset)
    experiment = resolve([Layer("small", resolved.plain), Layer("test", {"optimizer": rates(resolved)})]).experiment
    spec = TaskSpec({"seen": SEEN[seen]}, ACTIONS[seen], "toy", seen)
    return new_learner(experiment, spec, Compute(torch.device("cpu"), "fp32", 1))


def episodes(made: Learner, seen: str) -> Batch:
    """Windows in which the reward can be told from what is seen, one of them with an end inside."""
    random = torch.Generator().manual_seed(1)
    level = torch.rand(B, T, generator=random)
    first = torch.zeros(B, T, dtype=torch.bool)
    first[:, 0] = first[0, 4] = True
    last = torch.zeros(B, T, dtype=torch.bool)
    last[0, 3] = True
    image = (255 * level[..., None, None, None]).expand(B, T, 8, 8, 3).to(torch.uint8)
    action = torch.rand(B, T, made.world_model.rssm.sequence_model.action_size, generator=random) * ~first.unsqueeze(-1)
    observation = image if seen == "image" else level.unsqueeze(-1).expand(B, T, 5).contiguous()
    return Batch({"seen": observation}, action, level, first, last, last)


def update(made: Learner, rows: Batch, number: int) -> dict[str, torch.Tensor]:
    noise = made.noise(B, T, torch.Generator().manual_seed(number))
    return made.update(rows, made.world_model.rssm.initial(B, rows.reward), noise)[0]


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("preset", FAMILY)
def test_the_loss_of_every_preset_falls(preset: str, seen: str) -> None:
    made = learner(preset, seen)
    rows = episodes(made, seen)
    found = [update(made, rows, number) for number in range(20)]
    for name in ("loss/observation/seen", "loss/reward"):
        before, after = (torch.stack([figures[name] for figures in part]).mean() for part in (found[:3], found[-3:]))
        assert after < before, name
    assert all(torch.isfinite(value) for figures in found for value in figures.values())


@pytest.mark.slow
@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("preset", ROBUST)
def test_symlog_kinds_bear_any_reward_and_any_pixel(preset: str, seen: str) -> None:
    made = learner(preset, seen)
    rows = episodes(made, seen)
    extreme = torch.tensor([1e6, -1e6, 0.0])[torch.arange(B * T).remainder(3)].reshape(B, T)
    saturated = 255 * (rows.observation["seen"] > (127 if seen == "image" else 0.5))
    rows = replace(rows, reward=extreme, observation={"seen": saturated.to(rows.observation["seen"].dtype)})
    for number in range(200):
        figures = update(made, rows, number)
        assert all(torch.isfinite(value) for value in figures.values()), (number, figures)
    parts = (made.world_model, made.actor_critic)
    assert all(bool(tensor.isfinite().all()) for part in parts if part is not None for tensor in part.state_dict().values())


def test_dreamer_v3_is_the_defaults_with_the_official_replay() -> None:
    defaults, preset = resolve([]).plain, resolve(preset_layers("dreamer-v3")).plain
    official = {"start": {"kind": "latents"}, "selector": {"kind": "online"}, "capacity": 5_000_000}
    assert preset == {**defaults, "replay": {**defaults["replay"], **official}}


def test_dreamer_v2_takes_off_the_same_share_of_every_network() -> None:
    optimizer = resolve(preset_layers("dreamer-v2")).experiment.optimizer
    assert isinstance(optimizer, Adam)
    for group in (optimizer.world_model, optimizer.actor, optimizer.critic):
        assert group.learning_rate * group.weight_decay == pytest.approx(1e-6)
