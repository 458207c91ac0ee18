"""Kinds of stochastic state: how many numbers a network emits for it and how to read them."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dreamctl.core.limits import Count, Share
from dreamctl.nn.distributions import OneHot


@dataclass(frozen=True)
class CategoricalLatent:
    """S one-hot variables of C classes, mixed with a little uniform (DreamerV3, world model learning).

    Attributes:
        groups: S.
        classes: C.
        unimix: share of the uniform distribution.
    """

    kind: ClassVar[str] = "categorical"
    groups: Count = 32
    classes: Count = 16
    unimix: Share = 0.01

    @property
    def size(self) -> int:
        """Z: width of a flat sample."""
        return self.groups * self.classes

    @property
    def param_size(self) -> int:
        """Numbers a network emits."""
        return self.groups * self.classes

    def distribution(self, params: Tensor) -> OneHot:
        """(..., S·C) logits -> a distribution over (..., S, C)."""
        return OneHot(params.unflatten(-1, (self.groups, self.classes)), self.unimix)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """What `draw` needs for one sample of each: uniform, (*shape, S)."""
        return torch.rand(*shape, self.groups, generator=generator, device=generator.device)


Latent = CategoricalLatent
