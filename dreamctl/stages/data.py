"""`data`: what replays hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dreamctl.replay.reader import open_replay
from dreamctl.replay.summary import ReplaySummary


@dataclass(frozen=True)
class DataInfo:
    """Figures of one or several replays together."""

    paths: Sequence[Path]
    figures: ReplaySummary
    content_hash: str
    path: Path | None = None

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {"paths": [str(path) for path in self.paths], **self.figures.to_json(), "content_hash": self.content_hash}

    def summary(self) -> str:
        """A few lines and one a column."""
        f = self.figures
        what = "imagined rollouts" if f.kind == "imagined" else "replay"
        frames = "" if f.frames == f.env_steps else f" ({f.frames} frames)"
        lines = [
            f"{', '.join(map(str, self.paths))}: {what} of {f.env}",
            f"  {f.env_steps} steps{frames} in {f.episodes} episodes, {f.complete} of them complete; {f.rows} rows",
            f"  {f.streams} streams in {f.files} files, {f.bytes / 1e6:.2f} MB, content {self.content_hash[:12]}",
        ]
        if f.return_mean is not None:
            lines.append(f"  return {f.return_mean:.1f} ({f.return_min:.1f} to {f.return_max:.1f}), length {f.length_mean:.1f}")
        width = max(len(key.name) for key in f.keys)
        return "\n".join([*lines, *(f"  {key.name:<{width}}  {key.dtype} {key.shape}" for key in f.keys)])


def info(paths: Sequence[Path]) -> DataInfo:
    """What these files and folders hold, validated.

    Raises:
        InputError: one of them is not a replay, is damaged, or is of another task.
    """
    replay = open_replay(paths)
    return DataInfo(paths, replay.summary, replay.content_hash())
