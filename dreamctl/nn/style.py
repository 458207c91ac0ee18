"""The style of a network's layers: which norm follows a linear layer or a convolution, and which nonlinearity follows the norm."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from dreamctl.core.limits import Weight
from dreamctl.nn.distributions import full_precision

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "elu": F.elu, "relu": F.relu}


class FullPrecisionRMSNorm(nn.RMSNorm):
    """RMS norm of (..., size), computed in float32 also where half precision comes in and goes out."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) -> (..., size) of the same dtype."""
        y = F.rms_norm(full_precision(x), self.normalized_shape, self.weight, self.eps)
        return y if y.dtype == x.dtype else y.to(x.dtype)


class FullPrecisionLayerNorm(nn.LayerNorm):
    """Layer norm of (..., size), computed in float32 also where half precision comes in and goes out."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) -> (..., size) of the same dtype."""
        y = F.layer_norm(full_precision(x), self.normalized_shape, self.weight, self.bias, self.eps)
        return y if y.dtype == x.dtype else y.to(x.dtype)


@dataclass(frozen=True)
class RMSNorm:
    """x / √(mean(x²) + ε) · scale over the last axis (arXiv:1910.07467; DreamerV3)."""

    kind: ClassVar[str] = "rms"
    eps: Weight = 1e-4

    @property
    def bias(self) -> bool:
        """Whether the layer before it keeps its bias."""
        return True

    def module(self, size: int) -> nn.Module:
        """(..., size) -> (..., size)."""
        return FullPrecisionRMSNorm(size, eps=self.eps)


@dataclass(frozen=True)
class LayerNorm:
    """(x - mean(x)) / √(var(x) + ε) · scale + shift over the last axis (arXiv:1607.06450; DreamerV3, first version); no bias before it."""

    kind: ClassVar[str] = "layer"
    eps: Weight = 1e-3

    @property
    def bias(self) -> bool:
        """Whether the layer before it keeps its bias."""
        return False

    def module(self, size: int) -> nn.Module:
        """(..., size) -> (..., size)."""
        return FullPrecisionLayerNorm(size, eps=self.eps)


@dataclass(frozen=True)
class NoNorm:
    """x (Dreamer, DreamerV2)."""

    kind: ClassVar[str] = "none"

    @property
    def bias(self) -> bool:
        """Whether the layer before it keeps its bias."""
        return True

    def module(self, size: int) -> nn.Module:  # noqa: ARG002
        """(..., size) -> (..., size)."""
        return nn.Identity()


Norm = RMSNorm | LayerNorm | NoNorm


@dataclass(frozen=True)
class LayerStyle:
    """Sections `world_model.style` and `actor_critic.style`.

    Attributes:
        norm: kind of norm.
        activation: the nonlinearity.
    """

    norm: Norm = field(default_factory=RMSNorm)
    activation: Literal["silu", "elu", "relu"] = "silu"

    def activate(self, x: Tensor) -> Tensor:
        """The nonlinearity, elementwise."""
        return ACTIVATIONS[self.activation](x)
