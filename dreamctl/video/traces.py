"""Any vector observation as a strip of traces: one row a dimension, the dream's line over the broad line of the truth."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dreamctl.video import ink

HEADER = 30  # pixels above the strip of a dream, for the legend
MOST = 12  # dimensions that are drawn; a line says how many more there are
SHADE = ink.mix(ink.CONTEXT, ink.WHITE, 0.85)  # behind the rows of the context


@dataclass(frozen=True)
class Traces:
    """Row t of an episode of vectors: all of its course, the past strong, the future faint, a cursor between.

    Attributes:
        values: (rows, dimensions) as the episode holds them.
        names: one a dimension.
        truth: (rows, dimensions) of what really happened, or None.
        truth_valid: (rows,).
        context: rows that are observed; the rest is imagined. None for a real episode.
        width: pixels.
        whole: dimensions that are choices or binaries, written without decimals.
    """

    values: NDArray[np.floating]
    names: Sequence[str]
    truth: NDArray[np.floating] | None = None
    truth_valid: NDArray[np.bool_] | None = None
    context: int | None = None
    width: int = 624
    whole: Container[int] = ()

    @property
    def rows(self) -> int:
        """How many rows the episode has."""
        return len(self.values)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self._top(self._shown) + (20 if self._left_out else 0)

    def draw(self, t: int) -> Image.Image:
        """Row t on paper."""
        image = self._faint.copy()
        cursor = round(self._x(t))
        image.paste(self._strong.crop((0, self._top(0), cursor, image.height)), (0, self._top(0)))
        colour = self.colour(t)
        ImageDraw.Draw(image).line((cursor, self._top(0), cursor, self._top(self._shown) - 5), fill=ink.INK, width=1)
        for row in range(self._shown):
            if np.isfinite(self.values[t, row]):
                ink.dot(image, (cursor, self._y(row, self.values[t, row])), 3, colour)
            middle = self._top(row) + (self._lane - 4) / 2
            ink.text(image, (self.width - 2, middle), self._number(t, row), 13, colour, anchor="rm")
        if self.context is not None:
            ink.pill(image, self.width, HEADER // 2 - 2, "context" if t < self.context else "imagined", colour)
        return image

    def colour(self, t: int) -> ink.Colour:
        """The colour of row t: observed or imagined."""
        return ink.CONTEXT if self.context is None or t < self.context else ink.IMAGINED

    def sheet(self) -> Image.Image:
        """The whole course in one picture."""
        return self._strong.copy()

    def _number(self, t: int, row: int) -> str:
        value = float(self.values[t, row])
        return f"{value:.0f}" if row in self.whole else number(value)

    @property
    def _shown(self) -> int:
        return min(int(self.values.shape[1]), MOST)

    @property
    def _left_out(self) -> int:
        return int(self.values.shape[1]) - self._shown

    @property
    def _lane(self) -> int:
        """Pixels of height a dimension has, its gap included."""
        return int(np.clip(236 // max(1, self._shown), 26, 59))

    def _top(self, row: int) -> int:
        return (0 if self.context is None else HEADER) + row * self._lane

    @cached_property
    def _left(self) -> int:
        return min(150, 12 + max(ink.width(name, 13) for name in self.names[: self._shown]))

    def _x(self, t: float) -> float:
        room = self.width - 62 - self._left - 8
        return self._left + 4 + room * t / max(1, self.rows - 1)

    def _y(self, row: int, value: float) -> float:
        low, high = self._range[row]
        height = self._lane - 4
        return self._top(row) + 5 + (height - 10) * float(1 - (np.clip(value, low, high) - low) / (high - low))

    @cached_property
    def _range(self) -> list[tuple[float, float]]:
        """Least and greatest of each dimension, truth included; a constant sits in the middle."""
        ranges = []
        for row in range(self._shown):
            seen = [self.values[:, row]] if self.truth is None else [self.values[:, row], self.truth[self._valid, row]]
            finite = np.concatenate(seen)[np.isfinite(np.concatenate(seen))]
            low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
            room = 1e-3 * max(abs(low), abs(high), 1e-3)
            ranges.append((low, high) if high - low > room else (low - room, high + room))
        return ranges

    @cached_property
    def _valid(self) -> NDArray[np.bool_]:
        return np.ones(self.rows, bool) if self.truth_valid is None else np.asarray(self.truth_valid, bool)

    @cached_property
    def _strong(self) -> Image.Image:
        return self._course(0.0)

    @cached_property
    def _faint(self) -> Image.Image:
        return self._course(0.72)

    def _course(self, fade: float) -> Image.Image:
        """Legend, lanes and lines, the lines mixed with a share `fade` of white."""
        image = Image.new("RGB", self.size, ink.PAPER)
        self._legend(image)
        for row in range(self._shown):
            top = self._top(row)
            self._ground(image, top)
            ink.text(image, (0, top + (self._lane - 4) / 2), ink.shorten_left(self.names[row], self._left - 6, 13), 13)
            if self.truth is not None:
                self._line(image, row, self.truth, np.flatnonzero(self._valid), 5, ink.mix(ink.TRUTH, ink.WHITE, 0.25 + 0.75 * fade))
            split = self.rows if self.context is None else self.context
            self._line(image, row, self.values, np.arange(max(0, split - 1), self.rows), 1.8, ink.mix(ink.IMAGINED, ink.WHITE, fade))
            self._line(image, row, self.values, np.arange(min(split, self.rows)), 1.8, ink.mix(ink.CONTEXT, ink.WHITE, fade))
        if self._left_out:
            ink.text(image, (self._left, image.height - 10), f"and {self._left_out} more dimensions", 12, ink.MUTED)
        return image

    def _ground(self, image: Image.Image, top: int) -> None:
        """The white lane, the context in it shaded."""
        bottom, right = top + self._lane - 4, self.width - 62
        ink.rounded(image, (self._left, top, right, bottom), 3, ink.WHITE)
        if self.context:
            edge = round(self._x(min(self.context, self.rows) - 0.5)) if self.context < self.rows else right
            ink.rounded(image, (self._left, top, edge, bottom), 3, SHADE)

    def _line(
        self, image: Image.Image, row: int, values: NDArray[np.floating], at: NDArray[np.int64], thick: float, colour: ink.Colour
    ) -> None:
        """The line through the given rows, broken where rows are missing or not finite."""
        at = at[np.isfinite(values[at, row])]
        for piece in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1):
            if len(piece):
                ink.curve(image, [(self._x(t), self._y(row, values[t, row])) for t in piece], thick, colour)

    def _legend(self, image: Image.Image) -> None:
        middle = HEADER // 2 - 2
        if self.context is None:
            return
        named = [("truth", ink.mix(ink.TRUTH, ink.WHITE, 0.25), 5.0)] if self.truth is not None else []
        left = self._left
        for name, colour, thick in [*named, ("dream", ink.IMAGINED, 2.0)]:
            ink.curve(image, [(left, middle), (left + 22, middle)], thick, colour)
            ink.text(image, (left + 30, middle), name, 16)
            left += 30 + ink.width(name, 16) + 22
        if self.context:
            ink.rounded(image, (left, middle - 7, left + 22, middle + 7), 3, SHADE)
            ink.text(image, (left + 30, middle), "context", 16)


def number(value: float) -> str:
    """A number as short as it can be read: `-0.05`, `12.30`, `1234`, `1.2e+06`; `-` where there is none."""
    if not np.isfinite(value):
        return "-"
    if abs(value) >= 1e5:
        return f"{value:.1e}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.2f}"
