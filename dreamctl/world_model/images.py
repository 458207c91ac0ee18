"""The image side of encoder and decoder."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from dreamctl.core.errors import UsageError
from dreamctl.core.tensors import LatentState
from dreamctl.nn.blocks import BlockLinear, Dense, Linear
from dreamctl.nn.convolutions import ConvolutionLayer, Convolutions, ConvolutionStage
from dreamctl.nn.style import LayerStyle
from dreamctl.world_model.inputs import Inputs


class ImageEncoder(nn.Module):
    """All images, sorted by name and concatenated on the channels, through the convolution stages (DreamerV3).

    uint8 comes in; x / 255 - ½ is taken here and nowhere else.
    """

    def __init__(self, inputs: Inputs, convolutions: Convolutions, style: LayerStyle) -> None:
        super().__init__()
        self.names = sorted(inputs.images)
        sizes = [inputs.channels, *convolutions.channels]
        height, width = inputs.sides_left(convolutions)
        self.size = height * width * sizes[-1]
        stages = pairwise(sizes)
        self.stages = nn.ModuleList(ConvolutionStage(convolutions.down, a, b, convolutions.kernel, style) for a, b in stages)

    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        """Name -> (..., height, width, channels) uint8, to (..., E'), flat in the order (height, width, channels)."""
        seen = torch.cat([images[name] for name in self.names], -1)
        x = seen.flatten(0, -4).to(next(self.parameters()).dtype) / 255 - 0.5
        for stage in self.stages:
            x = stage(x)
        return x.reshape(*seen.shape[:-3], self.size)


class ImageDecoder(nn.Module):
    """A latent state as the images it stands for (DreamerV3).

        x_0 = act(norm(blockwise W_h h + W_z Dense(z))), (height₀, width₀, channels) of the encoder's last stage
        then, from the last stage to the first, doubled and convolved, the last time without norm and nonlinearity

    Each block of h fills a run of channels at every place. stages[i] leads to the channels that the encoder's stage i made.

    Args:
        inputs: whose images come out, their channels in the order of the observation space.
        recurrent, latent: D and Z.
        units: of the dense block between z and the places.
        blocks: of the block-diagonal layer between h and the places.
    """

    def __init__(
        self, inputs: Inputs, recurrent: int, latent: int, *, units: int, blocks: int, convolutions: Convolutions, style: LayerStyle
    ) -> None:
        super().__init__()
        self.images, self.blocks, self.style = inputs.images, blocks, style
        self.height, self.width = inputs.sides_left(convolutions)
        sizes, kernel = convolutions.channels, convolutions.kernel
        _check_blocks(blocks, recurrent, sizes[-1])
        places = self.height * self.width * sizes[-1]
        self.from_h = BlockLinear(recurrent, places, blocks)
        self.from_z = Dense(latent, units, style)
        self.from_z_out = Linear(units, places)
        self.norm = style.norm.module(sizes[-1])
        stages = (ConvolutionStage(convolutions.up, below, above, kernel, style) for above, below in pairwise(sizes))
        self.stages = nn.ModuleList(stages)
        self.out = ConvolutionLayer(convolutions.up, sizes[0], inputs.channels, kernel)

    def forward(self, state: LatentState) -> dict[str, Tensor]:
        """Name -> (..., height, width, channels), raw numbers."""
        lead = state.h.shape[:-1]
        h = self.from_h(state.h.flatten(0, -2)).view(-1, self.blocks, self.height, self.width, self._run)
        h = h.permute(0, 2, 3, 1, 4).flatten(3)  # (N, height₀, width₀, channels), the block is the slow part of the channel
        z = self.from_z_out(self.from_z(state.z.flatten(0, -2))).view(h.shape)
        x = self.style.activate(self.norm(h + z))
        for stage in reversed(self.stages):
            x = stage(x)
        raw = self.out(x)
        pieces = raw.unflatten(0, lead).split([channels for _, _, channels in self.images.values()], -1)
        return dict(zip(self.images, pieces, strict=True))

    @property
    def _run(self) -> int:
        return self.from_z_out.out_features // (self.height * self.width * self.blocks)


def _check_blocks(blocks: int, recurrent: int, channels: int) -> None:
    """Blocks must cut h and the channels of the last stage evenly.

    Raises:
        UsageError: they do not.
    """
    for what, size in {"world_model.rssm.recurrent": recurrent, "depth times the last multiplier": channels}.items():
        if size % blocks:
            raise UsageError(f"world_model.decoder.blocks={blocks}: {what} is {size}, wanted a multiple of {blocks}; change either")
