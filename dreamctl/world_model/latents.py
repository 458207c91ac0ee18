"""Kinds of stochastic state: how many numbers a network emits for it and how to read them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dreamctl.core.limits import Count, Share, Within
from dreamctl.nn.distributions import Normal, OneHot, full_precision


@dataclass(frozen=True)
class CategoricalLatent:
    """S one-hot variables of C classes, mixed with a little uniform (DreamerV3, world model learning).

    Attributes:
        groups: S.
        classes: C.
        unimix: share of the uniform distribution; 0 in DreamerV2.
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


@dataclass(frozen=True)
class GaussianLatent:
    """A diagonal normal; a network emits means, then raw standard deviations s (PlaNet, arXiv:1811.04551; Dreamer).

        softplus: σ = ln(1 + exp(s)) + min_std          sigmoid: σ = 2 / (1 + exp(-s/2)) + min_std

    Attributes:
        size: Z.
        min_std: least standard deviation.
        std: link from s to σ; `softplus` as in Dreamer, `sigmoid` as in DreamerV2 and the first DreamerV3.
    """

    kind: ClassVar[str] = "gaussian"
    size: Count = 32
    min_std: Annotated[float, Within(1e-8)] = 0.1
    std: Literal["softplus", "sigmoid"] = "softplus"

    @property
    def param_size(self) -> int:
        """Numbers a network emits."""
        return 2 * self.size

    def distribution(self, params: Tensor) -> Normal:
        """(..., 2Z), means first -> a distribution over (..., Z)."""
        mean, raw = full_precision(params).chunk(2, -1)
        return Normal(mean, STD_LINKS[self.std](raw) + self.min_std)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Standard normal, (*shape, Z)."""
        return torch.randn(*shape, self.size, generator=generator, device=generator.device)


STD_LINKS: Mapping[str, Callable[[Tensor], Tensor]] = {"softplus": F.softplus, "sigmoid": lambda raw: 2 * torch.sigmoid(raw / 2)}

Latent = CategoricalLatent | GaussianLatent
