"""Experience as NumPy: what an environment gave, what a replay holds, what the sampler returns.

Time, drawn once; every other file refers to this table.

     t            0         1         2     …   T          (one row an observation: T+1 rows)
     observation  x0        x1        x2        xT
     reward       0         r1        r2        rT          received on arriving at x_t
     is_first     1         0         0         0
     terminated   0         0         0         1 or 0      the task ended: continue label 0
     truncated    0         0         0         0 or 1      only the time limit: continue label stays 1
     action       a0        a1        a2        0           chosen after seeing x_t; the last is a zero that no one takes
     prev_action  0         a0        a1        aT-1        made by one pure function of the sampler, 0 where is_first

A row whose `is_first` is 0 stands for exactly one action taken: environment steps = rows that are not first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from gymnasium import Space
from numpy.typing import NDArray

Array = NDArray[np.generic]


@dataclass(frozen=True)
class TaskSpec:
    """What a network must know of a task: spaces and names, stored in every replay and checkpoint.

    Attributes:
        observation: name -> space, nested keys joined by `/`; a bare space is named `observation`.
        action: the action space.
        suite, task: as in `suite:task`.
        action_repeat: environment frames an action lasts.
        options: the suite's own options, as plain values.
    """

    observation: Mapping[str, Space[object]]
    action: Space[object]
    suite: str
    task: str
    action_repeat: int = 1
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The environment as it is written on the command line."""
        return f"{self.suite}:{self.task}"


@dataclass(frozen=True)
class Row:
    """One row of the time table in one lane of a vector environment.

    Attributes:
        lane: which of the environments.
        observation: name -> array of the space's shape.
        action: in environment units; zero on the last row of an episode. One of a Dict or Tuple is a structured value, a field a leaf.
        reward: received on arriving at this observation, 0 on the first row.
        extra: further columns, such as `frame` (height, width, 3) uint8.
        seed: the seed of the reset that began the episode, -1 where the environment drew its own.
    """

    lane: int
    observation: Mapping[str, Array]
    action: Array
    reward: float
    is_first: bool
    terminated: bool
    truncated: bool
    extra: Mapping[str, Array] = field(default_factory=dict)
    seed: int = -1

    @property
    def is_last(self) -> bool:
        """Whether the episode ended here, by the task or by the time limit."""
        return self.terminated or self.truncated


@dataclass(frozen=True)
class Episode:
    """T+1 rows of one episode, or of one segment of it; a dream has its context rows in front.

    Attributes:
        observation: name -> (T+1, ...).
        action: (T+1, ...), the last is a zero that no one takes.
        reward, is_first, terminated, truncated: (T+1,).
        extra: name -> (T+1, ...), e.g. `frame`, `continue_prob`, `value`, `entropy`.
        truth: name -> (T+1, ...): dreams only, what really happened, where `truth_valid`.
        truth_valid: (T+1,) or None.
        complete: whether the environment itself ended the episode.
        context: dreams only: rows that are observed, the rest is imagined.
        source_shard, source_row: dreams only: the real row of the first row here.
    """

    observation: Mapping[str, Array]
    action: Array
    reward: NDArray[np.floating]
    is_first: NDArray[np.bool_]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    extra: Mapping[str, Array] = field(default_factory=dict)
    truth: Mapping[str, Array] = field(default_factory=dict)
    truth_valid: NDArray[np.bool_] | None = None
    seed: int = -1
    id: int = 0
    segment: int = 0
    complete: bool = True
    context: int = 0
    source_shard: int = -1
    source_row: int = -1

    def __post_init__(self) -> None:
        columns = [self.action, self.is_first, self.terminated, self.truncated]
        columns += [*self.observation.values(), *self.extra.values(), *self.truth.values()]
        assert all(len(column) == len(self.reward) for column in columns), "columns of an episode differ in length"

    def __len__(self) -> int:
        """Number of rows, T+1."""
        return len(self.reward)

    def __repr__(self) -> str:
        shapes = {name: tuple(column.shape) for name, column in self.observation.items()}
        return f"Episode(rows={len(self)}, observation={shapes}, action={self.action.shape}, return={self.episode_return:g})"

    @property
    def episode_return(self) -> float:
        """Undiscounted sum of rewards."""
        return float(self.reward.sum(dtype=np.float64))

    @classmethod
    def from_rows(cls, rows: Sequence[Row], **fields: object) -> "Episode":
        """The rows of one lane, stacked along a new first axis; `fields` are set as they are."""

        def stack(columns: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
            return {name: np.stack([column[name] for column in columns]) for name in columns[0]}

        return cls(
            observation=stack([row.observation for row in rows]),
            action=np.stack([row.action for row in rows]),
            reward=np.array([row.reward for row in rows], np.float32),
            is_first=np.array([row.is_first for row in rows]),
            terminated=np.array([row.terminated for row in rows]),
            truncated=np.array([row.truncated for row in rows]),
            extra=stack([row.extra for row in rows]),
            **{"seed": rows[0].seed, **fields},  # type: ignore[arg-type]
        )


@dataclass(frozen=True)
class Windows:
    """B windows of T consecutive rows of a replay, as the sampler returns them; leading axes are (B, T).

    Attributes:
        observation: name -> (B, T, ...).
        action: (B, T, ...) as stored, in environment units.
        prev_action: (B, T, ...): the action that led to row t, 0 where `is_first`.
        reward, is_first, is_last, terminated: (B, T).
        stream, row: (B,): where each window begins.
    """

    observation: Mapping[str, Array]
    action: Array
    prev_action: Array
    reward: NDArray[np.floating]
    is_first: NDArray[np.bool_]
    is_last: NDArray[np.bool_]
    terminated: NDArray[np.bool_]
    stream: NDArray[np.int64]
    row: NDArray[np.int64]

    def __post_init__(self) -> None:
        lead = self.reward.shape
        columns = [self.action, self.prev_action, self.is_first, self.is_last, self.terminated, *self.observation.values()]
        assert all(column.shape[:2] == lead for column in columns), "columns of windows differ in their leading axes"

    def steps(self, first: int, last: int | None = None, **columns: Array) -> "Windows":
        """Rows `first` to `last` (to the end by default) of each window, some columns replaced."""

        def part(column: Array) -> Array:
            return column[:, first:last]

        ours = {name: part(getattr(self, name)) for name in ("action", "prev_action", "reward", "is_first", "is_last", "terminated")}
        observation = {name: part(column) for name, column in self.observation.items()}
        return Windows(observation, **{**ours, **columns}, stream=self.stream, row=self.row + first)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        shapes = {name: tuple(column.shape) for name, column in self.observation.items()}
        return f"Windows(B={self.reward.shape[0]}, T={self.reward.shape[1]}, observation={shapes}, action={self.action.shape})"
