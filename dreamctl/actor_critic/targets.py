"""Kinds of slow critic, and of the first continue of a dream: where the critic's targets come from."""

import copy
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from dreamctl.core.limits import Count, Share, Weight
from dreamctl.nn.optim import blend_every_
from dreamctl.nn.scalars import ScalarDistribution

T = TypeVar("T")


@dataclass(frozen=True)
class SlowCritic:
    """Section `actor_critic.slow_critic`: a moving average of the critic that regularises it (DreamerV3, critic learning).

    Attributes:
        rate: share of the critic taken in at a time.
        regularizer: weight of the loss that pulls the critic to it.
        every: updates from one such time to the next; the first update is one.
    """

    kind: ClassVar[str] = "regularizer"
    kept: ClassVar[bool] = True
    rate: Share = 0.02
    regularizer: Weight = 1.0
    every: Count = 1

    def copy(self, critic: nn.Module) -> nn.Module:
        """The slow critic to begin with."""
        return copy.deepcopy(critic).requires_grad_(False)

    def target(self, fast: T, slow: T) -> T:  # noqa: ARG002
        """Which of the two gives the values that returns bootstrap from and are compared with."""
        return fast

    def loss(self, value: ScalarDistribution, returns: Tensor, slow: Tensor) -> Tensor:
        """L(v, R) + regularizer · L(v, v_slow), shaped as the returns."""
        return value.loss(returns) + self.regularizer * value.loss(slow)

    def follow(self, slow: nn.Module, fast: nn.Module, calls: Tensor) -> None:
        """Move the slow critic towards the critic if it is time; counts this call in `calls`, ()."""
        blend_every_(slow.parameters(), fast.parameters(), self.rate, self.every, calls)


@dataclass(frozen=True)
class SlowTarget(SlowCritic):
    """A slow critic that gives targets and baseline; with the defaults a copy of the critic, 100 updates old at most (DreamerV2)."""

    kind: ClassVar[str] = "target"
    rate: Share = 1.0
    regularizer: Weight = 0.0
    every: Count = 100

    def target(self, fast: T, slow: T) -> T:  # noqa: ARG002
        """The slow one."""
        return slow

    def loss(self, value: ScalarDistribution, returns: Tensor, slow: Tensor) -> Tensor:
        """L(v, R) + regularizer · L(v, v_slow), shaped as the returns."""
        return super().loss(value, returns, slow) if self.regularizer else value.loss(returns)


@dataclass(frozen=True)
class NoSlowCritic:
    """The critic alone (Dreamer)."""

    kind: ClassVar[str] = "none"
    kept: ClassVar[bool] = False

    def copy(self, critic: nn.Module) -> nn.Module:  # noqa: ARG002
        """Nothing."""
        return nn.Identity()

    def target(self, fast: T, slow: T) -> T:  # noqa: ARG002
        """The critic."""
        return fast

    def loss(self, value: ScalarDistribution, returns: Tensor, slow: Tensor) -> Tensor:  # noqa: ARG002
        """L(v, R), shaped as the returns."""
        return value.loss(returns)

    def follow(self, slow: nn.Module, fast: nn.Module, calls: Tensor) -> None:
        """Nothing moves."""


CriticTarget = SlowCritic | SlowTarget | NoSlowCritic


@dataclass(frozen=True)
class PredictedContinue:
    """The first continue of a dream is predicted like every other (DreamerV3)."""

    kind: ClassVar[str] = "predicted"

    def first(self, continue_prob: Tensor, terminated: Tensor, discount: float) -> Tensor:  # noqa: ARG002
        """(N, H+1), as it is."""
        return continue_prob


@dataclass(frozen=True)
class RecordedContinue:
    """The first continue of a dream is that of the row it begins from, γ (1 - terminated) (DreamerV2, DreamerV3's first version)."""

    kind: ClassVar[str] = "recorded"

    def first(self, continue_prob: Tensor, terminated: Tensor, discount: float) -> Tensor:
        """(N, H+1) with another first column; `terminated` is (N,)."""
        first = discount * (~terminated).to(continue_prob.dtype)
        return torch.cat([first.unsqueeze(1), continue_prob[:, 1:]], 1)


FirstContinue = PredictedContinue | RecordedContinue
