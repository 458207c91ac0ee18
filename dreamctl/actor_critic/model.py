"""The actor and the critic, and what they learn from: dreams, and real experience for the critic."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from dreamctl.actor_critic.gradients import ActorGradient, ScoreFunction
from dreamctl.actor_critic.returns import PercentileScale, ReturnScale, ReturnScaler, lambda_return, replay_return
from dreamctl.actor_critic.targets import CriticTarget, FirstContinue, PredictedContinue, SlowCritic
from dreamctl.core.codec import ActionCodec
from dreamctl.core.limits import Count, Natural, Share, Weight
from dreamctl.core.parts import Choices
from dreamctl.core.tensors import Batch, Rollout
from dreamctl.nn.actions import ActionDistribution, BoundedNormal, CategoricalAction, ContinuousAction, DiscreteAction
from dreamctl.nn.distributions import Draw, inverse_cdf
from dreamctl.nn.frozen import frozen
from dreamctl.nn.heads import Head
from dreamctl.nn.joint import PolicyOutput
from dreamctl.nn.scalars import ScalarDistribution, ScalarOutput, SymexpTwoHot
from dreamctl.nn.style import LayerStyle


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
class ActorCriticLossScales:
    """Section `actor_critic.loss_scales`."""

    policy: Weight = 1.0
    value: Weight = 1.0
    replay_value: Weight = 0.3


@dataclass(frozen=True)
class ActorCriticConfig:
    """Section `actor_critic`.

    Attributes:
        style: norm and nonlinearity of both networks.
        discrete, continuous: kind of the action distribution for parts of an action that are choices, and that are plain numbers.
        discrete_gradient, continuous_gradient: kind of the actor's gradient for an action with any choice in it, and for plain numbers.
        value_output: kind of the predicted value.
        first_continue: kind of the first continue of a dream, which weighs all of it.
        horizon: H, imagined steps.
        starts: imagine from the last so many steps of each window; 0 means from all (`imag_last` in the official code).
        trace: λ.
        entropy_scale: η.
    """

    actor: NetworkConfig = field(default_factory=lambda: NetworkConfig(scale=0.01))
    critic: NetworkConfig = field(default_factory=lambda: NetworkConfig(scale=0.0))
    style: LayerStyle = field(default_factory=LayerStyle)
    discrete: DiscreteAction = field(default_factory=CategoricalAction)
    continuous: ContinuousAction = field(default_factory=BoundedNormal)
    discrete_gradient: ActorGradient = field(default_factory=ScoreFunction)
    continuous_gradient: ActorGradient = field(default_factory=ScoreFunction)
    value_output: ScalarOutput = field(default_factory=SymexpTwoHot)
    slow_critic: CriticTarget = field(default_factory=SlowCritic)
    first_continue: FirstContinue = field(default_factory=PredictedContinue)
    return_scale: ReturnScale = field(default_factory=PercentileScale)
    loss_scales: ActorCriticLossScales = field(default_factory=ActorCriticLossScales)
    horizon: Count = 15
    starts: Natural = 0
    trace: Share = 0.95
    entropy_scale: float = 3e-4

    def __post_init__(self) -> None:
        if self.starts == 1 and self.loss_scales.replay_value > 0:
            raise ValueError("starts=1: the replay value loss needs two steps in a row, wanted 0 (all) or at least 2")


@dataclass(frozen=True)
class Dreamt:
    """What a rollout taught.

    Attributes:
        losses: scaled loss terms `policy` and `value`, each (N, H).
        returns: (N, H), constant.
        weights: (N, H+1), constant; how far the dream is likely to have come.
        figures: scalars to watch.
    """

    losses: dict[str, Tensor]
    returns: Tensor
    weights: Tensor
    figures: dict[str, Tensor]


class ActorCritic(nn.Module):
    """π(a | s) and v(s) on features (..., F), with the slow copy of the critic and the scale of returns."""

    def __init__(self, config: ActorCriticConfig, features: int, codec: ActionCodec, discount: float) -> None:
        super().__init__()
        self.config = config
        self.discount = discount
        self.output = PolicyOutput(codec.parts, config.discrete, config.continuous)
        chooses = any(isinstance(part, Choices) for part in codec.parts)
        self.gradient = config.discrete_gradient if chooses else config.continuous_gradient
        self.actor = _network(config.actor, config.style, features, *self.output.param_sizes)
        self.critic = _network(config.critic, config.style, features, config.value_output.param_size)
        self.slow_critic = config.slow_critic.copy(self.critic)
        self.return_scaler = ReturnScaler(config.return_scale)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def policy(self, features: Tensor, draw: Draw = inverse_cdf) -> ActionDistribution:
        """The actor's distribution over actions (..., A) at features (..., F)."""
        return self.output.distribution(self.actor(features), draw)

    def value(self, features: Tensor) -> ScalarDistribution:
        """The critic's distribution over returns (...) at features (..., F)."""
        return self.config.value_output.distribution(self.critic(features))

    def slow_value(self, features: Tensor) -> Tensor:
        """The slow critic's mean (...) at features (..., F), constant; the critic's own where no slow one is kept."""
        network = self.slow_critic if self.config.slow_critic.kept else self.critic
        with torch.no_grad():
            return self.config.value_output.distribution(network(features)).mean

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """What sampling actions of leading shape `shape` needs."""
        return self.output.noise(shape, generator)

    def begin(self, rollout: Rollout, terminated: Tensor) -> Rollout:
        """The dream with the first continue that the config wants; `terminated` (N,) is that of the rows it begins from."""
        first = self.config.first_continue.first(rollout.continue_prob, terminated, self.discount)
        return replace(rollout, continue_prob=first)

    def losses(self, rollout: Rollout) -> Dreamt:
        """Policy loss and critic loss of a dream (DreamerV3, actor and critic learning).

            w_i = Π_{j≤i} c_j / γ'
            L_π = -sg(w) (J + η H[π]),   J = log π(a | s) sg((R - v) / S) or another kind of actor gradient
            L_v = sg(w) (CE(v, sg(R)) + CE(v, sg(v_slow))) or another kind of slow critic

        γ' is the rollout's own discount. The scale S takes in these returns before it is used. A dream with a graph takes gradients of
        the policy loss to its actions; nothing here reaches the parameters of the world model or, from the policy loss, the critic's.
        """
        features = rollout.state.features.detach()
        # The networks see all H+1 states and the outputs are cut: cutting the features would copy them once a network.
        value, policy, slow = self.value(features), self.policy(features), self.slow_value(features)
        returns, values = self._returns(rollout, value, slow)
        self.return_scaler.update(returns)
        scale, constant = self.return_scaler.scale, returns.detach()
        weights = rollout.continue_prob.detach().cumprod(1) / rollout.discount
        weight = weights[:, :-1]
        entropy = policy.entropy()[:, :-1]
        log_prob = policy.log_prob(rollout.action.detach())[:, :-1]
        objective = self.gradient.objective(log_prob, returns, values, scale)
        scales = self.config.loss_scales
        losses = {
            "policy": -scales.policy * weight * (objective + self.config.entropy_scale * entropy),
            "value": scales.value * weight * self.config.slow_critic.loss(value.first(constant.shape[1]), constant, slow[:, :-1]),
        }
        advantage = ((constant - values.detach()) / scale).detach()
        figures = {
            "return": constant.mean(),
            "return_scale": scale,
            "value": value.mean.mean(),
            "advantage": advantage.mean(),
            "advantage_magnitude": advantage.abs().mean(),
            "policy_entropy": entropy.mean(),
            "imagined_reward": rollout.reward.mean(),
            "imagined_continue": rollout.continue_prob.mean(),
        }
        return Dreamt(losses, constant, weights, {name: figure.detach() for name, figure in figures.items()})

    def _returns(self, rollout: Rollout, value: ScalarDistribution, slow: Tensor) -> tuple[Tensor, Tensor]:
        """λ-returns of a dream and the values of the same states, (N, H) each; with the dream's graph where the actor learns through it."""
        target, trace = self.config.slow_critic.target, self.config.trace
        if not self.gradient.through_dream:
            values = target(value.mean.detach(), slow)
            return lambda_return(rollout.reward.detach(), rollout.continue_prob.detach(), values, trace), values[:, :-1]
        network = target(self.critic, self.slow_critic)
        with frozen(network):
            values = self.config.value_output.distribution(network(rollout.state.features)).mean
        return lambda_return(rollout.reward, rollout.continue_prob, values, trace), values[:, :-1]

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
        loss = self.config.slow_critic.loss(self.value(features), returns, self.slow_value(features))
        return self.config.loss_scales.replay_value * (~batch.is_last[:, :-1]).to(loss.dtype) * loss

    def update_slow_critic(self) -> None:
        """Move the slow critic towards the critic; after each step of the optimizer."""
        self.config.slow_critic.follow(self.slow_critic, self.critic, self.get_buffer("updates"))


def _network(config: NetworkConfig, style: LayerStyle, features: int, *sizes: int) -> Head:
    return Head(features, *sizes, layers=config.layers, units=config.units, scale=config.scale, style=style)
