"""Documented shapes are real ones, whatever the kinds."""

import itertools
import re
from dataclasses import replace

import pytest
import torch
from gymnasium import Space

from dreamctl.actor_critic.model import ActorCritic, ActorCriticConfig, NetworkConfig
from dreamctl.actor_critic.returns import ReturnScale
from dreamctl.core.codec import ActionCodec
from dreamctl.nn.scalars import ScalarOutput
from dreamctl.nn.style import LayerStyle, Norm
from dreamctl.world_model.cells import Cell
from dreamctl.world_model.continues import ContinueOutput
from dreamctl.world_model.initial import InitialState
from dreamctl.world_model.kl import KL
from dreamctl.world_model.latents import Latent
from dreamctl.world_model.rssm import RSSMConfig
from dreamctl.world_model.scaling import VectorScaling
from tests.kinds import each, kinds
from tests.world_model.models import BOX, DISCRETE, TINY, batch, chances, start, world_model

B, T, H = 2, 4, 3
# Kinds that meet one another in the recurrent model, all together; the others beside each latent.
RECURRENT = [
    {"latent": latent(), "rssm": RSSMConfig(16, 8, cell(), initial=initial())}
    for latent, cell, initial in itertools.product(kinds(Latent), kinds(Cell), kinds(InitialState))
]
BESIDE = {"kl": KL, "vectors": VectorScaling, "reward_output": ScalarOutput, "continue_output": ContinueOutput}
OTHERS = [{"latent": latent(), field: kind()} for latent in kinds(Latent) for field, union in BESIDE.items() for kind in kinds(union)]
STYLES = [{"style": LayerStyle(norm=norm())} for norm in kinds(Norm)]
LAYERS = [{"rssm": replace(TINY.rssm, prior_layers=3, posterior_layers=2)}]


def named(variant: dict[str, object]) -> str:
    return "-".join(re.findall(r"[A-Z]\w+(?=\()", repr(list(variant.values()))))


@pytest.mark.parametrize("space", [BOX, DISCRETE], ids=["box", "discrete"])
@pytest.mark.parametrize("variant", RECURRENT + OTHERS + STYLES + LAYERS, ids=named)
def test_world_model(space: Space, variant: dict[str, object]) -> None:
    model = world_model(space, **variant)
    seen, size = batch(model, B, T), ActionCodec(space).size
    noise = chances(model, B, T)
    found = model.observe(start(model, B), seen, noise=noise)
    width = model.config.latent.size
    assert found.state.h.shape == (B, T, 16)
    assert found.state.z.shape == (B, T, width)
    assert found.state.features.shape == (B, T, model.state_size)
    assert found.posterior.shape == model.rssm.prior(found.state.h).shape == (B, T, model.config.latent.param_size)
    assert {name: vector.shape for name, vector in found.scaled.items()} == {"body/place": (B, T, 3), "height": (B, T, 1)}
    terms, _ = model.losses(found, seen)
    assert all(term.shape == (B, T) and term.isfinite().all() for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    state = found.state.flatten()
    assert state.h.shape == (B * T, 16)
    assert torch.equal(state.h[T], found.state.h[1, 0]), "batch first"
    assert found.state.flatten(2).h.shape == (2 * B, 16)
    rollout = model.imagine(state, lambda s, _: s.h[:, :size], H, noise=chances(model, H, B * T))
    assert rollout.state.h.shape == (B * T, H + 1, 16)
    assert rollout.action.shape == (B * T, H + 1, size)
    assert rollout.reward.shape == rollout.continue_prob.shape == (B * T, H + 1)
    assert {name: v.shape for name, v in model.reconstruct(state).items()} == {"body/place": (B * T, 3), "height": (B * T, 1)}


@pytest.mark.parametrize("space", [BOX, DISCRETE], ids=["box", "discrete"])
@each("scale", ReturnScale)
@each("scalar", ScalarOutput)
def test_actor_critic(space: Space, scale: type, scalar: type) -> None:
    model = world_model(space)
    small = NetworkConfig(1, 8)
    config = ActorCriticConfig(actor=small, critic=small, value_output=scalar(), return_scale=scale())
    agent = ActorCritic(config, model.state_size, ActionCodec(space), model.discount).double()
    n, noise = B * T, torch.Generator().manual_seed(0)
    chance = agent.noise((H + 1, n), noise).double()
    begin = start(model, n)
    rollout = model.imagine(begin, lambda s, i: agent.policy(s.features).sample(chance[i]), H, noise=chances(model, H, n))
    dreamt = agent.losses(rollout)
    assert dreamt.losses.keys() == {"policy", "value"}
    assert all(term.shape == (n, H) for term in dreamt.losses.values())
    assert dreamt.returns.shape == (n, H)
    assert all(figure.shape == () and not figure.requires_grad for figure in dreamt.figures.values())
    features = rollout.state.features
    assert agent.value(features).mean.shape == agent.slow_value(features).shape == (n, H + 1)
    seen = batch(model, B, T)
    boot = dreamt.returns[:, 0].unflatten(0, (B, T))
    assert agent.replay_loss(begin.features.unflatten(0, (B, T)), seen, boot).shape == (B, T - 1)
