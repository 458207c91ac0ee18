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


def pictures(codes: Array, numbers: Array) -> Array:
    """The pictures of rows of streams, (n, 16, 16, 3): no two are the same, and each packs well."""
    eyes = np.empty((len(codes), 16, 16, 3), np.uint8)
    eyes[...] = codes[:, None, None, None]
    eyes[:, :, :8, 0], eyes[:, :, 8:, 1] = (numbers % 251)[:, None, None], (numbers // 251 % 256)[:, None, None]
    return eyes


def picture_rows(lengths: Sequence[int], lane: int = 0, *, code: int = 0) -> Iterator[Row]:
    """Whole episodes of these lengths, their rows numbered through; `code` tells several writers apart."""
    number, code = 0, 2 * code + lane
    for episode, length in enumerate(lengths):
        for step in range(length):
            last = step == length - 1
            observation = {
                "eye": pictures(np.array([code]), np.array([number]))[0],
                "wide": np.full(100, number, np.float32),
                "small": np.array([code, number], np.float32),
            }
            action = np.asarray(0 if last else number % 3)
            yield Row(lane, observation, action, float(step > 0), step == 0, last, False, seed=episode)
            number += 1


def right(observation: dict[str, Array]) -> bool:
    """Whether the big columns of rows (..., ) are those that belong to the small one."""
    codes, numbers = observation["small"].reshape(-1, 2).astype(int).T
    eyes = pictures(codes, numbers)
    wide = observation["wide"].reshape(-1, 100)
    return bool((observation["eye"].reshape(eyes.shape) == eyes).all() and (wide == numbers[:, None]).all())
