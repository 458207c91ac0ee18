"""One episode as a scene: a view of its rows, with caption, timeline and figures around it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dreamctl.core.experience import Array, Episode
from dreamctl.video import ink
from dreamctl.video.traces import number

MARGIN = 14
CAPTION = 26  # pixels for the title and the step
NARROW = 320  # pixels that caption and figures take at least, however small the picture between them
FOOT = 58  # pixels for the timeline and the figures
END = 0.5  # a dream ends where its continue probability is below


class View(Protocol):
    """What shows the rows: `Panels` or `Traces`."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    @property
    def rows(self) -> int:
        """How many rows there are."""

    @property
    def context(self) -> int | None:
        """Rows that are observed; None for a real episode."""

    def draw(self, t: int) -> Image.Image:
        """Row t on paper."""

    def sheet(self) -> Image.Image:
        """All of the episode in one picture."""


@dataclass(frozen=True)
class Scene:
    """A view with everything around it.

    Attributes:
        title: the environment.
        label: which of the episodes, in a few words.
        figures: name -> one text a row.
        ending: how the last row ended it, in a word or two; empty where it was only cut.
    """

    view: View
    title: str
    label: str
    figures: Mapping[str, Sequence[str]]
    ending: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, both even, as video codecs want them."""
        width, height = self.view.size
        return _even(max(width, NARROW) + 2 * MARGIN), _even(MARGIN + CAPTION + height + FOOT + MARGIN)

    def __len__(self) -> int:
        return self.view.rows

    def draw(self, t: int) -> Image.Image:
        """Row t with its caption, timeline and figures."""
        image = Image.new("RGB", self.size, ink.PAPER)
        image.paste(self.view.draw(t), ((image.width - self.view.size[0]) // 2, MARGIN + CAPTION))
        self._caption(image, t)
        below = MARGIN + CAPTION + self.view.size[1]
        self._timeline(image, below + 13, t)
        self._figures(image, below + 26, t)
        return image

    def sheet(self) -> Image.Image:
        """All of the episode in one picture, its caption above."""
        strip = self.view.sheet()
        ending = f" · {self.ending}" if self.ending else ""
        words = f"{self.title} · {self.label} · {len(self) - 1} steps{ending}"
        width = max(strip.width, ink.width(words, 16))
        image = Image.new("RGB", (width + 2 * MARGIN, strip.height + CAPTION + MARGIN), ink.PAPER)
        image.paste(strip, (MARGIN, CAPTION + MARGIN))
        ink.text(image, (MARGIN, MARGIN + 7), words, 16)
        return image

    def _caption(self, image: Image.Image, t: int) -> None:
        middle = MARGIN + 7
        ended = t == len(self) - 1 and self.ending
        step = f"{self.ending} at step {t}" if ended else f"step {t} of {len(self) - 1}"
        ink.text(
            image,
            (image.width - MARGIN, middle),
            step,
            16,
            ink.IMAGINED if ended and self.view.context is not None else ink.INK,
            anchor="rm",
        )
        room = image.width - 2 * MARGIN - ink.width(step, 16) - 16
        title = ink.shorten(self.title, room - ink.width(self.label, 16) - 12, 16)
        ink.text(image, (MARGIN, middle), title, 16)
        ink.text(image, (MARGIN + ink.width(title, 16) + 10, middle), self.label, 16, ink.MUTED)

    def _timeline(self, image: Image.Image, middle: int, t: int) -> None:
        """A thin bar: the part that is context, the part that is imagined, and how far we are."""
        left, right = MARGIN, image.width - MARGIN
        last = max(1, len(self) - 1)
        context = self.view.context
        here = left + round((right - left) * t / last)
        edge = right if context is None else left + round((right - left) * min(1.0, max(0.0, (context - 0.5) / last)))
        bright = ink.INK if context is None else ink.CONTEXT
        ink.rounded(image, (left, middle - 3, right, middle + 3), 3, ink.mix(ink.IMAGINED, ink.PAPER, 0.72))
        ink.rounded(image, (left, middle - 3, edge, middle + 3), 3, ink.mix(bright, ink.PAPER, 0.72))
        ink.rounded(image, (left, middle - 3, here, middle + 3), 3, ink.IMAGINED)
        ink.rounded(image, (left, middle - 3, min(here, edge), middle + 3), 3, bright)
        ink.dot(image, (np.clip(here, left + 5, right - 6), middle), 5, bright if context is None or t < context else ink.IMAGINED)

    def _figures(self, image: Image.Image, top: int, t: int) -> None:
        room = image.width - 2 * MARGIN
        column = min(150, room // max(1, len(self.figures)))
        for place, (name, texts) in enumerate(self.figures.items()):
            left = MARGIN + 1 + column * place
            broad = column if place < len(self.figures) - 1 else room - column * place
            ending = name == "continue" and texts[t][:1].isdigit() and float(texts[t]) < END
            ink.text(image, (left, top + 6), name, 13, ink.MUTED)
            ink.text(image, (left, top + 24), ink.shorten(texts[t], broad - 6, 17), 17, ink.IMAGINED if ending else ink.INK)


def figures(episode: Episode) -> dict[str, list[str]]:
    """What is written below row t: reward, return of a real episode, value and continue where known, action."""
    shown = {"reward": [number(float(reward)) for reward in episode.reward]}
    if not episode.context:
        shown["return"] = [number(float(total)) for total in np.cumsum(episode.reward, dtype=np.float64)]
    for name, key, digits in (("value", "value", 2), ("continue", "continue_prob", 3)):
        if key in episode.extra:
            column = np.asarray(episode.extra[key], np.float64).reshape(len(episode), -1)[:, 0]
            shown[name] = [number(float(value)) if digits == 2 else _probability(float(value)) for value in column]
    shown["action"] = [*map(_action, episode.action[:-1]), "-"]
    return shown


def ending(episode: Episode) -> str:
    """How the episode ended, in a word or two; empty where it was only cut."""
    if not episode.context:
        return "ended" if episode.terminated[-1] else "time limit" if episode.truncated[-1] else ""
    over = episode.extra.get("continue_prob")
    below = over is not None and float(np.ravel(over)[-1]) < END
    return "dream ended" if below or episode.terminated[-1] else ""


def _action(action: Array) -> str:
    """An action as text; that of a nested one leaf by leaf."""
    if action.dtype.names:
        fields = cast("NDArray[np.void]", action)
        return ", ".join(_action(fields[name]) for name in action.dtype.names)
    numbers = np.ravel(np.asarray(action))
    if np.issubdtype(numbers.dtype, np.integer):
        return " ".join(str(int(one)) for one in numbers)
    return " ".join(number(float(one)) for one in numbers)


def _probability(value: float) -> str:
    """Three digits, rounded down, so that 1 means 1."""
    return f"{np.floor(value * 1000) / 1000:.3f}" if np.isfinite(value) else "-"


def _even(length: int) -> int:
    return length + length % 2
