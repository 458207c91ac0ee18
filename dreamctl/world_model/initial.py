"""Kinds of initial state: where the model stands before anything was seen, and where a reset puts it back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dreamctl.core.tensors import LatentState

# From h (N, D) to the likeliest z (N, Z) of the prior.
Mode = Callable[[Tensor], Tensor]
# From h (N, D), z (N, Z) and 1 where they are kept (N, 1), to both after the reset.
Reset = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class ZeroInitial:
    """h = 0 and z = 0, not even a choice (DreamerV3)."""

    kind: ClassVar[str] = "zeros"

    def module(self, recurrent: int, latent_size: int) -> "ZeroState":
        """What is learned of it: nothing."""
        return ZeroState(recurrent, latent_size)


@dataclass(frozen=True)
class LearnedInitial:
    """h = tanh(w) with w learned, z the likeliest of the prior there (DreamerV3, first version)."""

    kind: ClassVar[str] = "learned"

    def module(self, recurrent: int, latent_size: int) -> "LearnedState":  # noqa: ARG002
        """What is learned of it: w."""
        return LearnedState(recurrent)


InitialState = ZeroInitial | LearnedInitial


class ZeroState(nn.Module):
    """Zeros."""

    def __init__(self, recurrent: int, latent_size: int) -> None:
        super().__init__()
        self.sizes = recurrent, latent_size

    def state(self, batch: int, like: Tensor, mode: Mode) -> LatentState:  # noqa: ARG002
        """(batch, ·), in the dtype and on the device of `like`."""
        recurrent, latent_size = self.sizes
        return LatentState(like.new_zeros(batch, recurrent), like.new_zeros(batch, latent_size))

    def reset(self, mode: Mode) -> Reset:  # noqa: ARG002
        """Multiplies by 0 where nothing is kept."""
        return lambda h, z, kept: (h * kept, z * kept)


class LearnedState(nn.Module):
    """h_0 = tanh(w),  z_0 = mode p(z | h_0)."""

    def __init__(self, recurrent: int) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(recurrent))

    def state(self, batch: int, like: Tensor, mode: Mode) -> LatentState:
        """(batch, ·), in the dtype and on the device of `like`."""
        h, z = self._first(mode)
        return LatentState(h.to(like).expand(batch, -1), z.to(like).expand(batch, -1))

    def reset(self, mode: Mode) -> Reset:
        """Puts this state where nothing is kept."""
        first_h, first_z = self._first(mode)

        def put(h: Tensor, z: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
            keep = kept.bool()
            return torch.where(keep, h, first_h.to(h)), torch.where(keep, z, first_z.to(z))

        return put

    def _first(self, mode: Mode) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.raw).unsqueeze(0)
        return h, mode(h)
