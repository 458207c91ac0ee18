"""Kinds of action distribution: how many numbers an actor emits, and how to read them."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from dreamctl.nn.distributions import Draw, Normal, OneHot, full_precision, inverse_cdf


class ActionDistribution(Protocol):
    """What an actor believes, over the (..., A) numbers of an action."""

    @property
    def mode(self) -> Tensor:
        """The likeliest action, (..., A)."""

    def sample(self, noise: Tensor) -> Tensor:
        """An action (..., A) from noise of the kind that `noise` makes."""

    def log_prob(self, action: Tensor) -> Tensor:
        """(..., A) -> (...)."""

    def entropy(self) -> Tensor:
        """(...)."""


@dataclass(frozen=True)
class OneHotAction:
    """One choice of A: the latent's distribution with a single group."""

    choice: OneHot
    draw: Draw = inverse_cdf

    @property
    def mode(self) -> Tensor:
        """The likeliest choice, one-hot (..., A)."""
        return self.choice.mode.squeeze(-2)

    def sample(self, noise: Tensor) -> Tensor:
        """One-hot (..., A); `noise` (..., 1) is uniform."""
        return self.choice.sample(noise, self.draw).squeeze(-2)

    def log_prob(self, action: Tensor) -> Tensor:
        """One-hot (..., A) -> (...)."""
        return self.choice.log_prob(action.unsqueeze(-2))

    def entropy(self) -> Tensor:
        """In nats, (...)."""
        return self.choice.entropy()


@dataclass(frozen=True)
class CategoricalAction:
    """A softmax over a Discrete action.

    Attributes:
        unimix: share of the uniform distribution; 0 as in the official code, 0.01 as in the paper.
    """

    kind: ClassVar[str] = "categorical"
    unimix: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.unimix <= 1:
            raise ValueError(f"unimix={self.unimix}: wanted a share from 0 to 1")

    def param_sizes(self, action_size: int) -> tuple[int, ...]:
        """Numbers a network emits for A = `action_size`: the logits."""
        return (action_size,)

    def distribution(self, params: Tensor, draw: Draw = inverse_cdf) -> OneHotAction:
        """(..., A) -> a distribution over one-hot actions."""
        return OneHotAction(OneHot(params.unsqueeze(-2), self.unimix), draw)

    def noise(self, shape: tuple[int, ...], action_size: int, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Uniform, (*shape, 1)."""
        return torch.rand(*shape, 1, generator=generator, device=generator.device)


@dataclass(frozen=True)
class BoundedNormal:
    """A normal whose mean lies in (-1, 1) and whose standard deviation in (min_std, max_std) (DreamerV3 official code, `bounded_normal`).

    mean = tanh(m),  std = (max_std - min_std) σ(s + 2) + min_std
    """

    kind: ClassVar[str] = "bounded_normal"
    min_std: float = 0.1
    max_std: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.min_std <= self.max_std:
            raise ValueError(f"min_std={self.min_std}, max_std={self.max_std}: wanted 0 < min_std <= max_std")

    def param_sizes(self, action_size: int) -> tuple[int, ...]:
        """Numbers a network emits for A = `action_size`: raw means, raw standard deviations."""
        return (action_size, action_size)

    def distribution(self, params: Tensor, draw: Draw = inverse_cdf) -> Normal:  # noqa: ARG002
        """(..., 2A), means first -> a distribution over (..., A)."""
        mean, std = full_precision(params).chunk(2, -1)
        return Normal(torch.tanh(mean), (self.max_std - self.min_std) * torch.sigmoid(std + 2.0) + self.min_std)

    def noise(self, shape: tuple[int, ...], action_size: int, generator: torch.Generator) -> Tensor:
        """Standard normal, (*shape, A)."""
        return torch.randn(*shape, action_size, generator=generator, device=generator.device)


DiscreteAction = CategoricalAction
ContinuousAction = BoundedNormal
ActionOutput = CategoricalAction | BoundedNormal
