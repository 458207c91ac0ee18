"""Kinds of convolution stages: how an image is halved on its way in, and doubled on its way out.

Images are (N, height, width, channels) between layers, which is channels-last memory for a convolution and what a norm over the channels
wants. Every layer stores the one official tensor, (out, in, k, k); other forms of it are computed in the forward pass.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreamctl.core.limits import Count
from dreamctl.nn.blocks import DEFAULT_STYLE, init_weight_
from dreamctl.nn.style import LayerStyle

# From an image (N, C, height, width), weight (out, C, k, k) and bias (out,) or None to half or twice the size.
Resize = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class _Stages:
    """What every kind has: its channels.

    Attributes:
        depth: channels of stage i are depth · multipliers[i].
        multipliers: one for each stage; every stage halves the image.
    """

    depth: Count = 16
    multipliers: tuple[Count, ...] = (2, 3, 4, 4)

    def __post_init__(self) -> None:
        if not self.multipliers:
            raise ValueError("multipliers=(): wanted at least one stage")

    @property
    def channels(self) -> list[int]:
        """Of each stage."""
        return [self.depth * multiplier for multiplier in self.multipliers]


@dataclass(frozen=True)
class PooledConvolutions(_Stages):
    """Convolution and 2x2 max-pool on the way in, nearest doubling and convolution on the way out (DreamerV3).

    Attributes:
        depth, multipliers: as of all stages.
        kernel: k, width of every kernel.
    """

    kind: ClassVar[str] = "pooled"
    kernel: Literal[3, 5, 7] = 5

    def down(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """max-pool(x * weight + bias), padded to equal size before the pool; (N, C, height, width) -> (N, out, height/2, width/2)."""
        return F.max_pool2d(F.conv2d(x, weight, bias, padding=self.kernel // 2), 2)

    def up(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """nearest(x) * weight + bias, padded to equal size; (N, C, height, width) -> (N, out, 2 height, 2 width).

        Computed without doubling x: an output pixel of either parity sees only k // 2 + 1 different pixels along an axis, so the kernel's
        taps that fall on the same pixel are added first, and the four parities are four sets of channels (sub-pixel convolution).
        """
        folded = fold_kernel(weight)
        bias = None if bias is None else bias.repeat_interleave(4)
        return F.pixel_shuffle(F.conv2d(x, folded, bias, padding=folded.shape[-1] // 2), 2)


@dataclass(frozen=True)
class StridedConvolutions(_Stages):
    """Convolution of stride 2 on the way in, zeros between the pixels and convolution on the way out (DreamerV3, `strided`).

    Attributes:
        depth, multipliers: as of all stages.
        kernel: k, width of every kernel.
    """

    kind: ClassVar[str] = "strided"
    kernel: Literal[3, 4, 5, 6] = 5

    def down(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Every second pixel of x * weight + bias; (N, C, height, width) -> (N, out, height/2, width/2).

        An even side is padded by k - 2 in all, the smaller half in front: (1, 2) for k = 5.
        """
        front = (self.kernel - 2) // 2
        back = self.kernel - 2 - front
        return F.conv2d(F.pad(x, (front, back, front, back)), weight, bias, stride=2)

    def up(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x with its pixels at the odd places among zeros, * weight + bias; (N, C, height, width) -> (N, out, 2 height, 2 width).

        Computed as the transposed convolution of the reversed kernel, which skips the zeros.
        """
        reverse = weight.flip(-2, -1).transpose(0, 1)
        padding = self.kernel - 2 - (self.kernel - 1) // 2
        y = F.conv_transpose2d(x, reverse, bias, stride=2, padding=padding)
        return y[..., : 2 * x.shape[-2], : 2 * x.shape[-1]]


Convolutions = PooledConvolutions | StridedConvolutions


def fold_kernel(weight: Tensor) -> Tensor:
    """The kernel (out, in, k, k) after nearest doubling, as one before it: (4 out, in, m, m), row and column parity fastest.

    With reach r = k // 2, output pixel 2p + a reads the doubled image at 2p + a + j - r, which is pixel p + ⌊(a + j - r) / 2⌋.
    """
    size = weight.shape[-1]
    reach, parity, tap = size // 2, torch.arange(2, device=weight.device), torch.arange(size, device=weight.device)
    pixels = torch.arange(-reach // 2, (size - reach) // 2 + 1, device=weight.device)
    seen = (parity.view(2, 1, 1) + tap - reach).div(2, rounding_mode="floor")
    taps = (seen == pixels.view(1, -1, 1)).to(weight.dtype)  # (2, m, k)
    rows = torch.einsum("atj,oijk->oaitk", taps, weight)
    return torch.einsum("buk,oaitk->oabitu", taps, rows).flatten(0, 2)


class ConvolutionLayer(nn.Module):
    """A convolution that halves or doubles its image; (N, height, width, in) -> (N, height', width', out).

    The weight is (out, in, k, k), its fan-in k · k · in, the bias (out,).
    """

    def __init__(self, resize: Resize, size_in: int, size_out: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__()
        self.resize = resize
        self.weight = nn.Parameter(torch.empty(size_out, size_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(size_out)) if bias else None
        init_weight_(self.weight, size_in * kernel * kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Half or twice the size."""
        return self.resize(x.permute(0, 3, 1, 2), self.weight, self.bias).permute(0, 2, 3, 1)


class ConvolutionStage(nn.Module):
    """Convolution, resize, norm over the channels, nonlinearity; (N, height, width, in) -> (N, height', width', out)."""

    def __init__(self, resize: Resize, size_in: int, size_out: int, kernel: int, style: LayerStyle = DEFAULT_STYLE) -> None:
        super().__init__()
        self.style = style
        self.conv = ConvolutionLayer(resize, size_in, size_out, kernel, bias=style.norm.bias)
        self.norm = style.norm.module(size_out)

    def forward(self, x: Tensor) -> Tensor:
        """Half or twice the size."""
        return self.style.activate(self.norm(self.conv(x)))
