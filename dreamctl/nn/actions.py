"""Kinds of action distribution: how many numbers an actor emits for a part of an action, and how to read them."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from dreamctl.core.limits import Within
from dreamctl.core.parts import Choices, Numbers
from dreamctl.nn.bounded import SquashedNormal, TruncatedNormal
from dreamctl.nn.distributions import Draw, Normal, OneHot, full_precision, inverse_cdf

Positive = Annotated[float, Within(1e-6)]


class ActionDistribution(Protocol):
    """What an actor believes, over the (..., A) numbers of an action."""

    @property
    def mode(self) -> Tensor:
        """The action to take where nothing is left to chance, (..., A)."""

    def sample(self, noise: Tensor) -> Tensor:
        """An action (..., A) from noise of the kind that `noise` makes; gradients reach the parameters."""

    def log_prob(self, action: Tensor) -> Tensor:
        """(..., A) -> (...)."""

    def entropy(self) -> Tensor:
        """(...)."""


@dataclass(frozen=True)
class OneHotAction:
    """Choices, group beside group in (..., A): the latent's distribution, flat.

    Attributes:
        choice: over (..., groups, classes).
    """

    choice: OneHot
    draw: Draw = inverse_cdf

    @property
    def mode(self) -> Tensor:
        """The likeliest choice of each group, one-hot (..., A)."""
        return self.choice.mode.flatten(-2)

    def sample(self, noise: Tensor) -> Tensor:
        """One-hot (..., A); `noise` (..., groups) is uniform."""
        return self.choice.sample(noise, self.draw).flatten(-2)

    def log_prob(self, action: Tensor) -> Tensor:
        """One-hot (..., A) -> (...), summed over groups."""
        return self.choice.log_prob(action.unflatten(-1, self.choice.logits.shape[-2:]))

    def entropy(self) -> Tensor:
        """In nats, summed over groups, (...)."""
        return self.choice.entropy()


@dataclass(frozen=True)
class CategoricalAction:
    """A softmax over the classes of each group of choices.

    Attributes:
        unimix: share of the uniform distribution; 0 as in the official code, 0.01 as in the paper.
    """

    kind: ClassVar[str] = "categorical"
    unimix: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.unimix <= 1:
            raise ValueError(f"unimix={self.unimix}: wanted a share from 0 to 1")

    def param_sizes(self, part: Choices) -> tuple[int, ...]:
        """Numbers a network emits: the logits of all groups, from one layer."""
        return (part.size,)

    def distribution(self, params: Tensor, part: Choices, draw: Draw = inverse_cdf) -> OneHotAction:
        """(..., A) -> a distribution over one-hot actions."""
        return OneHotAction(OneHot(params.unflatten(-1, (part.groups, part.classes)), self.unimix), draw)

    def noise_size(self, part: Choices) -> int:
        """Numbers of noise: one for each group."""
        return part.groups

    def noise(self, shape: tuple[int, ...], part: Choices, generator: torch.Generator) -> Tensor:
        """Uniform, (*shape, groups)."""
        return torch.rand(*shape, part.groups, generator=generator, device=generator.device)


class _ForNumbers:
    """What every kind for plain numbers shares: two parameters and one number of noise for each."""

    def param_sizes(self, part: Numbers) -> tuple[int, ...]:
        """Numbers a network emits, from a layer each: raw means, raw standard deviations."""
        return (part.size, part.size)

    def noise_size(self, part: Numbers) -> int:
        """Numbers of noise."""
        return part.size

    def noise(self, shape: tuple[int, ...], part: Numbers, generator: torch.Generator) -> Tensor:
        """Standard normal, (*shape, A)."""
        return torch.randn(*shape, part.size, generator=generator, device=generator.device)


@dataclass(frozen=True)
class BoundedNormal(_ForNumbers):
    """A normal whose mean lies in (-1, 1) and whose standard deviation in (min_std, max_std) (DreamerV3 official code, `bounded_normal`).

    mean = tanh(m),  std = (max_std - min_std) σ(s + 2) + min_std
    """

    kind: ClassVar[str] = "bounded_normal"
    min_std: float = 0.1
    max_std: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.min_std <= self.max_std:
            raise ValueError(f"min_std={self.min_std}, max_std={self.max_std}: wanted 0 < min_std <= max_std")

    def distribution(self, params: Tensor, part: Numbers, draw: Draw = inverse_cdf) -> Normal:  # noqa: ARG002
        """(..., 2A), means first -> a distribution over (..., A)."""
        mean, std = full_precision(params).chunk(2, -1)
        return Normal(torch.tanh(mean), (self.max_std - self.min_std) * torch.sigmoid(std + 2.0) + self.min_std)


@dataclass(frozen=True)
class TruncatedNormalAction(_ForNumbers):
    """A normal cut at ±1 (DreamerV2 official code, `trunc_normal`).

    mean = tanh(m),  std = 2 σ(s / 2) + min_std
    """

    kind: ClassVar[str] = "truncated_normal"
    min_std: Positive = 0.1

    def distribution(self, params: Tensor, part: Numbers, draw: Draw = inverse_cdf) -> TruncatedNormal:  # noqa: ARG002
        """(..., 2A), means first -> a distribution over (..., A)."""
        mean, std = full_precision(params).chunk(2, -1)
        return TruncatedNormal(torch.tanh(mean), 2.0 * torch.sigmoid(std / 2.0) + self.min_std)

    def noise(self, shape: tuple[int, ...], part: Numbers, generator: torch.Generator) -> Tensor:
        """Uniform, (*shape, A)."""
        return torch.rand(*shape, part.size, generator=generator, device=generator.device)


@dataclass(frozen=True)
class TanhNormalAction(_ForNumbers):
    """tanh of a normal (Dreamer official code, `tanh_normal`).

    mean = mean_scale · tanh(m / mean_scale),  std = softplus(s + softplus⁻¹(init_std)) + min_std
    """

    kind: ClassVar[str] = "tanh_normal"
    mean_scale: Positive = 5.0
    init_std: Positive = 5.0
    min_std: Positive = 1e-4

    def distribution(self, params: Tensor, part: Numbers, draw: Draw = inverse_cdf) -> SquashedNormal:  # noqa: ARG002
        """(..., 2A), means first -> a distribution over (..., A)."""
        mean, std = full_precision(params).chunk(2, -1)
        start = math.log(math.expm1(self.init_std))
        return SquashedNormal(self.mean_scale * torch.tanh(mean / self.mean_scale), F.softplus(std + start) + self.min_std)


DiscreteAction = CategoricalAction
ContinuousAction = BoundedNormal | TruncatedNormalAction | TanhNormalAction
ActionOutput = DiscreteAction | ContinuousAction
