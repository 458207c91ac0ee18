"""Text for a person: aligned columns, sizes, figures and bars."""

from collections.abc import Collection, Sequence
from itertools import zip_longest

EIGHTHS = " ▏▎▍▌▋▊▉█"


class Columns:
    """Rows in aligned columns, some at a time: what is wider than all before it widens its column from there on.

    Args:
        right: columns that stand on the right, as numbers do.
    """

    def __init__(self, right: Collection[int] = ()) -> None:
        self._right = right
        self._widths: list[int] = []

    def text(self, rows: Sequence[Sequence[str]]) -> str:
        """More rows, a line each."""
        for row in rows:
            self._widths = [max(pair) for pair in zip_longest(self._widths, map(len, row), fillvalue=0)]
        return "\n".join("  ".join(map(self._cell, row, range(len(row)))).rstrip() for row in rows)

    def _cell(self, text: str, at: int) -> str:
        return f"{text:>{self._widths[at]}}" if at in self._right else f"{text:<{self._widths[at]}}"


def table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Rows in aligned columns; those in `right` stand on the right, as numbers do."""
    return Columns(right).text(rows)


def indented(text: str) -> str:
    """The lines two places to the right."""
    return "\n".join(f"  {line}" for line in text.splitlines())


def size(count: float) -> str:
    """Bytes in the unit that suits them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def figure(value: float | None) -> str:
    """Four digits, all of them of what is large; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"


def bar(share: float, width: int = 30) -> str:
    """A bar of at most `width` places, exact to an eighth of one."""
    whole, rest = divmod(round(min(max(share, 0.0), 1.0) * width * 8), 8)
    return "█" * whole + (EIGHTHS[rest] if rest else "")


def count(number: int, what: str) -> str:
    """A number of things: `1 shard`, `2 shards`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
