"""Parts of a value of a space, numbers and one-hot choices, and the codec of each space that has no leaves.

space            stored in a replay         numbers                                   parts
Box              its shape, float32         flat                                      Numbers(size)
Discrete(n)      int64                      one-hot                                   Choices(1, n)
MultiDiscrete    its shape, int64           one-hot for each entry                    Choices for each run of equal sizes
MultiBinary      its shape, int8            one-hot of two for each entry             Choices(size, 2)
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import cast

import numpy as np
from gymnasium import Space
from gymnasium import spaces as gym_spaces
from numpy.typing import NDArray

from dreamctl.core.experience import Array
from dreamctl.core.spaces import ChoiceSpace, vector_size

Floats = NDArray[np.float32]

# A bound beyond this only says that there is none; the affine image of ±3.4e38 would leave float32.
NO_BOUND = 1e30


@dataclass(frozen=True)
class Numbers:
    """A part of `size` plain numbers."""

    size: int


@dataclass(frozen=True)
class Choices:
    """A part of `groups` one-hot groups of `classes` each."""

    groups: int
    classes: int

    @property
    def size(self) -> int:
        """Numbers in all."""
        return self.groups * self.classes


Part = Numbers | Choices


@dataclass(frozen=True)
class NumberCodec:
    """A Box, flattened.

    Attributes:
        space: the Box.
        scaled: whether a bounded dimension is the affine image of [-1, 1], as actions are; an unbounded one is itself.
    """

    space: gym_spaces.Box
    scaled: bool

    @property
    def size(self) -> int:
        """How many numbers."""
        return vector_size(self.space)

    @property
    def parts(self) -> tuple[Part, ...]:
        """One part."""
        return (Numbers(self.size),)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """As values are stored."""
        return np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a value."""
        return tuple(self.space.shape)

    @property
    def bounded(self) -> NDArray[np.bool_]:
        """(size,): which numbers lie between two bounds."""
        low, high = self.space.low.ravel(), self.space.high.ravel()
        return (low > -NO_BOUND) & (high < NO_BOUND) & (high > low)

    def encode(self, value: Array) -> Floats:
        """(*lead, *shape) -> (*lead, size)."""
        flat = np.asarray(value, np.float32).reshape(*value.shape[: value.ndim - len(self.space.shape)], self.size)
        if not self.scaled:
            return flat
        middle, half = self._affine
        return ((flat - middle) / half).astype(np.float32, copy=False)

    def decode(self, numbers: NDArray[np.floating]) -> Array:
        """(*lead, size) -> (*lead, *shape)."""
        if self.scaled:
            middle, half = self._affine
            numbers = numbers * half + middle
        return numbers.astype(np.float32).reshape((*numbers.shape[:-1], *self.space.shape))

    def clip(self, value: Array) -> Array:
        """(*lead, *shape) inside the bounds, in the space's own dtype; whole numbers are the nearest ones."""
        low, high, dtype = self.space.low, self.space.high, self.space.dtype
        if dtype.kind == "f":
            return np.asarray(np.clip(value, low, high), dtype)
        # A float cannot tell the bounds of 64-bit integers apart: the greatest one that converts is taken, then clipped as an integer.
        last = 1.0 if dtype.kind == "b" else np.nextafter(256.0**dtype.itemsize / (2 if dtype.kind == "i" else 1), 0)
        inside = np.clip(np.rint(value, dtype=np.float64), low.astype(np.float64), np.minimum(high.astype(np.float64), last))
        return np.clip(np.asarray(inside, dtype), low, high)

    @property
    def corners(self) -> tuple[Array, Array]:
        """The least and the greatest value, 0 or what is nearest to it where a bound is infinite."""
        low, high = self.space.low, self.space.high
        inner = np.clip(np.zeros(self.shape), low, high)
        return np.where(np.isfinite(low), low, inner), np.where(np.isfinite(high), high, inner)

    def outside(self, value: Array) -> NDArray[np.bool_]:
        """(*lead, *shape) -> which entries no environment could take: bounds are clipped to, so only what is not finite."""
        return ~np.isfinite(value)

    def random(self, noise: np.random.Generator, lanes: int) -> Array:
        """(lanes, *shape): uniform between two bounds, standard normal where there is none."""
        uniform, normal = noise.uniform(-1, 1, (lanes, self.size)), noise.standard_normal((lanes, self.size))
        return self.decode(np.where(self.bounded, uniform, normal).astype(np.float32))

    @cached_property
    def _affine(self) -> tuple[Floats, Floats]:
        """Middle and half-width of each dimension; 0 and 1 where a bound is infinite."""
        low, high = self.space.low.astype(np.float64).ravel(), self.space.high.astype(np.float64).ravel()
        with np.errstate(invalid="ignore", over="ignore"):
            middle, half = (high + low) / 2, (high - low) / 2
        return np.where(self.bounded, middle, 0).astype(np.float32), np.where(self.bounded, half, 1).astype(np.float32)


