import pytest
import torch
from gymnasium import spaces

from dreamctl.actor_critic.model import ActorCritic, ActorCriticConfig, NetworkConfig
from dreamctl.actor_critic.returns import NoScale, lambda_return
from dreamctl.actor_critic.targets import (
    CriticTarget,
    FirstContinue,
    NoSlowCritic,
    PredictedContinue,
    RecordedContinue,
    SlowCritic,
    SlowTarget,
)
from dreamctl.core.codec import ActionCodec
from dreamctl.core.tensors import LatentState, Rollout
from tests.kinds import each

close = torch.testing.assert_close
N, H = 5, 3
SMALL = NetworkConfig(layers=1, units=8)


def agent(**changes: object) -> ActorCritic:
    """One whose slow critic, if there is any, thinks otherwise than its critic."""
    torch.manual_seed(1)
    config = ActorCriticConfig(**{"actor": SMALL, "critic": SMALL, "return_scale": NoScale(), **changes})
    model = ActorCritic(config, 10, ActionCodec(spaces.Discrete(3)), 0.9).double()
    for parameter in model.slow_critic.parameters():
        parameter.data.mul_(1.5)
    return model


def rollout() -> Rollout:
    noise = torch.Generator().manual_seed(0)
    state = LatentState(torch.randn(N, H + 1, 6, generator=noise).double(), torch.randn(N, H + 1, 4, generator=noise).double())
    action = torch.eye(3)[torch.randint(3, (N, H + 1), generator=noise)].double()
    return Rollout(state, action, torch.randn(N, H + 1, generator=noise).double(), torch.rand(N, H + 1, generator=noise).double(), 1.0)


@each("kind", CriticTarget)
def test_every_kind_bootstraps_from_and_compares_with_the_values_it_names(kind: type) -> None:
    model, dreamt = agent(slow_critic=kind()), rollout()
    features = dreamt.state.features
    fast, slow = model.value(features).mean.detach(), model.slow_value(features)
    values = slow if kind is SlowTarget else fast
    found = model.losses(dreamt)
    close(found.returns, lambda_return(dreamt.reward, dreamt.continue_prob, values, 0.95))
    close(found.figures["advantage"], (found.returns - values[:, :-1]).mean())


@each("kind", CriticTarget)
def test_every_kind_pulls_the_critic_where_it_says(kind: type) -> None:
    model, dreamt = agent(slow_critic=kind()), rollout()
    found = model.losses(dreamt)
    value, slow = model.value(dreamt.state.features).first(H), model.slow_value(dreamt.state.features)[:, :-1]
    wanted = value.loss(found.returns) + (value.loss(slow) if kind is SlowCritic else 0)
    close(found.losses["value"], found.weights[:, :-1] * wanted)


def test_a_target_may_regularise_besides() -> None:
    model, dreamt = agent(slow_critic=SlowTarget(regularizer=0.5)), rollout()
    found = model.losses(dreamt)
    value, slow = model.value(dreamt.state.features).first(H), model.slow_value(dreamt.state.features)[:, :-1]
    close(found.losses["value"], found.weights[:, :-1] * (value.loss(found.returns) + 0.5 * value.loss(slow)))


@pytest.mark.parametrize("kind", [SlowCritic, SlowTarget], ids=lambda kind: kind.kind)
@pytest.mark.parametrize("every", [1, 3])
def test_a_slow_critic_follows_at_the_first_update_and_every_so_many_after(kind: type, every: int) -> None:
    model, moved = agent(slow_critic=kind(rate=0.25, every=every)), []
    for _ in range(7):
        before = [parameter.clone() for parameter in model.slow_critic.parameters()]
        model.update_slow_critic()
        moved.append(not all(torch.equal(one, two) for one, two in zip(before, model.slow_critic.parameters(), strict=True)))
    assert moved == [call % every == 0 for call in range(7)]


def test_dreamer_v2_takes_a_hard_copy_every_hundred_updates() -> None:
    model = agent(slow_critic=SlowTarget())
    assert (model.config.slow_critic.rate, model.config.slow_critic.every) == (1.0, 100)
    model.update_slow_critic()
    assert all(torch.equal(one, two) for one, two in zip(model.slow_critic.parameters(), model.critic.parameters(), strict=True))


def test_the_count_of_updates_travels_with_the_weights() -> None:
    one, other = agent(slow_critic=SlowTarget(every=3)), agent(slow_critic=SlowTarget(every=3))
    for _ in range(2):
        one.update_slow_critic()
    other.load_state_dict(one.state_dict())
    for model in (one, other):
        for parameter in model.critic.parameters():
            parameter.data += 1
        model.update_slow_critic()
    assert not torch.equal(next(other.slow_critic.parameters()), next(other.critic.parameters())), "the third call is not due"
    assert all(torch.equal(a, b) for a, b in zip(one.slow_critic.parameters(), other.slow_critic.parameters(), strict=True))


def test_without_a_slow_critic_there_are_no_parameters_for_one() -> None:
    model = agent(slow_critic=NoSlowCritic())
    assert not any(name.startswith("slow_critic") for name in model.state_dict())
    features = torch.randn(4, 10).double()
    assert torch.equal(model.slow_value(features), model.value(features).mean)
    model.update_slow_critic()


# The first continue of a dream.


@each("kind", FirstContinue)
def test_every_kind_leaves_the_later_continues_alone(kind: type) -> None:
    continues = rollout().continue_prob
    found = kind().first(continues, torch.zeros(N, dtype=torch.bool), 0.9)
    assert torch.equal(found[:, 1:], continues[:, 1:])


def test_first_continues_by_hand() -> None:
    continues, terminated = torch.tensor([[0.3, 0.4], [0.5, 0.6]]), torch.tensor([False, True])
    assert PredictedContinue().first(continues, terminated, 0.9) is continues
    close(RecordedContinue().first(continues, terminated, 0.9), torch.tensor([[0.9, 0.4], [0.0, 0.6]]))


def test_a_start_that_has_truly_ended_teaches_nothing_whatever_is_predicted() -> None:
    model, dreamt = agent(first_continue=RecordedContinue()), rollout()
    ended = torch.tensor([True] + [False] * (N - 1))
    losses = model.losses(model.begin(dreamt, ended)).losses
    assert (losses["policy"][0] == 0).all()
    assert (losses["value"][0] == 0).all()
    close(model.losses(model.begin(dreamt, ended)).weights[1:, 0], torch.full((N - 1,), 0.9).double())
