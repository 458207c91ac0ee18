"""Spaces of which nothing but arrays is known: what they are taken to be, and told to a person."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from gymnasium import Space
from gymnasium import spaces as gym_spaces

from dreamctl.core.errors import InputError
from dreamctl.core.experience import TaskSpec
from dreamctl.core.spaces import nested_space
from dreamctl.replay.convert.archives import Archives, Header
from dreamctl.replay.convert.arrays import Note

SUITE = "imported"


def inferred_spec(place: Path, observation: Mapping[str, Header], action: Space[object], note: Note) -> TaskSpec:
    """The spec of a task of which only arrays are known: its suite is `imported`, which no environment can be made of.

    Raises:
        InputError: an observation is of a dtype that none is made of.
    """
    spaces = {name: _space(name, header, place) for name, header in sorted(observation.items())}
    told = " ".join(", ".join(f"{name} {space}" for name, space in [*spaces.items(), ("action", action)]).split())
    note(f"{place}: taken to be {told}; --env ID takes the spaces of an environment")
    return TaskSpec(spaces, action, SUITE, place.name)


def matched(spec: TaskSpec, keys: Mapping[str, str], place: Path) -> dict[str, str]:
    """The key of a file for each observation of a task; a lone one is the lone one whatever they are called.

    Args:
        spec: the task.
        keys: observation as the files call it -> key.
        place: for messages.

    Raises:
        InputError: the names are others.
    """
    if len(keys) == len(spec.observation) == 1:
        keys = dict(zip(spec.observation, keys.values(), strict=True))
    if keys.keys() != spec.observation.keys():
        raise InputError(f"{place}: holds observations {', '.join(sorted(keys))}, {spec.name} has {', '.join(sorted(spec.observation))}")
    return {f"observation/{name}": key for name, key in keys.items()}


def seen_actions(files: Sequence[Path], archives: Archives, keys: Mapping[str, str]) -> Space[object]:
    """The space of actions: choices up to the greatest one seen, or numbers in [-1, 1] if all are, else without bounds.

    Args:
        files: in which they lie.
        archives: reads them.
        keys: leaf -> key; a plain action is the leaf "".

    Raises:
        InputError: choices go further than 64 bits.
    """
    leaves = {name: _seen(files, archives, key) for name, key in sorted(keys.items())}
    return leaves[""] if list(leaves) == [""] else nested_space(leaves)


def _seen(files: Sequence[Path], archives: Archives, key: str) -> Space[object]:
    arrays = (archives.array(path, key) for path in files)
    bounds = [(array.min(0), array.max(0), array.dtype) for array in arrays if len(array)]
    least = np.min([low for low, _, _ in bounds], 0)
    greatest = np.max([high for _, high, _ in bounds], 0)
    if bounds[0][2].kind == "f":
        bound = 1.0 if max(np.abs(least).max(), np.abs(greatest).max()) <= 1 else np.inf
        return gym_spaces.Box(-bound, bound, least.shape, np.float32)
    if int(np.max(greatest)) - min(int(np.min(least)), 0) >= np.iinfo(np.int64).max:
        raise InputError(
            f"{files[0].parent}: {key} goes from {np.min(least)} to {np.max(greatest)}, more choices than there can be; mend it"
        )
    start = np.minimum(np.asarray(least, np.int64), 0)
    count = np.asarray(greatest, np.int64) + 1 - start
    return gym_spaces.MultiDiscrete(count, start=start) if least.shape else gym_spaces.Discrete(int(count), start=int(start))  # type: ignore[arg-type]


def _space(name: str, header: Header, place: Path) -> Space[object]:
    """uint8 images, unbounded numbers, bits."""
    dtype, shape = header.dtype, header.shape
    if dtype == np.uint8:
        return gym_spaces.Box(0, 255, shape, np.uint8)
    if dtype.kind == "b":
        return gym_spaces.MultiBinary(shape) if shape else gym_spaces.Discrete(2)
    if dtype.kind == "f":
        return gym_spaces.Box(-np.inf, np.inf, shape, np.float32)
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype.name)
        return gym_spaces.Box(bounds.min, bounds.max, shape, dtype.type)  # type: ignore[arg-type]
    raise InputError(f"{place}: {name!r} is of dtype {dtype}, wanted numbers; leave it out of the files")
