"""Dreams and pictures for the tests of this folder and of the render stage."""

import numpy as np
from gymnasium import spaces

from dreamctl.core.experience import Episode, TaskSpec

SPEC = TaskSpec(
    observation={"observation": spaces.Box(-np.inf, np.inf, (4,), np.float32)},
    action=spaces.Discrete(2),
    suite="gym",
    task="CartPole-v1",
)


def episode(rows: int = 12, *, context: int = 0, truth_rows: int = 0, last_continue: float = 0.99, seed: int = 0) -> Episode:
    """An episode of a swinging pole; a dream of it when there is context, with `truth_rows` rows of truth."""
    t = np.arange(rows)
    noise = np.random.default_rng(seed).normal(size=(rows, 4)) * 0.01
    values = np.stack([0.05 * t, 0.1 + 0 * t, 0.1 * np.sin(t), np.cos(t)], 1)
    dream = {
        "extra": {"continue_prob": np.append(np.full(rows - 1, 0.99), last_continue).astype(np.float32), "value": t.astype(np.float32)},
        "truth": {"observation": values.astype(np.float32)} if truth_rows else {},
        "truth_valid": t < truth_rows if truth_rows else None,
        "context": context,
    }
    return Episode(
        observation={"observation": (values + noise * (t >= context)[:, None]).astype(np.float32)},
        action=np.append(t[:-1] % 2, 0),
        reward=np.append(0, np.ones(rows - 1)).astype(np.float32),
        is_first=t == 0,
        terminated=(t == rows - 1) & (context == 0),
        truncated=np.zeros(rows, bool),
        **(dream if context else {}),
    )


def has(image: object, colour: tuple[int, int, int], within: int = 0) -> bool:
    """Whether a pixel of this colour is in the image."""
    return bool((np.abs(np.asarray(image, int) - colour) <= within).all(-1).any())


def plain_picture(t: int) -> np.ndarray:
    """A grey picture with a white bar at column t."""
    picture = np.full((40, 60, 3), 90, np.uint8)
    picture[:, t] = 255
    return picture
