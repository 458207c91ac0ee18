"""Spaces: their JSON, and the flat names of their leaves."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium import spaces as gym_spaces

from dreamctl.core.errors import EnvironmentFailure, InputError
from dreamctl.core.experience import Array, TaskSpec

ChoiceSpace = gym_spaces.Discrete | gym_spaces.MultiDiscrete | gym_spaces.MultiBinary
LEARNED = gym_spaces.Box | ChoiceSpace
MOST_CHANNELS = 4  # of a picture, alpha included: so few rows are no picture
LARGEST_VALUE = 16 << 20  # bytes of a value of all spaces of a task
UNREADABLE = (KeyError, TypeError, ValueError, AssertionError, AttributeError, OverflowError, RecursionError)
LEARNED_NAMES = "Box, Discrete, MultiDiscrete and MultiBinary"


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
    except UNREADABLE as error:
        raise InputError(f"space JSON: not a space ({error}): {text[:80]}") from error


def spec_to_json(spec: TaskSpec) -> str:
    """A TaskSpec as JSON text, sorted, so that equal specs are equal texts."""
    return json.dumps(
        {
            "suite": spec.suite,
            "task": spec.task,
            "action_repeat": spec.action_repeat,
            "options": dict(spec.options),
            "observation": {name: _to_plain(space, short=True) for name, space in spec.observation.items()},
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
        return _spec_from_plain(json.loads(text))
    except UNREADABLE as error:
        raise InputError(f"task spec: not readable ({error}): {text[:80]}") from error


def _spec_from_plain(plain: Mapping[str, Any]) -> TaskSpec:
    named, repeat = (plain["suite"], plain["task"]), plain["action_repeat"]
    if not all(isinstance(name, str) and name.isprintable() for name in named):
        raise ValueError(f"suite and task are {named}, wanted names")
    if type(repeat) is not int or repeat < 1 or not isinstance(plain["options"], dict):
        raise ValueError(f"action_repeat is {repeat!r}, options are {plain['options']!r}")
    # A few letters can claim any size, and the bounds of a Box take all of it several times.
    claimed = sum(map(_claimed_bytes, [*plain["observation"].values(), plain["action"]]))
    if claimed > LARGEST_VALUE:
        raise ValueError(f"its spaces claim {claimed} bytes a step, more than {LARGEST_VALUE >> 20} MiB")
    observation = {name: _from_plain(space) for name, space in plain["observation"].items()}
    return TaskSpec(observation, _from_plain(plain["action"]), *named, repeat, plain["options"])


def _claimed_bytes(plain: Mapping[str, Any]) -> int:
    """Bytes of one value of a space, read off its plain form."""
    match plain["type"]:
        case "Box":
            return int(math.prod(plain["shape"])) * _number_dtype(plain["dtype"]).itemsize
        case "MultiBinary":
            return int(math.prod(plain["n"])) if isinstance(plain["n"], list) else int(plain["n"])
        case "Dict":
            return sum(map(_claimed_bytes, plain["subspaces"].values()))
        case "Tuple":
            return sum(map(_claimed_bytes, plain["subspaces"]))
    return 0


def _number_dtype(name: str) -> np.dtype[Any]:
    dtype = np.dtype(name)
    if dtype.kind not in "biuf" or dtype.shape:
        raise ValueError(f"dtype {name!r} is no number")
    return dtype


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
    """Leaf spaces by name, nested keys joined by `/`, entries of a Tuple named as Minari names them; a space without leaves is `bare`.

    Raises:
        EnvironmentFailure: keys that are no text, or two leaves of one name.
    """
    inside = _subspaces(space)
    if inside is None:
        return {name or bare: space}
    leaves: dict[str, Space[object]] = {}
    for key, part in inside.items():
        below = flat_spaces(part, f"{name}/{key}" if name else key)
        twice = [leaf for leaf in below for there in leaves if f"{there}/".startswith(f"{leaf}/") or f"{leaf}/".startswith(f"{there}/")]
        if twice:
            raise EnvironmentFailure(f"{type(space).__name__} space: two entries are called {twice[0]!r}; rename one of them")
        leaves |= below
    return leaves


def flat_values(value: object, name: str = "", *, bare: str = "observation") -> dict[str, Array]:
    """A value (batched or not) as the leaves that `flat_spaces` names: mappings and tuples are taken apart."""
    inside = {f"_index_{i}": part for i, part in enumerate(value)} if isinstance(value, tuple) else value
    if not isinstance(inside, Mapping):
        return {name or bare: np.asarray(value)}
    return {leaf: part for key, sub in inside.items() for leaf, part in flat_values(sub, f"{name}/{key}" if name else str(key)).items()}


def nested_value(space: Space[object], leaves: Mapping[str, Array], name: str = "", *, bare: str = "observation") -> object:
    """The value of `space` that `flat_values` took apart."""
    inside = _subspaces(space)
    if inside is None:
        return leaves[name or bare]
    parts = {key: nested_value(sub, leaves, f"{name}/{key}" if name else key) for key, sub in inside.items()}
    return tuple(parts.values()) if isinstance(space, gym_spaces.Tuple) else parts


def nested_space(leaves: Mapping[str, Space[object]]) -> Space[object]:
    """The space whose leaves these are, as far as their names tell; a lone `observation` is bare."""
    if list(leaves) == ["observation"]:
        return leaves["observation"]
    groups: dict[str, dict[str, Space[object]]] = {}
    for name, space in leaves.items():
        key, _, rest = name.partition("/")
        groups.setdefault(key, {})[rest] = space
    parts = {key: inside[""] if list(inside) == [""] else nested_space(inside) for key, inside in groups.items()}
    entries = [f"_index_{i}" for i in range(len(parts))]
    return gym_spaces.Tuple([parts[key] for key in entries]) if parts.keys() == set(entries) else gym_spaces.Dict(parts)


def _subspaces(space: Space[object]) -> dict[str, Space[object]] | None:
    """What a Dict or Tuple holds, by name, a Dict's keys sorted: a spec that was stored knows no other order; None for a leaf."""
    if isinstance(space, gym_spaces.Dict):
        odd = [key for key in space.spaces if not isinstance(key, str) or not key]
        if odd:
            raise EnvironmentFailure(f"Dict space: key {odd[0]!r} is no name; use text")
        return dict(sorted(space.spaces.items()))
    if isinstance(space, gym_spaces.Tuple):
        return {f"_index_{i}": part for i, part in enumerate(space.spaces)}
    return None


