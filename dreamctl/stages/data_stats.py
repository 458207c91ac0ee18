"""`data stats`: figures of each column, choices, returns and lengths."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dreamctl.replay.figures.moments import Figures
from dreamctl.replay.figures.stats import ReplayStats, Spread, replay_stats
from dreamctl.replay.reader import open_replay
from dreamctl.stages.tables import bar, count, figure, indented, table


@dataclass(frozen=True)
class StatsResult:
    """Figures of one or several replays together."""

    paths: Sequence[Path]
    env: str
    rows: int
    stats: ReplayStats
    path: Path | None = None

    def to_json(self) -> dict[str, object]:
        """As one object."""
        it = self.stats
        columns = {
            c.name: {"dtype": c.dtype, "shape": list(c.shape), **asdict(c.whole), "dimensions": [asdict(one) for one in c.dimensions]}
            for c in it.columns
        }
        choices = {name: {str(choice): times for choice, times in sorted(counts.items())} for name, counts in it.choices.items()}
        spreads = {"returns": _spread(it.returns), "lengths": _spread(it.lengths)}
        what = {"paths": [str(path) for path in self.paths], "env": self.env, "rows": self.rows, "episodes": it.episodes}
        return {**what, "columns": columns, "choices": choices, **spreads}

    def summary(self) -> str:
        """A table of the columns, and bars."""
        it = self.stats
        title = f"{', '.join(map(str, self.paths))}: {count(self.rows, 'row')} of {self.env}"
        parts = [title, indented(self._columns())]
        parts += [_choices(name, counts) for name, counts in it.choices.items()]
        parts += [_bars(what, it.episodes, spread) for what, spread in (("return", it.returns), ("length", it.lengths)) if spread]
        return "\n\n".join(parts)

    def _columns(self) -> str:
        rows = [("column", "dtype", "shape", "min", "max", "mean", "std", "not finite")]
        for column in self.stats.columns:
            shape = "x".join(map(str, column.shape)) or "-"
            rows.append((column.name, column.dtype, shape, *_cells(column.whole)))
            rows += [(f"  [{index}]", "", "", *_cells(one)) for index, one in enumerate(column.dimensions)]
        return table(rows, right={3, 4, 5, 6, 7})


def stats(paths: Sequence[Path]) -> StatsResult:
    """The figures of these replays, every byte of them looked at.

    Raises:
        InputError: one of them is not a replay, is damaged, or is of another task.
    """
    replay = open_replay(paths)
    return StatsResult(paths, replay.spec.name, replay.rows, replay_stats(replay))


def _cells(it: Figures) -> tuple[str, str, str, str, str]:
    return figure(it.min), figure(it.max), figure(it.mean), figure(it.std), str(it.not_finite or "-")


def _spread(spread: Spread | None) -> dict[str, object] | None:
    if spread is None:
        return None
    quantiles = {f"{share:g}": value for share, value in spread.quantiles.items()}
    return {**asdict(spread.figures), "quantiles": quantiles, "edges": list(spread.edges), "counts": list(spread.counts)}


def _choices(name: str, counts: Mapping[int, int]) -> str:
    """Bars of how often each choice was taken."""
    total = max(1, sum(counts.values()))
    most = max(counts.values(), default=1)
    rows = [(str(choice), f"{times:,}", f"{times / total:.1%}", bar(times / most)) for choice, times in sorted(counts.items())]
    return f"  {name}, {count(sum(counts.values()), 'choice')}\n{indented(indented(table(rows, right={0, 1, 2})))}" if rows else f"  {name}"


def _bars(what: str, episodes: int, spread: Spread) -> str:
    """A histogram with its quantiles above."""
    it = spread.figures
    quantiles = ", ".join(f"{share:.0%} {figure(value)}" for share, value in spread.quantiles.items())
    title = f"  {what} of {count(episodes, 'episode')}: mean {figure(it.mean)}, std {figure(it.std)}, {figure(it.min)} to {figure(it.max)}"
    most = max(spread.counts)
    pairs = zip(spread.edges, spread.edges[1:], spread.counts, strict=False)
    rows = [(figure(low), "to", figure(high), f"{times:,}", bar(times / most)) for low, high, times in pairs]
    return f"{title}\n  below: {quantiles}\n{indented(indented(table(rows, right={0, 2, 3})))}"
