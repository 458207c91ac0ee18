"""The actor and the critic, and what they learn from: dreams, and real experience for the critic."""

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dreamctl.actor_critic.returns import PercentileScale, ReturnScale, ReturnScaler, lambda_return, replay_return
from dreamctl.core.codec import ActionCodec
from dreamctl.core.limits import Count, Natural, Share, Weight
from dreamctl.core.tensors import Batch, Rollout
from dreamctl.nn.actions import ActionDistribution, BoundedNormal, CategoricalAction, ContinuousAction, DiscreteAction
from dreamctl.nn.distributions import Draw, inverse_cdf
from dreamctl.nn.heads import Head
from dreamctl.nn.joint import PolicyOutput
from dreamctl.nn.optim import blend_
from dreamctl.nn.scalars import ScalarDistribution, ScalarOutput, SymexpTwoHot


@dataclass(frozen=True)
class NetworkConfig:
    """Sections `actor_critic.actor` and `actor_critic.critic`.

    Attributes:
        layers, units: of its dense blocks.
        scale: initial scale of its last layer.
    """

    layers: Natural = 3
    units: Count = 256
    scale: Weight = 1.0


@dataclass(frozen=True)
class SlowCritic:
    """Section `actor_critic.slow_critic`: a moving average of the critic that regularises it.

    Attributes:
        rate: share of the critic taken in after each update.
        regularizer: weight of the loss that pulls the critic to it.
    """

    rate: Share = 0.02
    regularizer: Weight = 1.0


@dataclass(frozen=True)
class ActorCriticLossScales:
    """Section `actor_critic.loss_scales`."""

    policy: Weight = 1.0
    value: Weight = 1.0
    replay_value: Weight = 0.3


@dataclass(frozen=True)
class ActorCriticConfig:
    """Section `actor_critic`.

    Attributes:
        discrete, continuous: kind of the action distribution for parts of an action that are choices, and that are plain numbers.
        value_output: kind of the predicted value.
        horizon: H, imagined steps.
        starts: imagine from the last so many steps of each window; 0 means from all (`imag_last` in the official code).
        trace: λ.
        entropy_scale: η.
    """

    actor: NetworkConfig = field(default_factory=lambda: NetworkConfig(scale=0.01))
    critic: NetworkConfig = field(default_factory=lambda: NetworkConfig(scale=0.0))
    discrete: DiscreteAction = field(default_factory=CategoricalAction)
    continuous: ContinuousAction = field(default_factory=BoundedNormal)
    value_output: ScalarOutput = field(default_factory=SymexpTwoHot)
    slow_critic: SlowCritic = field(default_factory=SlowCritic)
    return_scale: ReturnScale = field(default_factory=PercentileScale)
    loss_scales: ActorCriticLossScales = field(default_factory=ActorCriticLossScales)
    horizon: Count = 15
    starts: Natural = 0
    trace: Share = 0.95
    entropy_scale: float = 3e-4

    def __post_init__(self) -> None:
        if self.starts == 1:
            raise ValueError("starts=1: the replay value loss needs two steps in a row, wanted 0 (all) or at least 2")


@dataclass(frozen=True)
class Dreamt:
    """What a rollout taught: scaled loss terms `policy` and `value`, each (N, H), the returns (N, H), and scalars to watch."""

    losses: dict[str, Tensor]
    returns: Tensor
    figures: dict[str, Tensor]


