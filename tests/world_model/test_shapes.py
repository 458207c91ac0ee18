"""Documented shapes are real ones, whatever the kinds."""

import itertools

import pytest
import torch
from gymnasium import Space

from dreamctl.actor_critic.model import ActorCritic, ActorCriticConfig, NetworkConfig
from dreamctl.actor_critic.returns import ReturnScale
from dreamctl.core.codec import ActionCodec
from dreamctl.nn.scalars import ScalarOutput
from dreamctl.world_model.kl import KL
from dreamctl.world_model.latents import Latent
from dreamctl.world_model.scaling import VectorScaling
from tests.kinds import each, kinds
from tests.world_model.models import BOX, DISCRETE, batch, chances, start, world_model

B, T, H = 2, 4, 3
ALL = [*itertools.product(kinds(Latent), kinds(KL), kinds(VectorScaling), kinds(ScalarOutput))]


@pytest.mark.parametrize("space", [BOX, DISCRETE], ids=["box", "discrete"])
@pytest.mark.parametrize(("latent", "kl", "vectors", "scalar"), ALL, ids=["-".join(kind.kind for kind in all_) for all_ in ALL])
def test_world_model(space: Space, latent: type, kl: type, vectors: type, scalar: type) -> None:
    model = world_model(space, latent=latent(), kl=kl(), vectors=vectors(), reward_output=scalar())
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
