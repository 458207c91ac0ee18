import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import Space, spaces

from dreamctl.actor_critic.model import ActorCritic, ActorCriticConfig, ActorCriticLossScales, NetworkConfig
from dreamctl.actor_critic.returns import PercentileScale
from dreamctl.actor_critic.targets import SlowCritic
from dreamctl.core.codec import ActionCodec
from dreamctl.core.tensors import Batch, LatentState, Rollout

close = torch.testing.assert_close
SPACES = {"box": spaces.Box(-1, 1, (2,)), "discrete": spaces.Discrete(3)}
N, H = 6, 4


def agent(space: Space = SPACES["box"], **changes: object) -> ActorCritic:
    torch.manual_seed(1)
    network = NetworkConfig(layers=1, units=8)
    config = ActorCriticConfig(**{"actor": network, "critic": network, **changes})
    return ActorCritic(config, 10, ActionCodec(space), 1 - 1 / 333).double()


def rollout(model: ActorCritic, *, discount: float = 1.0) -> Rollout:
    noise = torch.Generator().manual_seed(0)
    state = LatentState(torch.randn(N, H + 1, 6, generator=noise).double(), torch.randn(N, H + 1, 4, generator=noise).double())
    with torch.no_grad():
        action = model.policy(state.features).sample(model.noise((N, H + 1), noise).double())
    reward = torch.randn(N, H + 1, generator=noise).double()
    return Rollout(state, action, reward, torch.rand(N, H + 1, generator=noise).double(), discount)


def taught(model: ActorCritic, loss: torch.Tensor) -> set[str]:
    model.zero_grad()
    loss.sum().backward()
    parts = ("actor", "critic", "slow_critic")
    return {part for part in parts if any(p.grad is not None and p.grad.abs().max() > 0 for p in getattr(model, part).parameters())}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_each_loss_teaches_its_own_network(space: Space) -> None:
    model = agent(space)
    losses = model.losses(rollout(model)).losses
    assert taught(model, losses["policy"]) == {"actor"}
    losses = model.losses(rollout(model)).losses
    assert taught(model, losses["value"]) == {"critic"}


def test_nothing_of_a_dream_reaches_the_world_model() -> None:
    model = agent()
    dreamt = rollout(model)
    leaves = [dreamt.state.h, dreamt.state.z, dreamt.action, dreamt.reward, dreamt.continue_prob]
    for leaf in leaves:
        leaf.requires_grad_()
    losses = model.losses(Rollout(LatentState(leaves[0], leaves[1]), *leaves[2:], discount=1.0)).losses
    (losses["policy"].sum() + losses["value"].sum()).backward()
    assert all(leaf.grad is None for leaf in leaves)


def test_the_policy_loss_by_hand() -> None:
    """Each step: - w (log π A / S + η H), with w_0 the predicted continue of the start itself."""
    model = agent(entropy_scale=0.5, return_scale=PercentileScale(rate=1.0))
    dreamt = rollout(model)
    found = model.losses(dreamt)
    policy, values = model.policy(dreamt.state.features), model.value(dreamt.state.features).mean
    scale = model.return_scaler.scale
    for i in range(H):
        weight = dreamt.continue_prob[:, : i + 1].prod(1)
        advantage = (found.returns[:, i] - values[:, i]) / scale
        wanted = -weight * (policy.log_prob(dreamt.action)[:, i] * advantage + 0.5 * policy.entropy()[:, i])
        close(found.losses["policy"][:, i], wanted)


def test_the_value_loss_pulls_to_the_return_and_to_the_slow_critic() -> None:
    model = agent(slow_critic=SlowCritic(regularizer=0.5))
    for parameter in model.slow_critic.parameters():
        parameter.data.mul_(1.5)
    dreamt = rollout(model)
    found = model.losses(dreamt)
    value, slow = model.value(dreamt.state.features), model.slow_value(dreamt.state.features)[:, :-1]
    weight = dreamt.continue_prob.cumprod(1)[:, :-1]
    close(found.losses["value"], weight * (value.first(H).loss(found.returns) + 0.5 * value.first(H).loss(slow)))


def test_a_separate_discount_is_divided_out_of_the_weights() -> None:
    model = agent()
    one, two = model.losses(rollout(model)), model.losses(rollout(model, discount=0.5))
    close(two.losses["value"], 2 * one.losses["value"])


def test_a_start_that_has_ended_teaches_nothing() -> None:
    model = agent()
    dreamt = rollout(model)
    dreamt.continue_prob[0, 0] = 0
    losses = model.losses(dreamt).losses
    assert (losses["policy"][0] == 0).all()
    assert (losses["value"][0] == 0).all()
    assert (losses["value"][1:] > 0).all()


def test_returns_enter_the_scale_before_it_is_used() -> None:
    model = agent(return_scale=PercentileScale(rate=1.0, limit=1e-9))
    found = model.losses(rollout(model))
    ordered = found.returns.flatten().numpy()
    assert found.figures["return_scale"].item() == pytest.approx(np.percentile(ordered, 95) - np.percentile(ordered, 5))


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_scale_does_not_touch_the_entropy(scale: float) -> None:
    with_entropy, without = agent(entropy_scale=0.5), agent(entropy_scale=0.0)
    dreamt = rollout(without)
    for model in (with_entropy, without):
        model.return_scaler.high.fill_(scale)
    bonus = with_entropy.losses(dreamt).losses["policy"] - without.losses(dreamt).losses["policy"]
    entropy = without.policy(dreamt.state.features).entropy()
    close(bonus, (-0.5 * dreamt.continue_prob.cumprod(1) * entropy)[:, :-1])


