"""Building blocks: symlog, dense layers, and the block-diagonal linear layer."""

import torch
from torch import Tensor, nn

from dreamctl.nn.style import LayerStyle

# Restores unit variance after cutting a normal at two standard deviations.
TRUNCATION_GAIN = 1.1368
DEFAULT_STYLE = LayerStyle()


def symlog(x: Tensor) -> Tensor:
    """sign(x) ln(1 + |x|), elementwise (DreamerV3, robust predictions)."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


def symexp(x: Tensor) -> Tensor:
    """sign(x) (exp(|x|) - 1), elementwise, the inverse of `symlog`."""
    return torch.sign(x) * torch.expm1(torch.abs(x))


def product_dtype(weight: Tensor) -> torch.dtype:
    """The dtype that matrix products with this weight are computed in: autocast's where it is on, otherwise its own.

    For weights that are cut or permuted before a scan: autocast would cast such views anew at every step.
    """
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


def init_weight_(weight: Tensor, fan_in: int, scale: float = 1.0) -> Tensor:
    """Fill with a truncated normal of variance scale² / fan_in, cut at two standard deviations, in place."""
    with torch.no_grad():
        if scale == 0.0:
            return weight.zero_()
        std = TRUNCATION_GAIN * scale * fan_in**-0.5
        return nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


class Linear(nn.Linear):
    """Affine layer (..., in) -> (..., out), initialised by fan-in, bias 0; `scale` 0 starts it as the zero function."""

    def __init__(self, size_in: int, size_out: int, scale: float = 1.0, *, bias: bool = True) -> None:
        self.scale = scale
        super().__init__(size_in, size_out, bias)

    def reset_parameters(self) -> None:
        """Truncated normal kernel, zero bias."""
        init_weight_(self.weight, self.in_features, self.scale)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class BlockLinear(nn.Module):
    """Block-diagonal affine layer: chunk k of the output depends on chunk k of the input only.

    The weight is (G, in/G, out/G), the bias (out,). Its fan-in is the full `in`, not in/G.
    """

    def __init__(self, size_in: int, size_out: int, blocks: int) -> None:
        super().__init__()
        assert size_in % blocks == size_out % blocks == 0, f"{size_in} -> {size_out} does not divide into {blocks} blocks"
        self.blocks = blocks
        self.weight = nn.Parameter(torch.empty(blocks, size_in // blocks, size_out // blocks))
        self.bias = nn.Parameter(torch.zeros(size_out))
        init_weight_(self.weight, size_in)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in) -> (N, out)."""
        chunks = x.unflatten(-1, (self.blocks, -1)).transpose(0, 1)  # (G, N, in/G)
        product = torch.baddbmm(self.bias.view(self.blocks, 1, -1), chunks, self.weight)
        return product.transpose(0, 1).flatten(1)


class Dense(nn.Module):
    """act(norm(W x + b)), the norm over the last axis; RMS norm and SiLU unless the style says otherwise."""

    def __init__(self, size_in: int, size_out: int, style: LayerStyle = DEFAULT_STYLE) -> None:
        super().__init__()
        self.style = style
        self.linear = Linear(size_in, size_out, bias=style.norm.bias)
        self.norm = style.norm.module(size_out)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return self.activate(self.linear(x))

    def activate(self, x: Tensor) -> Tensor:
        """Norm and nonlinearity, for callers who split or hoist the product; (..., out) -> (..., out)."""
        return self.style.activate(self.norm(x))


class MLP(nn.Sequential):
    """`layers` dense blocks of `units`; (..., in) -> (..., units)."""

    def __init__(self, size_in: int, layers: int, units: int, style: LayerStyle = DEFAULT_STYLE) -> None:
        super().__init__(*(Dense(size_in if i == 0 else units, units, style) for i in range(layers)))