class ActorCritic(nn.Module):
    """π(a | s) and v(s) on features (..., F), with the slow copy of the critic and the scale of returns."""

    def __init__(self, config: ActorCriticConfig, features: int, codec: ActionCodec, discount: float) -> None:
        super().__init__()
        self.config = config
        self.discount = discount
        self.output = PolicyOutput(codec.parts, config.discrete, config.continuous)
        self.actor = _network(config.actor, features, *self.output.param_sizes)
        self.critic = _network(config.critic, features, config.value_output.param_size)
        self.slow_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.return_scaler = ReturnScaler(config.return_scale)

    def policy(self, features: Tensor, draw: Draw = inverse_cdf) -> ActionDistribution:
        """The actor's distribution over actions (..., A) at features (..., F)."""
        return self.output.distribution(self.actor(features), draw)

    def value(self, features: Tensor) -> ScalarDistribution:
        """The critic's distribution over returns (...) at features (..., F)."""
        return self.config.value_output.distribution(self.critic(features))

    def slow_value(self, features: Tensor) -> Tensor:
        """The slow critic's mean (...) at features (..., F), constant."""
        with torch.no_grad():
            return self.config.value_output.distribution(self.slow_critic(features)).mean

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """What sampling actions of leading shape `shape` needs."""
        return self.output.noise(shape, generator)

    def losses(self, rollout: Rollout) -> Dreamt:
        """Score-function policy loss and critic loss of a dream (DreamerV3, actor and critic learning).

            w_i = Π_{j≤i} c_j / γ',  A_i = (R_i - v_i) / S
            L_π = -sg(w) (log π(a | s) sg(A) + η H[π]),   L_v = sg(w) (CE(v, sg(R)) + CE(v, sg(v_slow)))

        γ' is the rollout's own discount. The scale S takes in these returns before it is used. Nothing here reaches the world model.
        """
        features = rollout.state.features.detach()
        # The networks see all H+1 states and the outputs are cut: cutting the features would copy them once a network.
        value, policy, slow = self.value(features), self.policy(features), self.slow_value(features)[:, :-1]
        values = value.mean.detach()
        returns = lambda_return(rollout.reward.detach(), rollout.continue_prob.detach(), values, self.config.trace)
        self.return_scaler.update(returns)
        advantage = (returns - values[:, :-1]) / self.return_scaler.scale
        weight = (rollout.continue_prob.detach().cumprod(1) / rollout.discount)[:, :-1]
        entropy = policy.entropy()[:, :-1]
        log_prob = policy.log_prob(rollout.action.detach())[:, :-1]
        scales = self.config.loss_scales
        losses = {
            "policy": -scales.policy * weight * (log_prob * advantage + self.config.entropy_scale * entropy),
            "value": scales.value * weight * self._critic_loss(value.first(returns.shape[1]), returns, slow),
        }
        figures = {
            "return": returns.mean(),
            "return_scale": self.return_scaler.scale,
            "value": values.mean(),
            "advantage": advantage.mean(),
            "advantage_magnitude": advantage.abs().mean(),
            "policy_entropy": entropy.mean(),
            "imagined_reward": rollout.reward.mean(),
            "imagined_continue": rollout.continue_prob.mean(),
        }
        return Dreamt(losses, returns, {name: figure.detach() for name, figure in figures.items()})

    def replay_loss(self, features: Tensor, batch: Batch, bootstrap: Tensor) -> Tensor:
        """Critic loss on real experience, scaled, (B, T-1) (DreamerV3, critic learning).

        Args:
            features: (B, T, F), with gradient where the world model shall learn from values.
            batch: (B, T).
            bootstrap: (B, T), the return of the dream that began at each step.
        """
        continues = self.discount * (~batch.terminated).to(bootstrap.dtype)
        returns = replay_return(batch.reward, continues, batch.is_last, bootstrap.detach(), self.config.trace)
        features = features[:, :-1]
        loss = self._critic_loss(self.value(features), returns, self.slow_value(features))
        return self.config.loss_scales.replay_value * (~batch.is_last[:, :-1]).to(loss.dtype) * loss

    def update_slow_critic(self) -> None:
        """Move the slow critic towards the critic; after each step of the optimizer."""
        blend_(self.slow_critic.parameters(), self.critic.parameters(), self.config.slow_critic.rate)

    def _critic_loss(self, value: ScalarDistribution, returns: Tensor, slow: Tensor) -> Tensor:
        return value.loss(returns) + self.config.slow_critic.regularizer * value.loss(slow)


def _network(config: NetworkConfig, features: int, *sizes: int) -> Head:
    return Head(features, *sizes, layers=config.layers, units=config.units, scale=config.scale)
