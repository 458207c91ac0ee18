"""Heads: dense blocks and the linear layers that emit the numbers of a quantity."""

import torch
from torch import Tensor, nn

from dreamctl.nn.blocks import DEFAULT_STYLE, MLP, Linear
from dreamctl.nn.distributions import full_precision
from dreamctl.nn.style import LayerStyle


class Head(nn.Module):
    """`layers` dense blocks, then one linear layer for each of `sizes`, side by side; (..., F) -> (..., sum of sizes).

    Quantities of different meaning keep tensors of their own, because gradients are clipped by whole-tensor norms.
    """

    def __init__(self, features: int, *sizes: int, layers: int, units: int, scale: float = 1.0, style: LayerStyle = DEFAULT_STYLE) -> None:
        super().__init__()
        self.mlp = MLP(features, layers, units, style)
        self.out = nn.ModuleList(Linear(units if layers else features, size, scale) for size in sizes)

    def forward(self, features: Tensor) -> Tensor:
        """Raw numbers, to be read by a kind's `distribution`; the last layer is not rounded under autocast.

        While the outermost bins of a young critic still carry weight, a rounded logit turns its gradient.
        """
        hidden = full_precision(self.mlp(features))
        with torch.autocast(hidden.device.type, enabled=False):
            return torch.cat([out(hidden) for out in self.out], -1) if len(self.out) > 1 else self.out[0](hidden)


class NoHead(nn.Module):
    """The head of a quantity that takes no numbers; (..., F) -> (..., 0)."""

    def forward(self, features: Tensor) -> Tensor:
        """No numbers."""
        return features[..., :0]