@dataclass(frozen=True)
class ChoiceCodec:
    """Entries that each are one of several classes: Discrete, MultiDiscrete, MultiBinary."""

    space: ChoiceSpace

    @cached_property
    def classes(self) -> tuple[int, ...]:
        """Classes of each entry, flat."""
        if isinstance(self.space, gym_spaces.Discrete):
            return (int(self.space.n),)
        if isinstance(self.space, gym_spaces.MultiBinary):
            return (2,) * vector_size(self.space)
        return tuple(int(n) for n in self.space.nvec.ravel())

    @cached_property
    def start(self) -> NDArray[np.int64]:
        """First value of each entry, flat."""
        start = 0 if isinstance(self.space, gym_spaces.MultiBinary) else self.space.start
        return np.asarray(np.broadcast_to(np.asarray(start, np.int64).ravel(), len(self.classes)))

    @property
    def size(self) -> int:
        """How many numbers."""
        return sum(self.classes)

    @cached_property
    def parts(self) -> tuple[Choices, ...]:
        """A part for each run of entries with equally many classes."""
        return tuple(Choices(len(list(run)), classes) for classes, run in groupby(self.classes))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a value."""
        assert self.space.shape is not None
        return tuple(self.space.shape)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """As values are stored."""
        return np.dtype(np.int8 if isinstance(self.space, gym_spaces.MultiBinary) else np.int64)

    def encode(self, value: Array) -> Floats:
        """(*lead, *shape) -> (*lead, size); a value outside the space is all zeros: no choice at all."""
        lead = value.shape[: value.ndim - len(self.shape)]
        index = np.asarray(value, np.int64).reshape(*lead, len(self.classes)) - self.start
        return np.asarray(np.repeat(index, self.classes, axis=-1) == self._class_of_number, np.float32)

    def decode(self, numbers: NDArray[np.floating]) -> Array:
        """(*lead, size) -> (*lead, *shape); the greatest number of each entry wins."""
        lead = numbers.shape[:-1]
        runs = np.split(numbers, np.cumsum([part.size for part in self.parts])[:-1], axis=-1)
        groups = [run.reshape(*lead, part.groups, part.classes) for run, part in zip(runs, self.parts, strict=True)]
        index = np.concatenate([group.argmax(-1) for group in groups], -1) + self.start
        return np.asarray(index.reshape((*lead, *self.shape)), self.dtype)

    def clip(self, value: Array) -> Array:
        """As it is, in the space's own dtype; a lone Discrete one as a scalar, which may be a key or an index."""
        taken: Array = np.asarray(value, self.space.dtype)[()]
        return taken

    @property
    def corners(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first and the last choice of every entry."""
        first = self.start.reshape(self.shape)
        return first, first + np.array(self.classes).reshape(self.shape) - 1

    def outside(self, value: Array) -> NDArray[np.bool_]:
        """(*lead, *shape) -> which entries are no choice that there is."""
        first, last = self.corners
        number = cast("NDArray[np.float64]", value)
        known: NDArray[np.bool_] = (number >= first) & (number <= last) & (np.floor(number) == number)
        return ~known

    def random(self, noise: np.random.Generator, lanes: int) -> Array:
        """(lanes, *shape): every class of an entry is as likely as any other."""
        index = np.stack([noise.integers(start, start + n, lanes) for start, n in zip(self.start, self.classes, strict=True)], -1)
        return np.asarray(index.reshape((lanes, *self.shape)), self.dtype)

    @cached_property
    def _class_of_number(self) -> NDArray[np.int64]:
        return np.concatenate([np.arange(n) for n in self.classes])


LeafCodec = NumberCodec | ChoiceCodec


def leaf_codec(space: Space[object], *, scaled: bool) -> LeafCodec:
    """The codec of a space that is no Dict, Tuple or image."""
    if isinstance(space, gym_spaces.Box):
        return NumberCodec(space, scaled)
    assert isinstance(space, ChoiceSpace), space
    return ChoiceCodec(space)
