"""The encoder: what is observed at one step, as one embedding."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dreamctl.core.limits import Count
from dreamctl.nn.blocks import DEFAULT_STYLE, MLP
from dreamctl.nn.convolutions import Convolutions
from dreamctl.nn.style import LayerStyle
from dreamctl.world_model.images import ImageEncoder
from dreamctl.world_model.inputs import Inputs


@dataclass(frozen=True)
class EncoderConfig:
    """Section `world_model.encoder`.

    Attributes:
        layers, units: of the dense part, which reads all vectors at once.
    """

    layers: Count = 3
    units: Count = 256


class Encoder(nn.Module):
    """[vector part, image part]: vectors, sorted by name and concatenated, through dense blocks; images through convolution stages."""

    def __init__(self, config: EncoderConfig, inputs: Inputs, convolutions: Convolutions, style: LayerStyle = DEFAULT_STYLE) -> None:
        super().__init__()
        self.names = list(inputs.vectors)
        width = sum(codec.size for codec in inputs.vectors.values())
        self.mlp = MLP(width, config.layers, config.units, style) if inputs.vectors else None
        self.image = ImageEncoder(inputs, convolutions, style) if inputs.images else None
        self.size = (config.units if self.mlp else 0) + (self.image.size if self.image else 0)

    def forward(self, scaled: Mapping[str, Tensor]) -> Tensor:
        """Name -> (..., size) in network units or (..., height, width, channels) uint8, to an embedding (..., E)."""
        embedding = []
        if self.mlp is not None:
            embedding.append(self.mlp(torch.cat([scaled[name] for name in self.names], -1)))
        if self.image is not None:
            embedding.append(self.image(scaled))
        return torch.cat(embedding, -1) if len(embedding) > 1 else embedding[0]
