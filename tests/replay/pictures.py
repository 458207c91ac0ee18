"""Rows with a picture and a wide vector that tell where they belong: both are big columns."""

from collections.abc import Iterator, Sequence

import numpy as np
from gymnasium.spaces import Box, Discrete

from dreamctl.core.experience import Array, Row, TaskSpec

SPEC = TaskSpec(
    {
        "eye": Box(0, 255, (16, 16, 3), np.uint8),
        "wide": Box(-np.inf, np.inf, (100,), np.float32),
        "small": Box(-np.inf, np.inf, (2,), np.float32),
    },
    Discrete(3),
    "gym",
    "Pictures-v0",
)


def picture(lane: int, number: int) -> Array:
    """The picture of row `number` of a lane: no two are the same, and each packs well."""
    eye = np.full((16, 16, 3), lane, np.uint8)
    eye[:, :8, 0], eye[:, 8:, 1] = number % 251, number // 251
    return eye


def picture_rows(lengths: Sequence[int], lane: int = 0, *, first: int = 0, ended: bool = True) -> Iterator[Row]:
    """Whole episodes of these lengths, their rows numbered from `first` on; the last one may be cut."""
    number = first
    for episode, length in enumerate(lengths):
        for step in range(length):
            last = step == length - 1 and (ended or episode < len(lengths) - 1)
            observation = {
                "eye": picture(lane, number),
                "wide": np.full(100, number, np.float32),
                "small": np.array([lane, number], np.float32),
            }
            action = np.asarray(0 if last else number % 3)
            yield Row(lane, observation, action, float(step > 0), step == 0, last, False, seed=episode)
            number += 1


def right(observation: dict[str, Array]) -> bool:
    """Whether the big columns of rows (..., ) are those that belong to the small one."""
    lanes, numbers = observation["small"].reshape(-1, 2).astype(int).T
    eyes = np.stack([picture(lane, number) for lane, number in zip(lanes.tolist(), numbers.tolist(), strict=True)])
    wide = observation["wide"].reshape(-1, 100)
    return bool((observation["eye"].reshape(eyes.shape) == eyes).all() and (wide == numbers[:, None]).all())
