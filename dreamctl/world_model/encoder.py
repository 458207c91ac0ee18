"""The encoder: what is observed at one step, as one embedding."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dreamctl.core.limits import Count
from dreamctl.nn.blocks import MLP


@dataclass(frozen=True)
class EncoderConfig:
    """Section `world_model.encoder`.

    Attributes:
        layers, units: of the dense part, which reads all vectors at once.
    """

    layers: Count = 3
    units: Count = 256


class Encoder(nn.Module):
    """Scaled vectors, sorted by name and concatenated, through dense blocks."""

    def __init__(self, config: EncoderConfig, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.names = sorted(sizes)
        self.size = config.units
        self.mlp = MLP(sum(sizes.values()), config.layers, config.units)

    def forward(self, scaled: Mapping[str, Tensor]) -> Tensor:
        """Name -> (..., size) in network units, to an embedding (..., E)."""
        return self.mlp(torch.cat([scaled[name] for name in self.names], -1))
