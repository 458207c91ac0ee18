"""Values of spaces <-> the numbers that networks read and emit.

Every observation and every action is a row of numbers made of parts (core/parts.py): plain numbers, and choices as one-hot groups. A
network needs to know nothing of spaces beyond its parts. A value of a Dict or Tuple is stored as one column a leaf; its numbers are those
of the leaves, sorted by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from gymnasium import Space
from gymnasium import spaces as gym_spaces
from numpy.typing import NDArray

from dreamctl.core.experience import Array
from dreamctl.core.parts import Choices, Floats, LeafCodec, Part, leaf_codec
from dreamctl.core.spaces import flat_spaces, is_image, nested_value, vector_size


@dataclass(frozen=True)
class ActionCodec:
    """Actions as a replay stores them <-> the (..., A) float32 numbers that a network reads and emits. Nothing but `clip` clips.

    The stored form of a plain space is an array of its shape, that of a Dict or Tuple a structured array with a field for each leaf.
    """

    space: Space[object]

    @cached_property
    def leaves(self) -> Mapping[str, LeafCodec]:
        """Name -> codec of each leaf, in order; a plain space is one leaf named `action`."""
        return {name: leaf_codec(space, scaled=True) for name, space in flat_spaces(self.space, bare="action").items()}

    @property
    def nested(self) -> bool:
        """Whether the space is a Dict or Tuple."""
        return isinstance(self.space, gym_spaces.Dict | gym_spaces.Tuple)

    @property
    def discrete(self) -> bool:
        """Whether all numbers are one-hot."""
        return all(isinstance(part, Choices) for part in self.parts)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """What the numbers are, from left to right."""
        return tuple(part for leaf in self.leaves.values() for part in leaf.parts)

    @cached_property
    def size(self) -> int:
        """A: how many numbers an action is."""
        return sum(leaf.size for leaf in self.leaves.values())

    @cached_property
    def dtype(self) -> np.dtype[np.generic]:
        """Of the stored form."""
        if not self.nested:
            return self.leaves["action"].dtype
        return np.dtype([(name, leaf.dtype, leaf.shape) for name, leaf in self.leaves.items()])

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the stored form of one action."""
        return () if self.nested else self.leaves["action"].shape

    def columns(self, action: Array) -> dict[str, Array]:
        """Each leaf of a stored action, a view (..., *leaf shape)."""
        fields = cast("NDArray[np.void]", action)
        return {name: fields[name] for name in self.leaves} if self.nested else {"action": action}

    def from_columns(self, columns: Mapping[str, Array]) -> Array:
        """The stored action whose leaves these are, in the dtypes that are stored."""
        name, leaf = next(iter(self.leaves.items()))
        action = self.zeros(*columns[name].shape[: columns[name].ndim - len(leaf.shape)])
        for name, column in self.columns(action).items():
            column[...] = columns[name]
        return action

    def flat_columns(self, numbers: Array) -> dict[str, Array]:
        """Each leaf of an action that is given as one row of all its stored numbers: (..., n) -> (..., *leaf shape), any dtype."""
        ends = np.cumsum([vector_size(leaf.space) for leaf in self.leaves.values()])
        pieces = np.split(numbers, ends[:-1], axis=-1)
        lead = numbers.shape[:-1]
        return {name: piece.reshape((*lead, *leaf.shape)) for (name, leaf), piece in zip(self.leaves.items(), pieces, strict=True)}

    @property
    def flat_size(self) -> int:
        """n: how many stored numbers an action is."""
        return sum(vector_size(leaf.space) for leaf in self.leaves.values())

    def encode(self, action: Array) -> Floats:
        """Stored (..., *shape) -> (..., A); the stored zero of an action that no one takes may be no choice, then it is all zeros."""
        if not self.nested:
            return self.leaves["action"].encode(action)
        return np.concatenate([self.leaves[name].encode(column) for name, column in self.columns(action).items()], -1)

    def decode(self, numbers: NDArray[np.floating]) -> Array:
        """(..., A) -> stored (..., *shape)."""
        if not self.nested:
            return self.leaves["action"].decode(numbers)
        pieces = np.split(numbers, np.cumsum([leaf.size for leaf in self.leaves.values()])[:-1], axis=-1)
        return self.from_columns({name: leaf.decode(piece) for (name, leaf), piece in zip(self.leaves.items(), pieces, strict=True)})

    def clip(self, action: Array) -> object:
        """Stored (..., *shape) -> what the environment takes: inside the bounds, in its own dtypes, nested as the space is."""
        if not self.nested:
            return self.leaves["action"].clip(action)
        return nested_value(self.space, {name: self.leaves[name].clip(column) for name, column in self.columns(action).items()})

    def zeros(self, *lead: int) -> Array:
        """The stored form of an action that no one takes: (*lead, *shape) zeros."""
        return np.zeros((*lead, *self.shape), self.dtype)

    def random(self, noise: np.random.Generator, lanes: int) -> Array:
        """Stored (lanes, *shape): uniform, standard normal where a Box has no bound."""
        if not self.nested:
            return self.leaves["action"].random(noise, lanes)
        return self.from_columns({name: leaf.random(noise, lanes) for name, leaf in self.leaves.items()})

    def outside(self, action: Array) -> dict[str, NDArray[np.bool_]]:
        """Which entries of each leaf of a stored action are not finite, or no choice that there is."""
        return {name: self.leaves[name].outside(column) for name, column in self.columns(action).items()}


@dataclass(frozen=True)
class ObservationCodec:
    """One observation that is no image <-> the (..., size) float32 numbers that a network reads; a Box stays in environment units."""

    space: Space[object]

    @cached_property
    def leaf(self) -> LeafCodec:
        """The codec of the space."""
        return leaf_codec(self.space, scaled=False)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What the numbers are, from left to right."""
        return self.leaf.parts

    @property
    def size(self) -> int:
        """How many numbers."""
        return self.leaf.size

    def encode(self, value: Array) -> Floats:
        """(..., *shape) -> (..., size)."""
        return self.leaf.encode(value)

    def decode(self, numbers: NDArray[np.floating]) -> Array:
        """(..., size) -> (..., *shape), in the dtype of the space: the nearest whole number inside, the greatest of each choice."""
        value = self.leaf.decode(numbers)
        assert self.space.dtype is not None
        return np.asarray(value, self.space.dtype) if self.space.dtype.kind == "f" else np.asarray(self.leaf.clip(value))


@dataclass(frozen=True)
class ImageCodec:
    """An image <-> the (..., height, width, channels) uint8 that a network reads, or the same in [0, 1] that it emits."""

    space: gym_spaces.Box

    def encode(self, value: Array) -> NDArray[np.uint8]:
        """(..., *shape) -> (..., height, width, channels): two dimensions get a channel."""
        lead = value.shape[: value.ndim - len(self.space.shape)]
        return np.asarray(value, np.uint8).reshape((*lead, *self.space.shape[:2], *(self.space.shape[2:] or (1,))))

    def decode(self, numbers: NDArray[np.floating]) -> Array:
        """(..., height, width, channels) in [0, 1] -> (..., *shape) uint8, the nearest."""
        lead = numbers.shape[:-3]
        return np.asarray(np.rint(np.clip(numbers, 0, 1) * 255), np.uint8).reshape((*lead, *self.space.shape))


def observation_codec(space: Space[object]) -> ObservationCodec | ImageCodec:
    """The codec of one observation."""
    return ImageCodec(space) if is_image(space) and isinstance(space, gym_spaces.Box) else ObservationCodec(space)
