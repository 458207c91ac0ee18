"""How a prediction of an observation is read, and how far it lies from what was seen."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dreamctl.core.limits import Weight
from dreamctl.core.parts import Choices, Numbers, Part
from dreamctl.nn.distributions import OneHot, full_precision


@dataclass(frozen=True)
class SquaredDistance:
    """Σ (x - mean)² (DreamerV3).

    Attributes:
        tolerance: a squared error below it counts as none (1e-8 in the first version of DreamerV3).
    """

    kind: ClassVar[str] = "squared_distance"
    tolerance: Weight = 0.0

    def loss(self, mean: Tensor, target: Tensor, axes: int = 1) -> Tensor:
        """Summed over the last `axes` axes."""
        distance = (mean - target).square()
        if self.tolerance:
            distance = torch.where(distance < self.tolerance, 0.0, distance)
        return distance.sum(tuple(range(-axes, 0)))


@dataclass(frozen=True)
class UnitNormal:
    """-ln N(x | mean, 1) = Σ ½ (x - mean)² + ½ ln 2π (Dreamer, DreamerV2)."""

    kind: ClassVar[str] = "unit_normal"

    def loss(self, mean: Tensor, target: Tensor, axes: int = 1) -> Tensor:
        """Summed over the last `axes` axes, in nats."""
        return (0.5 * (mean - target).square() + 0.5 * math.log(2 * math.pi)).sum(tuple(range(-axes, 0)))


Reconstruction = SquaredDistance | UnitNormal


@dataclass(frozen=True)
class SigmoidImage:
    """Brightness σ(raw), always inside (0, 1) (DreamerV3)."""

    kind: ClassVar[str] = "sigmoid"

    def mean(self, raw: Tensor) -> Tensor:
        """Brightness, of any shape."""
        return torch.sigmoid(full_precision(raw))


@dataclass(frozen=True)
class ShiftedImage:
    """Brightness raw + ½, so that raw 0 is grey (Dreamer, DreamerV2, first version of DreamerV3)."""

    kind: ClassVar[str] = "shifted"

    def mean(self, raw: Tensor) -> Tensor:
        """Brightness, of any shape."""
        return full_precision(raw) + 0.5


ImageOutput = SigmoidImage | ShiftedImage


def image_loss(reconstruction: Reconstruction, mean: Tensor, seen: Tensor) -> Tensor:
    """Distance of brightness (..., height, width, channels) from a uint8 image, (...)."""
    return reconstruction.loss(mean, seen.to(mean.dtype) / 255, axes=3)


def vector_loss(reconstruction: Reconstruction, parts: tuple[Part, ...], predicted: Tensor, target: Tensor) -> Tensor:
    """Distance of a vector (..., size) from its target, (...): its numbers by the kind, its choices by their cross-entropy in nats."""
    losses = [
        reconstruction.loss(numbers, wanted) if isinstance(part, Numbers) else -_choice(part, numbers).log_prob(_grouped(part, wanted))
        for part, numbers, wanted in zip(parts, _split(parts, full_precision(predicted)), _split(parts, target), strict=True)
    ]
    return losses[0] if len(losses) == 1 else torch.stack(losses).sum(0)


def vector_mean(parts: tuple[Part, ...], predicted: Tensor) -> Tensor:
    """A predicted vector (..., size): numbers as they are, choices as the probabilities of their classes."""
    means = [
        numbers if isinstance(part, Numbers) else _choice(part, numbers).probs.flatten(-2)
        for part, numbers in zip(parts, _split(parts, full_precision(predicted)), strict=True)
    ]
    return means[0] if len(means) == 1 else torch.cat(means, -1)


def _split(parts: tuple[Part, ...], numbers: Tensor) -> tuple[Tensor, ...]:
    return (numbers,) if len(parts) == 1 else numbers.split([part.size for part in parts], -1)


def _choice(part: Choices, logits: Tensor) -> OneHot:
    return OneHot(_grouped(part, logits))


def _grouped(part: Choices, numbers: Tensor) -> Tensor:
    return numbers.unflatten(-1, (part.groups, part.classes))
