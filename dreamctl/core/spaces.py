"""Spaces: their JSON, and the flat names of their leaves."""

import json
from collections.abc import Mapping

import numpy as np
from gymnasium import Space
from gymnasium import spaces as gym_spaces

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


def flat_spaces(space: Space[object], name: str = "", *, bare: str = "observation") -> dict[str, Space[object]]:
    """Leaf spaces by name, nested keys joined by `/`, entries of a Tuple named as Minari names them; a space without leaves is `bare`."""
    inside = _subspaces(space)
    if inside is None:
        return {name or bare: space}
    below = {f"{name}/{key}" if name else key: part for key, part in inside.items()}
    return {leaf: part for key, sub in below.items() for leaf, part in flat_spaces(sub, key).items()}


def flat_values(space: Space[object], value: object, name: str = "", *, bare: str = "observation") -> dict[str, Array]:
    """A value of `space` (batched or not) as the leaves that `flat_spaces` names."""
    inside = _subspaces(space)
    if inside is None:
        return {name or bare: np.asarray(value)}
    assert isinstance(value, Mapping | tuple | list)
    values = value.values() if isinstance(value, Mapping) else value
    parts = {key: value[key] for key in inside} if isinstance(value, Mapping) else dict(zip(inside, values, strict=True))
    leaves: dict[str, Array] = {}
    for key, sub in inside.items():
        leaves |= flat_values(sub, parts[key], f"{name}/{key}" if name else key)
    return leaves


def nested_value(space: Space[object], leaves: Mapping[str, Array], name: str = "", *, bare: str = "observation") -> object:
    """The value of `space` that `flat_values` took apart."""
    inside = _subspaces(space)
    if inside is None:
        return leaves[name or bare]
    parts = {key: nested_value(sub, leaves, f"{name}/{key}" if name else key) for key, sub in inside.items()}
    return tuple(parts.values()) if isinstance(space, gym_spaces.Tuple) else parts


def _subspaces(space: Space[object]) -> dict[str, Space[object]] | None:
    """What a Dict or Tuple holds, by name; None for a leaf."""
    if isinstance(space, gym_spaces.Dict):
        return {str(key): part for key, part in space.spaces.items()}
    if isinstance(space, gym_spaces.Tuple):
        return {f"_index_{i}": part for i, part in enumerate(space.spaces)}
    return None


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
