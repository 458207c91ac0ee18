"""Truth and dream side by side as pictures; one picture where there is nothing to compare with."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dreamctl.video import ink

Pictures = Callable[[int], NDArray[np.uint8]]
"""Row of an episode -> (H, W, 3) uint8."""

HEADER = 30  # pixels above the panels of a dream, for their names
NARROW = 170  # pixels that name and kind take at least
GAP = 16  # pixels between them
RIM = 4  # pixels of coloured frame around each


@dataclass(frozen=True)
class Panels:
    """Row t of an episode as one or two framed pictures.

    Attributes:
        pictures: of the rows as the episode holds them.
        rows: how many there are.
        truth: what really happened, or None where there is nothing to compare with.
        truth_valid: (rows,); rows without truth show the last that has it, faded.
        context: rows that are observed; the rest is imagined. None for a real episode.
        side: pixels of a picture's long side.
    """

    pictures: Pictures
    rows: int
    truth: Pictures | None = None
    truth_valid: NDArray[np.bool_] | None = None
    context: int | None = None
    side: int = 300

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = self._panel
        return (2 * width + GAP if self.truth else width), self._header + height

    def draw(self, t: int) -> Image.Image:
        """Row t on paper."""
        image = Image.new("RGB", self.size, ink.PAPER)
        width = self._panel[0]
        left = 0
        if self.truth is not None:
            self._put(image, 0, self._true_picture(t), "truth", ink.TRUTH)
            left = width + GAP
        colour = ink.INK if self.context is None else self.colour(t)
        self._put(image, left, self._picture(self.pictures, t), "" if self.context is None else "dream", colour)
        if self.context is not None:
            ink.pill(image, left + width, HEADER // 2 - 2, self.word(t), colour)
        if self.truth is not None and not self._has_truth(t):
            ink.pill(image, width, HEADER // 2 - 2, "truth ended" if self._has_truth(0) else "no truth", ink.MUTED)
        return image

    def word(self, t: int) -> str:
        """What kind of row t is."""
        return "context" if t < (self.context or 0) else "imagined"

    def colour(self, t: int) -> ink.Colour:
        """The colour of that kind."""
        return ink.CONTEXT if t < (self.context or 0) else ink.IMAGINED

    def sheet(self, columns: int = 8) -> Image.Image:
        """The whole episode as a film strip, truth above dream: first and last row of the context, then evenly spread rows."""
        chosen = self._spread(columns)
        names = ["truth", "dream"] if self.truth else ["dream"] if self.context is not None else [""]
        width, height = (round(length / 2) for length in self._panel)
        margin = 52 if names[-1] else 0
        strip = Image.new("RGB", (margin + len(chosen) * (width + 6) - 6, 22 + len(names) * (height + 6) - 6), ink.PAPER)
        for column, t in enumerate(chosen):
            left = margin + column * (width + 6)
            colour = ink.INK if self.context is None else self.colour(t)
            words = f"{self.word(t)} {t}" if self.context is not None and width >= 90 else str(t)
            ink.text(strip, (left + width / 2, 9), words, 13, colour, anchor="mm")
            true = [(self._true_picture(t), ink.TRUTH)] if self.truth else []
            for row, (picture, rim) in enumerate([*true, (self._picture(self.pictures, t), colour)]):
                thumb = _framed(picture, self._panel, rim).resize((width, height), Image.Resampling.LANCZOS)
                strip.paste(thumb, (left, 22 + row * (height + 6)))
        for row, name in enumerate(names):
            ink.text(strip, (0, 22 + row * (height + 6) + height / 2), name, 14)
        return strip

    @property
    def _header(self) -> int:
        return 0 if self.context is None else HEADER

    def _spread(self, count: int) -> list[int]:
        """Rows for a strip of at most `count` pictures."""
        start = min(self.context or 0, self.rows - 1)
        ends = {0, start - 1} if start else set()
        rest = np.linspace(start, self.rows - 1, max(1, min(count - len(ends), self.rows - start)))
        return sorted(ends | {int(t) for t in rest.round()})

    @cached_property
    def _panel(self) -> tuple[int, int]:
        """Width and height of one framed picture."""
        first = self._picture(self.pictures, 0)
        return max(first.width, 0 if self.context is None else NARROW) + 2 * RIM, first.height + 2 * RIM

    def _picture(self, pictures: Pictures, t: int) -> Image.Image:
        return ink.fitted(pictures(t), self.side)

    def _has_truth(self, t: int) -> bool:
        return self.truth_valid is None or bool(self.truth_valid[t])

    def _true_picture(self, t: int) -> Image.Image:
        """What really happened, or the last of it, faded."""
        assert self.truth is not None
        if self._has_truth(t):
            return self._picture(self.truth, t)
        blank = Image.new("RGB", self._picture(self.pictures, 0).size, ink.PAPER)
        last = max((row for row in range(t) if self._has_truth(row)), default=None)
        return blank if last is None else Image.blend(self._picture(self.truth, last), blank, 0.7)

    def _put(self, image: Image.Image, left: int, picture: Image.Image, name: str, rim: ink.Colour) -> None:
        ink.text(image, (left + 1, HEADER // 2 - 2), name, 16)
        image.paste(_framed(picture, self._panel, rim), (left, self._header))


def _framed(picture: Image.Image, size: tuple[int, int], colour: ink.Colour) -> Image.Image:
    """The picture inside a coloured frame with round outer corners."""
    image = Image.new("RGB", size, ink.PAPER)
    ink.rounded(image, (0, 0, *size), RIM + 2, colour)
    image.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return image
