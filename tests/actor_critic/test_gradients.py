import pytest
import torch
from gymnasium import spaces

from dreamctl.actor_critic.gradients import ActorGradient, Dynamics, Mixed, ScoreFunction
from dreamctl.actor_critic.model import ActorCritic, ActorCriticConfig, NetworkConfig
from dreamctl.actor_critic.returns import NoScale
from dreamctl.actor_critic.targets import NoSlowCritic, SlowCritic, SlowTarget
from dreamctl.core.codec import ActionCodec
from dreamctl.core.tensors import LatentState, Rollout
from tests.kinds import each

close = torch.testing.assert_close
N, H = 5, 3
SMALL = NetworkConfig(layers=1, units=8)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def agent(**changes: object) -> ActorCritic:
    torch.manual_seed(1)
    config = ActorCriticConfig(**{"actor": SMALL, "critic": SMALL, "return_scale": NoScale(), "entropy_scale": 0.0, **changes})
    return ActorCritic(config, 10, ActionCodec(spaces.Box(-1, 1, (2,))), 0.99).double()


def rollout() -> Rollout:
    """A dream whose every tensor is a leaf that wants a gradient."""
    state = LatentState(numbers(N, H + 1, 6), numbers(N, H + 1, 4, seed=1))
    continues = numbers(N, H + 1, seed=4).detach().sigmoid().requires_grad_()
    return Rollout(state, numbers(N, H + 1, 2, seed=2), numbers(N, H + 1, seed=3), continues, 1.0)


def test_objectives_by_hand() -> None:
    log_prob, returns, values, scale = (torch.tensor(x).double() for x in (-0.5, 3.0, 1.0, 4.0))
    given = log_prob, returns, values, scale
    assert ScoreFunction().objective(*given).item() == -0.5 * 2 / 4
    assert Dynamics().objective(*given).item() == 2 / 4
    assert Dynamics(baseline=False).objective(*given).item() == 3 / 4
    assert Mixed(0.25).objective(*given).item() == 0.25 * -0.25 + 0.75 * 0.75
    assert Mixed(0.25, baseline=True).objective(*given).item() == 0.25 * -0.25 + 0.75 * 0.5


@each("kind", ActorGradient)
def test_every_kind_says_where_its_gradient_comes_from(kind: type) -> None:
    log_prob, returns, values = numbers(N, H), numbers(N, H, seed=1), numbers(N, H, seed=2)
    objective = kind().objective(log_prob, returns, values, torch.ones(()).double())
    assert objective.shape == (N, H)
    gradients = torch.autograd.grad(objective.sum(), [log_prob, returns], allow_unused=True)
    assert (gradients[1] is not None) == kind.through_dream
    assert (gradients[0] is not None) == (kind is not Dynamics)


def test_the_shares_of_a_mixture_add_up() -> None:
    given = numbers(N, H), numbers(N, H, seed=1), numbers(N, H, seed=2), torch.tensor(2.0).double()
    close(Mixed(1.0).objective(*given), ScoreFunction().objective(*given))
    close(Mixed(0.0).objective(*given), Dynamics(baseline=False).objective(*given))


@pytest.mark.parametrize("slow", [SlowCritic(), SlowTarget(), NoSlowCritic()], ids=lambda slow: slow.kind)
@each("kind", ActorGradient)
def test_the_policy_loss_reaches_the_dream_only_through_the_dynamics(kind: type, slow: object) -> None:
    """Rewards, continues and states pass gradients on to the actions; the critic's own parameters get none."""
    model, dreamt = agent(continuous_gradient=kind(), slow_critic=slow), rollout()
    model.losses(dreamt).losses["policy"].sum().backward()
    leaves = [dreamt.reward, dreamt.continue_prob, dreamt.state.h, dreamt.state.z]
    assert [leaf.grad is not None and bool((leaf.grad != 0).any()) for leaf in leaves] == [kind.through_dream] * 4
    assert dreamt.action.grad is None, "log-probabilities are of constant actions"
    assert all(p.grad is None for network in (model.critic, model.slow_critic) for p in network.parameters())
    reached = [parameter.grad is not None and bool((parameter.grad != 0).any()) for parameter in model.actor.parameters()]
    assert all(reached) if kind is not Dynamics else not any(reached), "here the actions are given, not the actor's"
    assert all(p.requires_grad for p in model.critic.parameters()), "frozen for the while only"


@each("kind", ActorGradient)
def test_the_value_loss_is_the_same_for_every_kind(kind: type) -> None:
    one, other = agent(), agent(continuous_gradient=kind())
    losses = [model.losses(rollout()).losses["value"] for model in (one, other)]
    close(losses[1], losses[0])
    losses[1].sum().backward()
    assert all(p.grad is not None for p in other.critic.parameters())
    assert all(p.grad is None for p in other.actor.parameters())


def test_the_policy_loss_through_the_dynamics_by_hand() -> None:
    """Each step: - w R, with w constant; one reward enters all returns before it, discounted by continues and λ."""
    model, dreamt = agent(continuous_gradient=Dynamics(baseline=False), trace=1.0), rollout()
    found = model.losses(dreamt)
    weights = dreamt.continue_prob.detach().cumprod(1)
    close(found.losses["policy"], -weights[:, :-1] * found.returns)
    found.losses["policy"].sum().backward()
    c, wanted = dreamt.continue_prob.detach(), torch.zeros(N, H + 1).double()
    for t in range(1, H + 1):
        for i in range(t):
            wanted[:, t] -= weights[:, i] * c[:, i + 1 : t].prod(1)
    close(dreamt.reward.grad, wanted)


def test_the_entropy_is_taught_at_constant_states_whatever_the_kind() -> None:
    model, dreamt = agent(continuous_gradient=Dynamics(), entropy_scale=0.5), rollout()
    plain = agent(continuous_gradient=Dynamics())
    bonus = model.losses(dreamt).losses["policy"] - plain.losses(dreamt).losses["policy"]
    close(bonus, -0.5 * dreamt.continue_prob.detach().cumprod(1)[:, :-1] * model.policy(dreamt.state.features).entropy()[:, :-1])
