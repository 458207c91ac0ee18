"""World models of the whole family, small: the kinds that each of them is made of, learning together."""

from dataclasses import replace

import pytest
import torch

from dreamctl.core.config import build, to_plain
from dreamctl.nn.scalars import SymlogTwoHot, UnitNormal
from dreamctl.nn.style import LayerNorm, LayerStyle, NoNorm
from dreamctl.world_model.cells import NormGRU, PlainGRU
from dreamctl.world_model.continues import HardContinue, NoContinue
from dreamctl.world_model.initial import LearnedInitial
from dreamctl.world_model.kl import AverageKL, BalancedKL, PlainKL
from dreamctl.world_model.latents import CategoricalLatent, GaussianLatent
from dreamctl.world_model.model import WorldModel, WorldModelConfig
from dreamctl.world_model.rssm import RSSMConfig
from tests.world_model.models import TINY, batch, chances, start, world_model

ELU = LayerStyle(norm=NoNorm(), activation="elu")
FAMILY = {
    "note": {
        "rssm": RSSMConfig(16, 8, PlainGRU(), prior_layers=1),
        "latent": GaussianLatent(5),
        "kl": PlainKL(),
        "reward_output": UnitNormal(),
        "continue_output": HardContinue(),
    },
    "dreamer-v1": {
        "style": ELU,
        "rssm": RSSMConfig(16, 8, PlainGRU(), prior_layers=1),
        "latent": GaussianLatent(5),
        "kl": PlainKL(free_nats=3.0),
        "reward_output": UnitNormal(),
        "continue_output": NoContinue(),
    },
    "dreamer-v2": {
        "style": ELU,
        "rssm": RSSMConfig(16, 8, NormGRU(bias=True, clip_actions=False), prior_layers=1),
        "latent": CategoricalLatent(3, 4, unimix=0.0),
        "kl": AverageKL(balance=0.8, free_nats=1.0),
        "reward_output": UnitNormal(),
    },
    "dreamer-v3-2023": {
        "style": LayerStyle(norm=LayerNorm()),
        "rssm": RSSMConfig(16, 8, NormGRU(), prior_layers=1, initial=LearnedInitial()),
        "latent": CategoricalLatent(3, 4),
        "kl": BalancedKL(dynamics=0.5),
        "reward_output": SymlogTwoHot(),
        "continue_output": HardContinue(read="mode"),
    },
    "dreamer-v3": {},
}


@pytest.fixture(params=FAMILY)
def model(request: pytest.FixtureRequest) -> WorldModel:
    return world_model(**FAMILY[request.param])


@pytest.mark.parametrize("name", FAMILY)
def test_every_one_of_the_family_can_be_written_down(name: str) -> None:
    config = replace(TINY, **FAMILY[name])
    assert build(WorldModelConfig, to_plain(config)) == config


def total(model: WorldModel, reward: torch.Tensor | None = None) -> torch.Tensor:
    seen = batch(model)
    first = torch.zeros_like(seen.is_first)
    first[:, 0] = first[0, 3] = True
    seen = replace(seen, is_first=first, reward=seen.reward if reward is None else reward)
    terms, _ = model.losses(model.observe(start(model), seen, noise=chances(model, 3, 5)), seen)
    return torch.stack(list(terms.values())).sum(0).mean()


def test_every_one_of_the_family_learns_a_batch_by_heart(model: WorldModel) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    before = total(model).item()
    for _ in range(25):
        optimizer.zero_grad()
        loss = total(model)
        loss.backward()
        optimizer.step()
    assert loss.item() < before - 1.0


def test_every_one_of_the_family_dreams_finitely_and_passes_gradients_to_its_actions(model: WorldModel) -> None:
    action = torch.zeros(3, 2).double().requires_grad_()
    rollout = model.imagine(start(model), lambda *_: action, 4, noise=chances(model, 4, 3))
    assert rollout.reward.isfinite().all()
    assert ((rollout.continue_prob >= 0) & (rollout.continue_prob <= 1)).all()
    (gradient,) = torch.autograd.grad(rollout.reward.sum(), action)
    assert gradient.isfinite().all()
    assert (gradient != 0).any()


@pytest.mark.parametrize("name", ["dreamer-v3-2023", "dreamer-v3"])
def test_symlog_members_bear_any_reward(name: str) -> None:
    model = world_model(**FAMILY[name])
    reward = torch.tensor([1e6, -1e6, 0.0]).double().unsqueeze(1).expand(3, 5)
    loss = total(model, reward)
    loss.backward()
    assert loss.item() < 100
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
