"""The decoder: what a latent state looks like as an observation."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dreamctl.core.limits import Count
from dreamctl.core.tensors import LatentState
from dreamctl.nn.blocks import DEFAULT_STYLE, MLP, Linear
from dreamctl.nn.convolutions import Convolutions
from dreamctl.nn.style import LayerStyle
from dreamctl.world_model.images import ImageDecoder
from dreamctl.world_model.inputs import Inputs
from dreamctl.world_model.reconstruction import (
    ImageOutput,
    Reconstruction,
    SigmoidImage,
    SquaredDistance,
    image_loss,
    vector_loss,
    vector_mean,
)


@dataclass(frozen=True)
class DecoderConfig:
    """Section `world_model.decoder`.

    Attributes:
        layers, units: of the dense part, which all vectors share; 2 · units are between z and an image.
        blocks: of the block-diagonal layer between h and an image.
        reconstruction: kind of distance between what is predicted and what was seen; choices always cost their cross-entropy.
        image: kind of reading of the numbers of an image.
    """

    layers: Count = 3
    units: Count = 256
    blocks: Count = 8
    reconstruction: Reconstruction = field(default_factory=SquaredDistance)
    image: ImageOutput = field(default_factory=SigmoidImage)


class Decoder(nn.Module):
    """Dense blocks on [z, h] (z first, unlike the features of the heads) and one linear layer for each vector; stages for the images."""

    def __init__(
        self,
        config: DecoderConfig,
        inputs: Inputs,
        recurrent: int,
        latent: int,
        *,
        convolutions: Convolutions,
        style: LayerStyle = DEFAULT_STYLE,
    ) -> None:
        super().__init__()
        self.config = config
        self.parts = {name: codec.parts for name, codec in inputs.vectors.items()}
        self.mlp = MLP(recurrent + latent, config.layers, config.units, style) if self.parts else None
        self.out = nn.ModuleList(Linear(config.units, codec.size) for codec in inputs.vectors.values())
        self.image = (
            ImageDecoder(inputs, recurrent, latent, units=2 * config.units, blocks=config.blocks, convolutions=convolutions, style=style)
            if inputs.images
            else None
        )

    def forward(self, state: LatentState) -> dict[str, Tensor]:
        """Name -> (..., size), numbers in network units and logits of choices, or brightness (..., height, width, channels)."""
        predicted: dict[str, Tensor] = {}
        if self.mlp is not None:
            hidden = self.mlp(torch.cat([state.z, state.h], -1))
            predicted = {name: out(hidden) for name, out in zip(self.parts, self.out, strict=True)}
        if self.image is not None:
            predicted |= {name: self.config.image.mean(raw) for name, raw in self.image(state).items()}
        return predicted

    def losses(self, predicted: Mapping[str, Tensor], scaled: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Distance of each prediction (...) from what was seen, in network units or as uint8; `observation/<name>` -> (...)."""
        kind = self.config.reconstruction
        return {
            f"observation/{name}": vector_loss(kind, self.parts[name], value, scaled[name])
            if name in self.parts
            else image_loss(kind, value, scaled[name])
            for name, value in predicted.items()
        }

    def means(self, predicted: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Predictions as values: numbers in network units, probabilities of choices, brightness in [0, 1]."""
        return {
            name: vector_mean(self.parts[name], value) if name in self.parts else value.clamp(0, 1) for name, value in predicted.items()
        }