def test_loss_scales_multiply() -> None:
    model, scales = agent(), ActorCriticLossScales(policy=2.0, value=3.0, replay_value=0.3)
    plain = model.losses(rollout(model)).losses
    model = agent(loss_scales=scales)
    scaled = model.losses(rollout(model)).losses
    close(scaled["policy"], 2 * plain["policy"])
    close(scaled["value"], 3 * plain["value"])


def test_the_keys_of_losses_and_figures_are_known() -> None:
    model = agent()
    found = model.losses(rollout(model))
    assert found.losses.keys() == {"policy", "value"}
    names = "return return_scale value advantage advantage_magnitude policy_entropy imagined_reward imagined_continue"
    assert found.figures.keys() == set(names.split())


def test_a_fresh_agent_values_everything_at_zero_and_acts_almost_evenly() -> None:
    model = agent(SPACES["discrete"], critic=ActorCriticConfig().critic, actor=ActorCriticConfig().actor)
    features = torch.randn(50, 10).double()
    assert (model.value(features).mean == 0).all()
    assert (model.slow_value(features) == 0).all()
    close(model.policy(features).entropy(), torch.full((50,), math.log(3)).double(), rtol=0, atol=1e-2)
    loss = model.losses(Rollout(LatentState(features.unflatten(0, (10, 5)), torch.zeros(10, 5, 0).double()), *zeros(10, 5), discount=1.0))
    close(loss.losses["value"], torch.full((10, 4), 2 * math.log(255)).double())


def zeros(*shape: int) -> tuple[torch.Tensor, ...]:
    return torch.eye(3)[0].expand(*shape, 3).double(), torch.zeros(*shape).double(), torch.ones(*shape).double()


# The critic on real experience.


def real(length: int = 5, *, last: tuple[int, ...] = (), terminal: tuple[int, ...] = ()) -> Batch:
    noise = torch.Generator().manual_seed(3)
    flag = torch.zeros(3, 2, length, dtype=torch.bool)
    flag[0, :, list(last)] = True
    flag[1, :, list(terminal)] = True
    reward = torch.randn(2, length, generator=noise).double()
    return Batch({}, torch.zeros(2, length, 2).double(), reward, flag[2], is_last=flag[0] | flag[1], terminated=flag[1])


def test_replay_loss_by_hand() -> None:
    model = agent(trace=0.0)
    features, boot = torch.randn(2, 5, 10).double(), torch.randn(2, 5).double()
    seen = real(last=(2,))
    returns = seen.reward[:, 1:] + model.discount * boot[:, 1:]
    value = model.value(features).first(4)
    wanted = 0.3 * (value.loss(returns) + value.loss(model.slow_value(features)[:, :-1]))
    wanted[:, 2] = 0
    close(model.replay_loss(features, seen, boot), wanted)


def test_replay_loss_teaches_the_critic_and_the_features_alone() -> None:
    model = agent()
    features, boot = torch.randn(2, 5, 10).double().requires_grad_(), torch.randn(2, 5).double().requires_grad_()
    assert taught(model, model.replay_loss(features, real(), boot)) == {"critic"}
    assert boot.grad is None
    assert features.grad is not None
    assert (features.grad[:, :-1] != 0).any()
    assert (features.grad[:, -1] == 0).all()


def test_a_terminal_step_has_no_future_in_the_replay_loss() -> None:
    model = agent()
    features, boot, seen = torch.randn(2, 5, 10).double(), torch.randn(2, 5).double(), real(terminal=(3,))
    one = model.replay_loss(features, seen, boot)
    other = boot.clone()
    other[:, 3:] += 50
    two = model.replay_loss(features, replace(seen, reward=seen.reward + 0), other)
    close(one, two)


# The slow critic.


def test_the_slow_critic_starts_as_the_critic_and_follows_it() -> None:
    model = agent(slow_critic=SlowCritic(rate=0.02))
    features = torch.randn(4, 10).double()
    close(model.slow_value(features), model.value(features).mean)
    start = [parameter.clone() for parameter in model.slow_critic.parameters()]
    for parameter in model.critic.parameters():
        parameter.data += 1
    for _ in range(5):
        model.update_slow_critic()
    for slow, fast, old in zip(model.slow_critic.parameters(), model.critic.parameters(), start, strict=True):
        close(slow.data, fast.data + 0.98**5 * (old - fast.data))


def test_the_slow_critic_is_saved_and_does_not_learn() -> None:
    model = agent()
    assert not any(parameter.requires_grad for parameter in model.slow_critic.parameters())
    assert any(name.startswith("slow_critic.") for name in model.state_dict())
    assert {"return_scaler.low", "return_scaler.high"} <= model.state_dict().keys()


def test_the_defaults_are_those_of_the_specification() -> None:
    config = ActorCriticConfig()
    assert (config.horizon, config.trace, config.entropy_scale, config.starts) == (15, 0.95, 3e-4, 0)
    assert (config.actor, config.critic) == (NetworkConfig(3, 256, 0.01), NetworkConfig(3, 256, 0.0))
    assert config.slow_critic == SlowCritic(0.02, 1.0)
    assert config.return_scale == PercentileScale(0.01, 0.05, 0.95, 1.0)
    assert config.loss_scales == ActorCriticLossScales(1.0, 1.0, 0.3)
