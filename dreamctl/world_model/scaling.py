"""Kinds of scaling of vector observations, before the encoder and as the decoder's target."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dreamctl.nn.blocks import symexp, symlog

STD_FLOOR = 1e-3


@dataclass(frozen=True)
class SymlogOnly:
    """Vectors enter as symlog(x) (DreamerV3)."""

    kind: ClassVar[str] = "symlog"

    def statistics(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean 0 and standard deviation 1, each (size,), whatever the rows (N, size) hold."""
        return torch.zeros_like(rows[0]), torch.ones_like(rows[0])


@dataclass(frozen=True)
class Standardize:
    """Vectors enter as symlog((x - mean) / std) of the rows present at the first update, frozen afterwards.

    A pole's angle of 0.1 rad is worth next to nothing in an unscaled reconstruction, less than what the posterior pays for telling it.
    """

    kind: ClassVar[str] = "standardize"

    def statistics(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the rows (N, size), each (size,), the latter with a floor."""
        rows = rows.double()
        return rows.mean(0), rows.std(0, correction=0).clamp_min(STD_FLOOR)


VectorScaling = SymlogOnly | Standardize


class VectorScaler(nn.Module):
    """symlog((x - mean) / std) of each named vector, and back; the statistics are buffers, so they travel with the weights."""

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
        return {name: self.scale(name, observation[name]) for name in self.names}

    def scale(self, name: str, vector: Tensor) -> Tensor:
        """Environment units to network units, (..., size)."""
        mean, std = self._statistics(name)
        return symlog((vector - mean) / std)

    def unscale(self, name: str, vector: Tensor) -> Tensor:
        """Network units to environment units, (..., size)."""
        mean, std = self._statistics(name)
        return symexp(vector) * std + mean

    def _statistics(self, name: str) -> tuple[Tensor, Tensor]:
        i = self.names.index(name)
        return self.get_buffer(f"mean{i}"), self.get_buffer(f"std{i}")