def stored_space(space: Space[object]) -> Space[object]:
    """The space as a replay holds its values: 64-bit (and 16-bit) floats as 32-bit ones, one choice as a 64-bit integer."""
    match space:
        case gym_spaces.Box() if np.issubdtype(space.dtype, np.floating) and space.dtype != np.float32:
            with np.errstate(over="ignore"):
                return gym_spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), space.shape, np.float32)
        case gym_spaces.Discrete():
            return gym_spaces.Discrete(int(space.n), start=int(space.start))
        case gym_spaces.Dict():
            return gym_spaces.Dict({key: stored_space(part) for key, part in space.spaces.items()})
        case gym_spaces.Tuple():
            return gym_spaces.Tuple([stored_space(part) for part in space.spaces])
    return space


def check_supported(spec: TaskSpec) -> None:
    """Refuse, by name, what no network here can be built for.

    Raises:
        EnvironmentFailure: an observation or the action is of a kind that is not learned from.
    """
    action = flat_spaces(spec.action, bare="")
    leaves = {f"observation {name!r}": space for name, space in spec.observation.items()}
    leaves |= {f"action {name!r}" if name else "the action": space for name, space in action.items()}
    for what, space in leaves.items():
        if not isinstance(space, LEARNED):
            raise EnvironmentFailure(f"{spec.name}: {what} is a {type(space).__name__} space; {LEARNED_NAMES} are learned from, wrap it")
        if vector_size(space) == 0:
            raise EnvironmentFailure(f"{spec.name}: {what} holds no numbers ({space}); leave it out")
    size = sum(vector_size(space) * np.dtype(space.dtype).itemsize for space in leaves.values())
    if size > LARGEST_VALUE:
        raise EnvironmentFailure(f"{spec.name}: a step is of {size >> 20} MiB, at most {LARGEST_VALUE >> 20} are stored; make it smaller")
    for what, found in (("observation", spec.observation), ("action", action)):
        if not found:
            raise EnvironmentFailure(f"{spec.name}: the {what} space is empty; give it an entry")
    _check_images(spec)


