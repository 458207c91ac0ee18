"""`data diff`: what two replays hold that the other does not."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dreamctl.replay.figures.compare import Comparison, compare
from dreamctl.replay.streams.episodes import EpisodeInfo
from dreamctl.stages.listed import ListedEpisode
from dreamctl.stages.tables import count, figure, indented, table

SHOWN = 10  # episodes of each side in the text; JSON has all


@dataclass(frozen=True)
class DiffResult:
    """Two replays side by side."""

    left: Path
    right: Path
    found: Comparison
    path: Path | None = None

    def to_json(self) -> dict[str, object]:
        """As one object."""
        it = self.found
        differences = {"task": it.task, "columns": list(map(asdict, it.columns)), "origin": list(map(asdict, it.origin))}
        episodes = {"both": it.both, "only_left": _listed(it.left), "only_right": _listed(it.right)}
        return {"left": str(self.left), "right": str(self.right), "equal": it.equal, **differences, **episodes}

    def summary(self) -> str:
        """What differs, the episodes last."""
        it = self.found
        lines = [f"< {self.left}", f"> {self.right}"]
        lines += [f"  {it.task}"] if it.task else []
        differ = [(one.what, f"< {one.left}", f"> {one.right}") for one in (*it.columns, *it.origin)]
        lines += [indented(table(differ))] if differ else []
        if it.left is None or it.right is None:
            return "\n".join([*lines, "  episodes: not compared, their columns differ"])
        lines += [*_lines("<", it.left), *_lines(">", it.right)]
        lines.append(f"  {count(it.both, 'episode')} in both, {len(it.left):,} only in <, {len(it.right):,} only in >")
        return "\n".join([*lines, "equal" if it.equal else "different"])


def diff(left: Path, right: Path) -> DiffResult:
    """Two replays, each a folder or a file, compared by content.

    Raises:
        InputError: one of them cannot be read.
    """
    return DiffResult(left, right, compare(left, right))


def _listed(infos: Sequence[EpisodeInfo] | None) -> list[dict[str, object]] | None:
    return None if infos is None else [ListedEpisode.of(info).to_json() for info in infos]


def _lines(side: str, infos: Sequence[EpisodeInfo]) -> list[str]:
    rows = [(side, i.key, count(i.length - 1, "step"), f"return {figure(i.episode_return)}", i.ending) for i in infos[:SHOWN]]
    more = [f"{side} and {len(infos) - SHOWN:,} more"] if len(infos) > SHOWN else []
    return [*([table(rows)] if rows else []), *more]
