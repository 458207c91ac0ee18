"""Policies over actions of several parts: a distribution of its own for each part, and their product for the whole action."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from dreamctl.core.parts import Choices, Numbers, Part
from dreamctl.nn.actions import ActionDistribution, ContinuousAction, DiscreteAction
from dreamctl.nn.distributions import Draw, inverse_cdf

P = TypeVar("P", Numbers, Choices, contravariant=True)


class ActionKind(Protocol[P]):
    """What every kind answers for a part of the sort that it reads."""

    def param_sizes(self, part: P) -> tuple[int, ...]:
        """Numbers a network emits, from a layer each."""

    def distribution(self, params: Tensor, part: P, draw: Draw = inverse_cdf) -> ActionDistribution:
        """What those numbers, (..., sum of sizes), say about the part."""

    def noise_size(self, part: P) -> int:
        """Numbers of noise that a sample takes."""

    def noise(self, shape: tuple[int, ...], part: P, generator: torch.Generator) -> Tensor:
        """That noise, (*shape, size)."""


@dataclass(frozen=True)
class Factor(Generic[P]):
    """A kind of action distribution with the part that it reads."""

    kind: ActionKind[P]
    part: P

    @property
    def param_sizes(self) -> tuple[int, ...]:
        """Numbers a network emits, from a layer each."""
        return self.kind.param_sizes(self.part)

    @property
    def noise_size(self) -> int:
        """Numbers of noise that a sample takes."""
        return self.kind.noise_size(self.part)

    def distribution(self, params: Tensor, draw: Draw) -> ActionDistribution:
        """What the network's numbers say about the part."""
        return self.kind.distribution(params, self.part, draw)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """(*shape, noise_size)."""
        return self.kind.noise(shape, self.part, generator)


@dataclass(frozen=True)
class JointAction:
    """The product of independent distributions over the parts of an action, from left to right.

    Attributes:
        factors: one for each part.
        sizes, noise_sizes: numbers of each part, and of the noise that it takes.
    """

    factors: Sequence[ActionDistribution]
    sizes: Sequence[int]
    noise_sizes: Sequence[int]

    @property
    def mode(self) -> Tensor:
        """(..., A)."""
        return torch.cat([factor.mode for factor in self.factors], -1)

    def sample(self, noise: Tensor) -> Tensor:
        """(..., A) from the noise of all parts side by side."""
        pieces = noise.split(list(self.noise_sizes), -1)
        return torch.cat([factor.sample(piece) for factor, piece in zip(self.factors, pieces, strict=True)], -1)

    def log_prob(self, action: Tensor) -> Tensor:
        """(..., A) -> (...), the sum over parts."""
        pieces = action.split(list(self.sizes), -1)
        return torch.stack([factor.log_prob(piece) for factor, piece in zip(self.factors, pieces, strict=True)]).sum(0)

    def entropy(self) -> Tensor:
        """In nats, the sum over parts, (...)."""
        return torch.stack([factor.entropy() for factor in self.factors]).sum(0)


class PolicyOutput:
    """How the numbers that an actor emits are read: a distribution for each part of an action, whatever the action space."""

    def __init__(self, parts: Sequence[Part], discrete: DiscreteAction, continuous: ContinuousAction) -> None:
        self.sizes = [part.size for part in parts]
        self.factors = [Factor(discrete, part) if isinstance(part, Choices) else Factor(continuous, part) for part in parts]

    @property
    def param_sizes(self) -> tuple[int, ...]:
        """Numbers a network emits, from a layer each, part after part."""
        return tuple(size for factor in self.factors for size in factor.param_sizes)

    def distribution(self, params: Tensor, draw: Draw = inverse_cdf) -> ActionDistribution:
        """(..., sum of param_sizes) -> a distribution over (..., A)."""
        if len(self.factors) == 1:
            return self.factors[0].distribution(params, draw)
        pieces = params.split([sum(factor.param_sizes) for factor in self.factors], -1)
        beliefs = [factor.distribution(piece, draw) for factor, piece in zip(self.factors, pieces, strict=True)]
        return JointAction(beliefs, self.sizes, [factor.noise_size for factor in self.factors])

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """What sampling actions of leading shape `shape` needs, the parts side by side, (*shape, sum of noise sizes)."""
        pieces = [factor.noise(shape, generator) for factor in self.factors]
        return torch.cat(pieces, -1) if len(pieces) > 1 else pieces[0]
