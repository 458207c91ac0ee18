"""Rows of an imaginary task whose every number tells where it belongs: episode, step and lane can be read off."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from gymnasium.spaces import Box, Discrete

from dreamctl.core.experience import Array, Episode, Row, TaskSpec
from dreamctl.replay.writer import ReplayWriter

SPEC = TaskSpec({"observation": Box(-np.inf, np.inf, (3,), np.float32)}, Discrete(5), "gym", "Toy-v0")
BOX_SPEC = TaskSpec(
    {"arm/angle": Box(-1, 1, (2,), np.float64), "goal": Box(-1, 1, (), np.float32)}, Box(-2, 2, (2,), np.float32), "gym", "Arm-v0"
)


def episode_rows(number: int, rows: int, *, lane: int = 0, ended: bool = True, extra: Mapping[str, Array] | None = None) -> list[Row]:
    """One episode; the observation is (lane, episode, step), the action 1 + step % 4."""
    return [
        Row(
            lane=lane,
            observation={"observation": np.array([lane, number, step], np.float32)},
            action=np.int64(1 + step % 4) if step < rows - 1 or not ended else np.int64(0),
            reward=float(step > 0),
            is_first=step == 0,
            terminated=ended and step == rows - 1 and number % 2 == 0,
            truncated=ended and step == rows - 1 and number % 2 == 1,
            extra={key: value[step] for key, value in (extra or {}).items()},
            seed=100 + number,
        )
        for step in range(rows)
    ]


def stream_rows(lengths: Sequence[int], lane: int = 0) -> Iterator[Row]:
    """Whole episodes of these lengths, one after another."""
    for number, length in enumerate(lengths):
        yield from episode_rows(number, length, lane=lane)


def write(path: Path, rows: Sequence[Row] | Iterator[Row], *, spec: TaskSpec = SPEC, lanes: int = 1, **options: object) -> Path:
    """The rows as a closed replay."""
    with ReplayWriter(path, spec, lanes=lanes, **{"seed": 0, **options}) as writer:  # type: ignore[arg-type]
        for row in rows:
            writer.add(row)
    return path


def dream(rows: int = 6, **fields: object) -> Episode:
    """An imagined episode with two rows of context and truth for the first four."""
    episode = Episode.from_rows(episode_rows(0, rows, ended=False))
    valid = np.arange(rows) < 4
    return replace(
        episode,
        **{
            "context": 2,
            "complete": False,
            "source_shard": 1,
            "source_row": 7,
            "truth": {"observation": episode.observation["observation"] + 0.5},
            "truth_valid": valid,
            "extra": {"value": np.arange(rows, dtype=np.float16), "continue_prob": np.full(rows, 0.9, np.float32)},
            **fields,
        },
    )


def overwrite(path: Path, dataset: str, row: int, value: object) -> None:
    """Change one value of a file behind the writer's back."""
    with h5py.File(path, "r+") as file:
        file[dataset][row] = value
