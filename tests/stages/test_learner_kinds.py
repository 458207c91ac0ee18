"""The learner with every kind of policy gradient, critic target and optimizer: what learns from what, and that nothing waits or breaks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import Space, spaces

from dreamctl.actor_critic.gradients import ActorGradient, Dynamics, ScoreFunction
from dreamctl.actor_critic.model import ActorCritic, ActorCriticConfig, ActorCriticLossScales, NetworkConfig
from dreamctl.actor_critic.returns import NoScale, ReturnScale
from dreamctl.actor_critic.targets import CriticTarget, FirstContinue, RecordedContinue
from dreamctl.core.codec import ActionCodec
from dreamctl.core.tensors import Batch, LatentState, Rollout
from dreamctl.nn.actions import BoundedNormal, ContinuousAction
from dreamctl.nn.adam import Adam
from dreamctl.nn.optim import LaProp, Optimizer
from dreamctl.stages.learner import Learner, Noise
from dreamctl.world_model.latents import CategoricalLatent, GaussianLatent
from tests.kinds import each
from tests.stages.test_learner import Ops
from tests.world_model.models import BOX, batch, world_model

MIXED_SPACE = spaces.Dict({"turn": spaces.Discrete(3), "push": spaces.Box(-1, 1, (2,), np.float32)})
SPACES = {"box": BOX, "discrete": spaces.Discrete(3), "dict": MIXED_SPACE}
LATENTS = {"categorical": CategoricalLatent(3, 4), "gaussian": GaussianLatent(5)}
SMALL = NetworkConfig(1, 8)


def learner(space: Space = BOX, latent: object = LATENTS["categorical"], optimizer: object = None, **changes: object) -> Learner:
    torch.manual_seed(3)
    model = world_model(space, latent=latent)
    config = ActorCriticConfig(**{"actor": SMALL, "critic": SMALL, "horizon": 3, **changes})
    actor_critic = ActorCritic(config, model.state_size, ActionCodec(space), model.discount).double()
    return Learner(model, actor_critic, LaProp(warmup=0) if optimizer is None else optimizer)


def rows(made: Learner, **changes: object) -> Batch:
    seen = batch(made.world_model)
    first = torch.zeros(3, 5, dtype=torch.bool)
    first[:, 0] = True
    return replace(seen, is_first=first, **changes)


def noise_of(made: Learner, seed: int = 0) -> Noise:
    noise = made.noise(3, 5, torch.Generator().manual_seed(seed))
    assert noise.dream is not None
    assert noise.action is not None
    return Noise(noise.posterior.double(), noise.dream.double(), noise.action.double())


def begin(made: Learner) -> LatentState:
    return made.world_model.rssm.initial(3, torch.zeros(1).double())


def losses(made: Learner, **changes: object) -> dict[str, torch.Tensor]:
    return made.losses(rows(made, **changes), begin(made), noise_of(made))[0]


@pytest.mark.parametrize("latent", LATENTS.values(), ids=LATENTS)
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@each("kind", ActorGradient)
def test_the_policy_loss_teaches_the_actor_alone(kind: type, space: Space, latent: object) -> None:
    made = learner(space, latent, discrete_gradient=kind(), continuous_gradient=kind())
    agent = made.actor_critic
    assert agent is not None
    losses(made)["policy"].mean().backward()
    assert all(p.grad is None for part in (made.world_model, agent.critic, agent.slow_critic) for p in part.parameters())
    assert all(p.grad is not None and (p.grad != 0).any() for p in agent.actor.parameters())
    assert all(p.requires_grad for p in made.world_model.parameters()), "frozen while it dreams only"


@each("kind", ActorGradient)
def test_the_other_losses_do_not_know_how_the_actor_learns(kind: type) -> None:
    one, other = learner(), learner(continuous_gradient=kind())
    left, right = losses(one), losses(other)
    assert left.keys() == right.keys()
    for name in left.keys() - {"policy"}:
        torch.testing.assert_close(right[name], left[name])
    for terms in (left, right):
        sum(term.mean() for name, term in terms.items() if name != "policy").backward()
    for p, q in zip(one.world_model.parameters(), other.world_model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


@each("kind", ActorGradient)
def test_only_an_actor_that_learns_through_its_dream_dreams_with_a_graph(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    made, seen = learner(continuous_gradient=kind()), []
    assert made.actor_critic is not None
    teach = made.actor_critic.losses
    monkeypatch.setattr(made.actor_critic, "losses", lambda rollout: seen.append(rollout) or teach(rollout))
    losses(made)
    (rollout,) = seen
    assert isinstance(rollout, Rollout)
    assert [rollout.reward.requires_grad, rollout.continue_prob.requires_grad, rollout.state.h.requires_grad] == [kind.through_dream] * 3


def test_the_gradient_through_the_dynamics_is_that_of_the_return() -> None:
    """A dream of one step: finite differences of Σ w R in the actor's last bias, where all is smooth and no action is beyond ±1."""
    narrow = BoundedNormal(min_std=0.01, max_std=0.02)
    made = learner(
        BOX,
        LATENTS["gaussian"],
        horizon=1,
        continuous=narrow,
        continuous_gradient=Dynamics(baseline=False),
        return_scale=NoScale(),
        entropy_scale=0.0,
    )
    assert made.actor_critic is not None
    bias = made.actor_critic.actor.out[0].bias
    (found,) = torch.autograd.grad(losses(made)["policy"].sum(), bias)
    for i in range(len(bias)):
        sides = []
        for value in (bias[i].item() + 1e-5, bias[i].item() - 1e-5):
            bias.data[i] = value
            sides.append(losses(made)["policy"].sum().item())
        bias.data[i] += 1e-5
        assert found[i].item() == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-5)


