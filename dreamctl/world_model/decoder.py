"""The decoder: what a latent state looks like as an observation."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dreamctl.core.limits import Count
from dreamctl.core.tensors import LatentState
from dreamctl.nn.blocks import MLP, Linear


@dataclass(frozen=True)
class DecoderConfig:
    """Section `world_model.decoder`.

    Attributes:
        layers, units: of the dense part, which all vectors share.
    """

    layers: Count = 3
    units: Count = 256


class Decoder(nn.Module):
    """Dense blocks on [z, h] (z first, unlike the features of the heads) and one linear layer for each vector."""

    def __init__(self, config: DecoderConfig, state_size: int, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.names = sorted(sizes)
        self.sizes = [sizes[name] for name in self.names]
        self.mlp = MLP(state_size, config.layers, config.units)
        self.out = nn.ModuleList(Linear(config.units, size) for size in self.sizes)

    def forward(self, state: LatentState) -> dict[str, Tensor]:
        """Name -> (..., size) in network units."""
        hidden = self.mlp(torch.cat([state.z, state.h], -1))
        return {name: out(hidden) for name, out in zip(self.names, self.out, strict=True)}

    def losses(self, predicted: Mapping[str, Tensor], scaled: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Σ (prediction - target)² of each vector, `observation/<name>` -> (...)."""
        return {f"observation/{name}": (predicted[name] - scaled[name]).square().sum(-1) for name in self.names}
