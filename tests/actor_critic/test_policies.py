"""One policy for every action space: a head for each part, and their product."""

import numpy as np
import pytest
import torch
from gymnasium import Space

from dreamctl.actor_critic.gradients import Dynamics, ScoreFunction
from dreamctl.actor_critic.model import ActorCritic, ActorCriticConfig, NetworkConfig
from dreamctl.core.codec import ActionCodec
from dreamctl.core.parts import Choices
from dreamctl.core.tensors import LatentState, Rollout
from dreamctl.nn.actions import BoundedNormal, CategoricalAction, ContinuousAction
from dreamctl.nn.style import LayerNorm, LayerStyle
from tests.kinds import each
from tests.spaces import ACTIONS

SMALL = NetworkConfig(layers=1, units=8)
EVERY_SPACE = pytest.mark.parametrize("space", ACTIONS.values(), ids=ACTIONS)


def agent(space: Space, **changes: object) -> ActorCritic:
    torch.manual_seed(2)
    return ActorCritic(ActorCriticConfig(actor=SMALL, critic=SMALL, **changes), 10, ActionCodec(space), 0.99).double()


def noise(model: ActorCritic, *shape: int) -> torch.Tensor:
    return model.noise(shape, torch.Generator().manual_seed(0)).double()


@EVERY_SPACE
def test_what_a_policy_samples_belongs_to_the_space(space: Space) -> None:
    model, codec = agent(space), ActionCodec(space)
    policy = model.policy(torch.randn(40, 10).double())
    for numbers in (policy.sample(noise(model, 40)), policy.mode):
        assert numbers.shape == (40, codec.size)
        for row in codec.decode(numbers.detach().numpy()):
            assert space.contains(codec.clip(row))


@EVERY_SPACE
def test_sampled_choices_survive_the_way_to_the_environment_and_back(space: Space) -> None:
    model, codec = agent(space), ActionCodec(space)
    numbers = model.policy(torch.randn(40, 10).double()).sample(noise(model, 40)).detach().numpy()
    back = codec.encode(codec.decode(numbers))
    chosen = np.concatenate([np.full(part.size, isinstance(part, Choices)) for part in codec.parts])
    np.testing.assert_array_equal(back[:, chosen], numbers[:, chosen])
    np.testing.assert_allclose(back, numbers, rtol=1e-4, atol=1e-5)


@EVERY_SPACE
def test_log_probabilities_and_entropies_are_sums_over_parts(space: Space) -> None:
    model, codec = agent(space), ActionCodec(space)
    features = torch.randn(40, 10).double()
    policy = model.policy(features)
    action = policy.sample(noise(model, 40)).detach()
    params, log_prob, entropy, place = model.actor(features), 0.0, 0.0, 0
    for part in codec.parts:
        kind = CategoricalAction() if isinstance(part, Choices) else BoundedNormal()
        size = sum(kind.param_sizes(part))
        belief = kind.distribution(params[:, :size], part)
        log_prob, entropy = log_prob + belief.log_prob(action[:, place : place + part.size]), entropy + belief.entropy()
        params, place = params[:, size:], place + part.size
    torch.testing.assert_close(policy.log_prob(action), log_prob)
    torch.testing.assert_close(policy.entropy(), entropy)


@EVERY_SPACE
def test_the_policy_loss_teaches_every_head(space: Space) -> None:
    """A head has a layer, a tensor of its own, because gradients are clipped tensor by tensor."""
    model = agent(space)
    state = LatentState(torch.randn(6, 4, 6).double(), torch.randn(6, 4, 4).double())
    action = model.policy(state.features).sample(noise(model, 6, 4)).detach()
    rollout = Rollout(state, action, torch.randn(6, 4).double(), torch.rand(6, 4).double(), 1.0)
    model.losses(rollout).losses["policy"].sum().backward()
    assert len(model.actor.out) == sum(1 if isinstance(part, Choices) else 2 for part in ActionCodec(space).parts)
    for layer in model.actor.out:
        assert layer.weight.grad is not None
        assert (layer.weight.grad != 0).any()


@EVERY_SPACE
def test_an_action_with_any_choice_in_it_counts_as_discrete(space: Space) -> None:
    model = agent(space, discrete_gradient=ScoreFunction(), continuous_gradient=Dynamics())
    chooses = any(isinstance(part, Choices) for part in ActionCodec(space).parts)
    assert isinstance(model.gradient, ScoreFunction if chooses else Dynamics)


@each("kind", ContinuousAction)
def test_every_continuous_kind_acts_beside_choices(kind: type) -> None:
    model = agent(ACTIONS["dict"], continuous=kind())
    policy = model.policy(torch.randn(30, 10).double())
    action = policy.sample(noise(model, 30))
    assert policy.log_prob(action.detach()).isfinite().all()
    assert policy.entropy().isfinite().all()


def test_the_style_is_that_of_both_networks() -> None:
    model = agent(ACTIONS["box"], style=LayerStyle(LayerNorm(), "elu"))
    assert [network.mlp[0].style for network in (model.actor, model.critic, model.slow_critic)] == [LayerStyle(LayerNorm(), "elu")] * 3
    assert model.actor.mlp[0].linear.bias is None
