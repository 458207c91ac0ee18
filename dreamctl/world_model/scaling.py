"""Kinds of scaling of vector observations, before the encoder and as the decoder's target."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dreamctl.nn.blocks import symexp, symlog

STD_FLOOR = 1e-3


class _Unfitted:
    """No statistics: mean 0 and standard deviation 1."""

    def statistics(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each (size,), whatever the rows (N, size) hold."""
        return torch.zeros_like(rows[0]), torch.ones_like(rows[0])


class _Fitted:
    """The statistics of the rows present at the first update, frozen afterwards."""

    def statistics(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the rows (N, size), each (size,), the latter with a floor."""
        rows = rows.double()
        return rows.mean(0), rows.std(0, correction=0).clamp_min(STD_FLOOR)


class _Squashed:
    """symlog, which keeps large values small."""

    def squash(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return symlog(x)

    def unsquash(self, x: Tensor) -> Tensor:
        """The inverse of `squash`."""
        return symexp(x)


class _Plain:
    """No squashing."""

    def squash(self, x: Tensor) -> Tensor:
        """As it is."""
        return x

    def unsquash(self, x: Tensor) -> Tensor:
        """The inverse of `squash`."""
        return x


@dataclass(frozen=True)
class SymlogOnly(_Unfitted, _Squashed):
    """Vectors enter as symlog(x) (DreamerV3)."""

    kind: ClassVar[str] = "symlog"


@dataclass(frozen=True)
class Standardize(_Fitted, _Squashed):
    """Vectors enter as symlog((x - mean) / std) of the rows present at the first update, frozen afterwards.

    A pole's angle of 0.1 rad is worth next to nothing in an unscaled reconstruction, less than what the posterior pays for telling it.
    """

    kind: ClassVar[str] = "standardize"


@dataclass(frozen=True)
class Raw(_Unfitted, _Plain):
    """Vectors enter as they are (Dreamer, DreamerV2)."""

    kind: ClassVar[str] = "raw"


@dataclass(frozen=True)
class StandardizeOnly(_Fitted, _Plain):
    """Vectors enter as (x - mean) / std of the rows present at the first update, frozen afterwards."""

    kind: ClassVar[str] = "standardize_only"


VectorScaling = SymlogOnly | Standardize | Raw | StandardizeOnly


class VectorScaler(nn.Module):
    """squash((x - mean) / std) of each vector of plain numbers, and back; the statistics are buffers, so they travel with the weights.

    Choices and images pass as they are.
    """

    def __init__(self, kind: VectorScaling, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.kind = kind
        self.names = sorted(sizes)
        for i, name in enumerate(self.names):
            self.register_buffer(f"mean{i}", torch.zeros(sizes[name]))
            self.register_buffer(f"std{i}", torch.ones(sizes[name]))
        self.register_buffer("fitted", torch.tensor(False))

    def fit(self, rows: Mapping[str, Tensor]) -> None:
        """Set the statistics from rows (N, size) by name, once; later calls change nothing."""
        if bool(self.fitted):
            return
        for name in self.names:
            mean, std = self._statistics(name)
            new_mean, new_std = self.kind.statistics(rows[name])
            mean.copy_(new_mean)
            std.copy_(new_std)
        self.get_buffer("fitted").fill_(True)

    def forward(self, observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name -> (..., size) in environment units, to network units."""
        return {name: self.scale(name, value) for name, value in observation.items()}

    def scale(self, name: str, vector: Tensor) -> Tensor:
        """Environment units to network units, (..., size)."""
        if name not in self.names:
            return vector
        mean, std = self._statistics(name)
        return self.kind.squash((vector - mean) / std)

    def unscale(self, name: str, vector: Tensor) -> Tensor:
        """Network units to environment units, (..., size)."""
        if name not in self.names:
            return vector
        mean, std = self._statistics(name)
        return self.kind.unsquash(vector) * std + mean

    def _statistics(self, name: str) -> tuple[Tensor, Tensor]:
        i = self.names.index(name)
        return self.get_buffer(f"mean{i}"), self.get_buffer(f"std{i}")
