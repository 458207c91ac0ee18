"""Types that flow between the parts as torch tensors, and the alphabet of shapes.

    B  batch            N  imagination starts, N = B·T or fewer     F  features, F = D + Z
    T  time             H  imagination horizon                      M  bins of a two-hot scalar
    D  width of h       S  groups of the latent, C their classes    E  embedding of an observation
    Z  width of z, Z = S·C when categorical                         A  numbers of an action
    G  blocks of a block-diagonal layer                             U  units of a hidden layer

Images are spelled (height, width, 3), so that H is never two things.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor


class _ShapeRepr:
    """A repr that shows shapes instead of numbers."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{field.name}={_shape(getattr(self, field.name))}" for field in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({shown})"


def _shape(value: object) -> str:
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_shape(part)}" for key, part in value.items()) + "}"
    return repr(value)


@dataclass(frozen=True, repr=False)
class Batch(_ShapeRepr):
    """Windows as tensors; leading axes (B, T), actions as the numbers of `ActionCodec`.

    Attributes:
        observation: name -> (B, T, size) numbers of `ObservationCodec`, or an image (B, T, height, width, channels) uint8.
        prev_action: (B, T, A): the action that led here, zeros where `is_first`.
        reward: (B, T).
        is_first, is_last, terminated: (B, T) bool.
    """

    observation: Mapping[str, Tensor]
    prev_action: Tensor
    reward: Tensor
    is_first: Tensor
    is_last: Tensor
    terminated: Tensor

    def __post_init__(self) -> None:
        lead = self.reward.shape
        columns = [self.prev_action, self.is_first, self.is_last, self.terminated, *self.observation.values()]
        assert all(column.shape[:2] == lead for column in columns), "columns of a batch differ in their leading axes"


@dataclass(frozen=True, repr=False)
class LatentState(_ShapeRepr):
    """The model's state: deterministic h (..., D) and stochastic z (..., Z), flat."""

    h: Tensor
    z: Tensor

    @cached_property
    def features(self) -> Tensor:
        """(..., D+Z), h first."""
        return torch.cat([self.h, self.z], -1)

    def detach(self) -> "LatentState":
        """The same state, constant."""
        return LatentState(self.h.detach(), self.z.detach())

    def flatten(self, last: int | None = None) -> "LatentState":
        """(B, T, ·) -> (B·K, ·), batch first, of the last K steps (all by default)."""
        steps = slice(None) if last is None else slice(-last, None)
        return LatentState(self.h[:, steps].flatten(0, 1), self.z[:, steps].flatten(0, 1))


@dataclass(frozen=True, repr=False)
class Rollout(_ShapeRepr):
    """A dream: states s_0 … s_H, index 0 is the start; actions a_0 … a_{H-1} led through it, a_H is drawn but never taken.

    Attributes:
        state: (N, H+1).
        action: (N, H+1, A).
        reward: (N, H+1), predicted on arriving at each state.
        continue_prob: (N, H+1), the discount is already inside.
        discount: the factor inside continue_prob that weights divide out; 1 when the continue label itself holds the discount.
    """

    state: LatentState
    action: Tensor
    reward: Tensor
    continue_prob: Tensor
    discount: float