def _check_images(spec: TaskSpec) -> None:
    """Images have their channels last; those of one observation are seen through one encoder, their channels one after another."""
    images = [(name, space.shape) for name, space in spec.observation.items() if is_image(space)]
    for name, shape in images:
        assert shape is not None
        if len(shape) == 3 and shape[0] < shape[2] and (shape[0] <= MOST_CHANNELS or shape[1] == shape[2]):
            size = "x".join(map(str, shape))
            raise EnvironmentFailure(f"{spec.name}: image {name!r} is {size}, channels first; transpose it to (height, width, channels)")
    for name, shape in images[1:]:
        first, wanted = images[0]
        assert shape is not None
        assert wanted is not None
        if shape[:2] != wanted[:2]:
            sizes = f"image {name!r} is {shape[0]}x{shape[1]}, {first!r} is {wanted[0]}x{wanted[1]}"
            raise EnvironmentFailure(f"{spec.name}: {sizes}; resize them to one height and width")


def is_image(space: Space[object]) -> bool:
    """Whether the space is a uint8 Box of (height, width, channels) or (height, width)."""
    return isinstance(space, gym_spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3)


def vector_size(space: Space[object]) -> int:
    """How many numbers a Box is when flattened; a scalar Box is one."""
    assert space.shape is not None
    return int(np.prod(space.shape, dtype=np.int64))


def _to_plain(space: Space[object], *, short: bool = False) -> dict[str, object]:
    """As Minari has it; `short` writes equal bounds of an image as one number."""
    match space:
        case gym_spaces.Box():
            one = short and is_image(space)
            bounds = {side: (bound.flat[0] if one and (bound == bound.flat[0]).all() else bound).tolist() for side, bound in _bounds(space)}
            return {"type": "Box", "dtype": str(space.dtype), "shape": list(space.shape), **bounds}
        case gym_spaces.Discrete():
            return {"type": "Discrete", "dtype": "int64", "start": int(space.start), "n": int(space.n)}
        case gym_spaces.MultiDiscrete():
            return {"type": "MultiDiscrete", "dtype": str(space.dtype), "nvec": space.nvec.tolist(), "start": space.start.tolist()}
        case gym_spaces.MultiBinary():
            return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else [int(n) for n in space.n]}
        case gym_spaces.Dict():
            return {"type": "Dict", "subspaces": {key: _to_plain(part, short=short) for key, part in space.spaces.items()}}
        case gym_spaces.Tuple():
            return {"type": "Tuple", "subspaces": [_to_plain(part, short=short) for part in space.spaces]}
    raise EnvironmentFailure(f"{type(space).__name__} space: not supported; {LEARNED_NAMES}, Dict and Tuple are")


def _bounds(space: gym_spaces.Box) -> list[tuple[str, Array]]:
    return [("low", space.low), ("high", space.high)]


def _from_plain(plain: Mapping[str, Any]) -> Space[object]:
    match plain["type"]:
        case "Box":
            shape, dtype = tuple(plain["shape"]), _number_dtype(plain["dtype"])
            bounds = (np.array(plain[side], dtype) for side in ("low", "high"))
            low, high = (np.full(shape, bound) if bound.ndim == 0 else bound.reshape(shape) for bound in bounds)
            return gym_spaces.Box(low, high, shape, dtype.type)
        case "Discrete":
            return gym_spaces.Discrete(int(plain["n"]), start=int(plain["start"]))
        case "MultiDiscrete":
            dtype = np.dtype(plain["dtype"])
            return gym_spaces.MultiDiscrete(np.array(plain["nvec"], dtype), dtype.type, start=np.array(plain["start"], dtype))  # type: ignore[arg-type]
        case "MultiBinary":
            return gym_spaces.MultiBinary(plain["n"])
        case "Dict":
            return gym_spaces.Dict({key: _from_plain(part) for key, part in plain["subspaces"].items()})
        case "Tuple":
            return gym_spaces.Tuple([_from_plain(part) for part in plain["subspaces"]])
    raise ValueError(f"type {plain['type']!r}")
