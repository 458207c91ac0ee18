"""Spaces: their JSON, their flat names, and how an action in environment units becomes numbers for a network and back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from gymnasium import Space
from gymnasium import spaces as gym_spaces
from numpy.typing import NDArray

from dreamctl.core.errors import EnvironmentFailure, InputError
from dreamctl.core.experience import Array, TaskSpec


def space_to_json(space: Space[object]) -> str:
    """The space as JSON, byte for byte as Minari's `serialize_space` writes it."""
    return json.dumps(_to_plain(space))


def space_from_json(text: str) -> Space[object]:
    """The space that `space_to_json` wrote.

    Raises:
        InputError: the text is not a space.
    """
    try:
        return _from_plain(json.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"space JSON: not a space ({error}): {text[:80]}") from error


def spec_to_json(spec: TaskSpec) -> str:
    """A TaskSpec as JSON text, sorted, so that equal specs are equal texts."""
    return json.dumps(
        {
            "suite": spec.suite,
            "task": spec.task,
            "action_repeat": spec.action_repeat,
            "options": dict(spec.options),
            "observation": {name: _to_plain(space) for name, space in spec.observation.items()},
            "action": _to_plain(spec.action),
        },
        sort_keys=True,
    )


def spec_from_json(text: str) -> TaskSpec:
    """The TaskSpec that `spec_to_json` wrote.

    Raises:
        InputError: the text is not a task spec.
    """
    try:
        plain = json.loads(text)
        return TaskSpec(
            observation={name: _from_plain(space) for name, space in plain["observation"].items()},
            action=_from_plain(plain["action"]),
            suite=plain["suite"],
            task=plain["task"],
            action_repeat=plain["action_repeat"],
            options=plain["options"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"task spec: not readable ({error}): {text[:80]}") from error


def spec_difference(found: TaskSpec, wanted: TaskSpec) -> str | None:
    """The first thing in which two specs differ, in words; None where the same networks fit both."""
    for what in ("suite", "task", "action_repeat"):
        if getattr(found, what) != getattr(wanted, what):
            return f"{what} is {getattr(found, what)!r}, wanted {getattr(wanted, what)!r}"
    left = {"action": found.action, **{f"observation {k!r}": v for k, v in found.observation.items()}}
    right = {"action": wanted.action, **{f"observation {k!r}": v for k, v in wanted.observation.items()}}
    for name in sorted(left.keys() | right.keys()):
        if left.get(name) != right.get(name):
            return f"{name} is {left.get(name)}, wanted {right.get(name)}"
    return None


def flat_spaces(space: Space[object], name: str = "") -> dict[str, Space[object]]:
    """Leaf spaces by name, nested keys joined by `/`; a bare space is named `observation`."""
    if isinstance(space, gym_spaces.Dict):
        inside = {f"{name}/{key}" if name else str(key): part for key, part in space.spaces.items()}
        return {leaf: part for key, sub in inside.items() for leaf, part in flat_spaces(sub, key).items()}
    return {name or "observation": space}


def flat_values(space: Space[object], value: object) -> dict[str, Array]:
    """A value of `space` (batched or not) as the leaves that `flat_spaces` names."""
    if isinstance(space, gym_spaces.Dict):
        assert isinstance(value, Mapping)
        leaves: dict[str, Array] = {}
        for key, sub in space.spaces.items():
            inner = flat_values(sub, value[key])
            plain = not isinstance(sub, gym_spaces.Dict)
            leaves |= {str(key) if plain else f"{key}/{leaf}": part for leaf, part in inner.items()}
        return leaves
    return {"observation": np.asarray(value)}


def check_supported(spec: TaskSpec) -> None:
    """Refuse, by name, what no network here can be built for.

    Raises:
        EnvironmentFailure: an observation or the action is of a kind that is not learned from.
    """
    for name, space in spec.observation.items():
        if not isinstance(space, gym_spaces.Box):
            kind = type(space).__name__
            raise EnvironmentFailure(f"{spec.name}: observation {name!r} is a {kind} space; Box vectors are learned from, wrap it")
        if is_image(space):
            raise EnvironmentFailure(f"{spec.name}: observation {name!r} is an image {space.shape}; vectors are learned from, wrap it")
    if not isinstance(spec.action, gym_spaces.Box | gym_spaces.Discrete):
        kind = type(spec.action).__name__
        raise EnvironmentFailure(f"{spec.name}: the action is a {kind} space; Box and Discrete are acted in, wrap it")


def is_image(space: Space[object]) -> bool:
    """Whether the space is a uint8 Box of (height, width, channels) or (height, width)."""
    return isinstance(space, gym_spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3)


def vector_size(space: Space[object]) -> int:
    """How many numbers a Box is when flattened; a scalar Box is one."""
    assert space.shape is not None
    return int(np.prod(space.shape, dtype=np.int64))


# A bound beyond this only says that there is none; the affine image of ±3.4e38 would leave float32.
NO_BOUND = 1e30


@dataclass(frozen=True)
class ActionCodec:
    """Actions in environment units <-> the (..., A) float32 numbers that a network reads and emits.

    Discrete n is one-hot of A = n. A bounded Box is the affine image of [-1, 1]; an unbounded one is itself. Nothing is clipped here.
    """

    space: Space[object]

    @property
    def discrete(self) -> bool:
        """Whether the numbers are one-hot."""
        return isinstance(self.space, gym_spaces.Discrete)

    @property
    def size(self) -> int:
        """A: how many numbers an action is."""
        return int(self.space.n) if isinstance(self.space, gym_spaces.Discrete) else vector_size(self.space)

    @property
    def bounded(self) -> NDArray[np.bool_]:
        """(A,): which numbers of a Box lie between two bounds."""
        assert isinstance(self.space, gym_spaces.Box)
        low, high = self.space.low.ravel(), self.space.high.ravel()
        return (low > -NO_BOUND) & (high < NO_BOUND) & (high > low)

    def encode(self, action: Array) -> NDArray[np.float32]:
        """(..., *action) in environment units -> (..., A)."""
        if isinstance(self.space, gym_spaces.Discrete):
            # The stored zero of an action that no one takes may be no choice at all: it becomes all zeros then.
            index = np.asarray(action, np.int64) - int(self.space.start)
            return np.asarray(index[..., None] == np.arange(self.size), np.float32)
        middle, half = self._affine()
        flat = np.asarray(action, np.float32).reshape(*action.shape[: action.ndim - self._rank], self.size)
        return ((flat - middle) / half).astype(np.float32)

    def decode(self, numbers: NDArray[np.floating]) -> Array:
        """(..., A) -> (..., *action) in environment units; the greatest number wins when discrete."""
        if isinstance(self.space, gym_spaces.Discrete):
            return np.asarray(numbers.argmax(-1) + int(self.space.start), np.int64)
        middle, half = self._affine()
        assert self.space.shape is not None
        return (numbers * half + middle).astype(np.float32).reshape(*numbers.shape[:-1], *self.space.shape)

    def clip(self, action: Array) -> Array:
        """(..., *action) as the environment takes it: a Box's actions inside its bounds and in its dtype."""
        if isinstance(self.space, gym_spaces.Box):
            return np.asarray(np.clip(action, self.space.low, self.space.high), self.space.dtype)
        return action

    def zeros(self, *lead: int) -> Array:
        """The stored form of an action that no one takes: (*lead, *action) zeros."""
        assert self.space.shape is not None
        return np.zeros((*lead, *self.space.shape), np.int64 if self.discrete else np.float32)

    @property
    def _rank(self) -> int:
        assert self.space.shape is not None
        return len(self.space.shape)

    def _affine(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Middle and half-width of each dimension; 0 and 1 where a bound is infinite."""
        assert isinstance(self.space, gym_spaces.Box)
        low, high = self.space.low.astype(np.float64).ravel(), self.space.high.astype(np.float64).ravel()
        bounded = self.bounded
        with np.errstate(invalid="ignore", over="ignore"):
            middle, half = (high + low) / 2, (high - low) / 2
        return np.where(bounded, middle, 0).astype(np.float32), np.where(bounded, half, 1).astype(np.float32)


def _to_plain(space: Space[object]) -> dict[str, object]:
    if isinstance(space, gym_spaces.Box):
        bounds = {"low": space.low.tolist(), "high": space.high.tolist()}
        return {"type": "Box", "dtype": str(space.dtype), "shape": list(space.shape), **bounds}
    if isinstance(space, gym_spaces.Discrete):
        return {"type": "Discrete", "dtype": "int64", "start": int(space.start), "n": int(space.n)}
    if isinstance(space, gym_spaces.Dict):
        return {"type": "Dict", "subspaces": {key: _to_plain(sub) for key, sub in space.spaces.items()}}
    raise EnvironmentFailure(f"{type(space).__name__} space: not supported; Box, Discrete and Dict are")


def _from_plain(plain: Mapping[str, object]) -> Space[object]:
    match plain["type"]:
        case "Box":
            shape: tuple[int, ...] = tuple(plain["shape"])  # type: ignore[arg-type]
            dtype = np.dtype(str(plain["dtype"]))
            low, high = (np.array(plain[key], dtype).reshape(shape) for key in ("low", "high"))
            return gym_spaces.Box(low, high, shape, dtype.type)  # type: ignore[arg-type]
        case "Discrete":
            return gym_spaces.Discrete(int(plain["n"]), start=int(plain["start"]))  # type: ignore[call-overload, no-any-return]
        case "Dict":
            inside = plain["subspaces"]
            assert isinstance(inside, Mapping)
            return gym_spaces.Dict({key: _from_plain(sub) for key, sub in inside.items()})
    raise ValueError(f"type {plain['type']!r}")