def test_a_replay_value_loss_of_weight_zero_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = learner(loss_scales=ActorCriticLossScales(replay_value=0.0), starts=1)
    assert made.actor_critic is not None
    monkeypatch.setattr(made.actor_critic, "replay_loss", None)
    assert "replay_value" not in losses(made)


def test_the_first_continue_of_a_dream_may_be_that_of_its_row() -> None:
    ended = torch.zeros(3, 5, dtype=torch.bool)
    ended[1, 4] = True
    made = learner(first_continue=RecordedContinue(), starts=2)
    policy = losses(made, terminated=ended, is_last=ended)["policy"]
    assert [bool((row == 0).all()) for row in policy] == [False, False, False, True, False, False]


KINDS = [
    *(("continuous_gradient", kind) for kind in ActorGradient.__args__),
    *(("slow_critic", kind) for kind in CriticTarget.__args__),
    *(("return_scale", kind) for kind in ReturnScale.__args__),
    *(("first_continue", kind) for kind in FirstContinue.__args__),
    *(("continuous", kind) for kind in ContinuousAction.__args__),
]


@pytest.mark.parametrize(("field", "kind"), KINDS, ids=lambda value: getattr(value, "kind", value))
def test_no_kind_reads_anything_back_from_the_device_or_breaks(field: str, kind: type) -> None:
    made = learner(**{field: kind()})
    figures = [made.update(rows(made), begin(made), noise_of(made, seed))[0] for seed in range(2)]
    with Ops() as ops:
        figures.append(made.update(rows(made), begin(made), noise_of(made, 2))[0])
    waiting = {"_local_scalar_dense", "item", "nonzero", "is_nonzero", "masked_select", "equal", "unique2"}
    assert {name: ops.seen[name] for name in waiting if ops.seen[name]} == {}
    assert all(value.isfinite() and not value.requires_grad for found in figures for value in found.values())


@each("kind", Optimizer)
def test_every_optimizer_trains_world_model_actor_and_critic(kind: type) -> None:
    made = learner(optimizer=kind())
    assert made.groups.keys() == {"world_model", "actor", "critic"}
    before = {name: [p.detach().clone() for p in group] for name, group in made.groups.items()}
    for seed in range(3):
        made.update(rows(made), begin(made), noise_of(made, seed))
    assert {part: made.steps(part) for part in made.groups} == dict.fromkeys(made.groups, 3)
    moved = {name for name, group in made.groups.items() if any(not torch.equal(p, q) for p, q in zip(group, before[name], strict=True))}
    assert moved == made.groups.keys()


@pytest.mark.parametrize("optimizer", [LaProp(warmup=0), Adam()], ids=lambda kind: kind.kind)
def test_a_frozen_world_model_has_no_group(optimizer: object) -> None:
    model = world_model().requires_grad_(False)
    config = ActorCriticConfig(actor=SMALL, critic=SMALL, horizon=3, continuous_gradient=Dynamics(), discrete_gradient=ScoreFunction())
    made = Learner(model, ActorCritic(config, model.state_size, ActionCodec(BOX), model.discount).double(), optimizer)
    assert made.groups.keys() == {"actor", "critic"}
    before = [p.clone() for p in model.parameters()]
    made.update(rows(made), begin(made), noise_of(made))
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))
    assert not any(p.requires_grad for p in model.parameters())
