"""Kinds of window start: what state a model is in when it reads the first row that it learns from."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dreamctl.core.experience import Array, Windows
from dreamctl.core.limits import Count

State_co = TypeVar("State_co", covariant=True)


class Latents(NamedTuple):
    """Latent states of single rows: h (B, D), z (B, Z), and which of them are known, (B,); the others are zeros."""

    h: NDArray[np.floating]
    z: NDArray[np.floating]
    known: NDArray[np.bool_]


class States(Protocol[State_co]):
    """What a model offers to the start of a window; `State_co` is its own kind of state, one a window."""

    def zero(self, windows: Windows) -> State_co:
        """The state before anything was seen."""

    def observed(self, windows: Windows) -> State_co:
        """The state after these rows, seen from the zero state; a constant."""

    def stored(self, windows: Windows) -> Latents:
        """What was stored for the first row of each window."""

    def given(self, latents: Latents) -> State_co:
        """Stored states as the model's own."""


@dataclass(frozen=True)
class Zero:
    """The zero state: `is_first` is set on the first row of a window."""

    kind: ClassVar[str] = "zero"
    anew: ClassVar[bool] = True
    remembers: ClassVar[bool] = False

    @property
    def context(self) -> int:
        """Rows that are drawn in front of those that are learned from."""
        return 0

    def begin(self, windows: Windows, states: States[State_co]) -> tuple[Windows, State_co]:
        """The rows to learn from, and the state before them."""
        return windows, states.zero(windows)


@dataclass(frozen=True)
class BurnIn:
    """The state after the rows in front, which are seen from the zero state and not learned from (R2D2, section 3).

    Attributes:
        steps: how many rows; `is_first` is set on the first of them, not on the rows that are learned from.
    """

    kind: ClassVar[str] = "burn_in"
    anew: ClassVar[bool] = True
    remembers: ClassVar[bool] = False
    steps: Count = 8

    @property
    def context(self) -> int:
        """Rows that are drawn in front of those that are learned from."""
        return self.steps

    def begin(self, windows: Windows, states: States[State_co]) -> tuple[Windows, State_co]:
        """The rows to learn from, and the state before them."""
        return windows.steps(self.steps), states.observed(windows.steps(0, self.steps))


@dataclass(frozen=True)
class StoredLatents:
    """The stored posterior state of the row in front; the states of the rows are stored anew after each update (DreamerV3 official code).

    Where nothing is stored (the row was never learned from nor acted on, or the side file is gone) the window begins anew, from the zero
    state with `is_first` set. A row in front that ended its episode needs no care: the next row's own `is_first` resets.
    """

    kind: ClassVar[str] = "latents"
    anew: ClassVar[bool] = False
    remembers: ClassVar[bool] = True

    @property
    def context(self) -> int:
        """Rows that are drawn in front of those that are learned from."""
        return 1

    def begin(self, windows: Windows, states: States[State_co]) -> tuple[Windows, State_co]:
        """The rows to learn from, and the state before them."""
        rest, latents = go_on(windows, states.stored(windows))
        return rest, states.given(latents)


Start = Zero | BurnIn | StoredLatents


def go_on(windows: Windows, latents: Latents) -> tuple[Windows, Latents]:
    """Windows without their row in front, going on from states that are given.

    Args:
        windows: (B, 1+T).
        latents: the states after the row in front, (B, ·).

    Returns:
        Windows (B, T), whose first previous action is that of the row in front, and the states before them: where they are not known,
        `is_first` is set and they are zeros.
    """
    is_first = windows.is_first.copy()
    is_first[:, 1] |= ~latents.known
    rest = windows.steps(1, is_first=is_first[:, 1:], prev_action=shift_actions(windows.action, is_first)[:, 1:])
    known = latents.known[:, None]
    return rest, Latents(np.where(known, latents.h, 0), np.where(known, latents.z, 0), latents.known)


def shift_actions(action: Array, is_first: NDArray[np.bool_]) -> Array:
    """The action that led to each row: prev_action[t] = action[t-1], and 0 where an episode or the window begins.

    Args:
        action: (B, T, ...) as stored; it is not changed.
        is_first: (B, T).

    Returns:
        (B, T, ...), an array of its own.
    """
    previous = np.zeros_like(action)
    previous[:, 1:] = action[:, :-1]
    previous[is_first] = 0
    return previous
