"""What a replay holds, in figures: the result of `data info`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dreamctl.core.experience import TaskSpec
from dreamctl.replay.format import Kind, step_fields
from dreamctl.replay.streams.episodes import EpisodeInfo
from dreamctl.replay.streams.stream import Stream


@dataclass(frozen=True)
class KeySummary:
    """One column: its name below /steps, NumPy dtype and the shape of one row."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in memory."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class ReplaySummary:
    """Figures of a replay.

    Attributes:
        env: the environment as on the command line.
        frames: environment steps times action repeat.
        episodes: with at least one action; `complete` of them were ended by the environment.
        skipped: lone rows that no action followed.
        return_min, return_mean, return_max, length_mean: of the complete episodes (of all dreams); None without one. Length in steps.
        bytes: size on disk.
    """

    env: str
    kind: Kind
    rows: int
    env_steps: int
    frames: int
    episodes: int
    complete: int
    skipped: int
    streams: int
    files: int
    return_min: float | None
    return_mean: float | None
    return_max: float | None
    length_mean: float | None
    keys: tuple[KeySummary, ...]
    bytes: int

    @property
    def decoded_bytes(self) -> int:
        """Bytes of all rows in memory."""
        return self.rows * sum(key.row_bytes for key in self.keys)

    def to_json(self) -> dict[str, object]:
        """Plain values for one JSON object."""
        keys = {key.name: {"dtype": key.dtype, "shape": list(key.shape)} for key in self.keys}
        return {**asdict(self), "keys": keys, "decoded_bytes": self.decoded_bytes}


def summarise(
    spec: TaskSpec,
    kind: Kind,
    streams: Sequence[Stream],
    infos: Sequence[EpisodeInfo],
    *,
    files: Sequence[Path],
    extras: Sequence[KeySummary],
) -> ReplaySummary:
    """The figures of a replay with these streams, episodes (lone rows included), files and further columns."""
    rows = sum(len(stream) for stream in streams)
    steps = rows - sum(int(stream.columns["is_first"].sum()) for stream in streams)
    whole = [info for info in infos if info.length > 1]
    counted = [info for info in whole if info.complete or kind == "imagined"]
    returns = np.array([info.episode_return for info in counted])
    return ReplaySummary(
        env=spec.name,
        kind=kind,
        rows=rows,
        env_steps=steps,
        frames=steps * spec.action_repeat,
        episodes=len(whole),
        complete=sum(info.complete for info in whole),
        skipped=len(infos) - len(whole),
        streams=len(streams),
        files=len(files),
        return_min=float(returns.min()) if counted else None,
        return_mean=float(returns.mean()) if counted else None,
        return_max=float(returns.max()) if counted else None,
        length_mean=float(np.mean([info.length - 1 for info in counted])) if counted else None,
        keys=(*(KeySummary(field.name, field.dtype, field.shape) for field in step_fields(spec)), *extras),
        bytes=sum(path.stat().st_size for path in files if path.exists()),
    )
