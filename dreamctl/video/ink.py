"""Colours, type and the few strokes that every picture here is made of."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]

PAPER: Colour = (243, 243, 247)
WHITE: Colour = (255, 255, 255)
INK: Colour = (28, 33, 43)
MUTED: Colour = (104, 113, 128)
FAINT: Colour = (205, 210, 218)
# Blue and vermillion of the palette of Okabe and Ito (2008): told apart with every common colour blindness.
CONTEXT: Colour = (0, 114, 178)
IMAGINED: Colour = (213, 94, 0)
TRUTH: Colour = (133, 143, 158)

_FINE = 4  # strokes are drawn this much larger and reduced, so that their edges are smooth


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The typeface that comes with Pillow, in pixels."""
    return ImageFont.load_default(size)


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """`colour` with a share of `other` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def text(image: Image.Image, at: tuple[float, float], words: str, size: int = 14, colour: Colour = INK, *, anchor: str = "lm") -> None:
    """Write on the image; the anchor is Pillow's (`lm`: left, middle)."""
    ImageDraw.Draw(image).text(at, words, fill=colour, font=font(size), anchor=anchor)


def width(words: str, size: int = 14) -> int:
    """How many pixels the words take."""
    return round(font(size).getlength(words))


def shorten(words: str, room: int, size: int = 14) -> str:
    """The words, cut with an ellipsis where they would take more than `room` pixels."""
    if width(words, size) <= room:
        return words
    while words and width(words + "…", size) > room:
        words = words[:-1]
    return words.rstrip() + "…"


def shorten_left(words: str, room: int, size: int = 14) -> str:
    """As `shorten`, but the beginning is cut: names that were joined differ at their end."""
    if width(words, size) <= room:
        return words
    while words and width("…" + words, size) > room:
        words = words[1:]
    return "…" + words.lstrip()


def rounded(image: Image.Image, box: Box, radius: int, colour: Colour) -> None:
    """Fill a rectangle with round, smooth corners; the box holds its right and lower edge."""
    left, top, right, bottom = box
    if right <= left or bottom <= top:
        return
    mask = Image.new("L", ((right - left) * _FINE, (bottom - top) * _FINE), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), radius * _FINE, fill=255)
    image.paste(colour, (left, top), mask.reduce(_FINE))


def dot(image: Image.Image, at: tuple[float, float], radius: int, colour: Colour) -> None:
    """A disc with a white rim."""
    for size, fill in ((radius + 1, WHITE), (radius, colour)):
        x, y = round(at[0]), round(at[1])
        rounded(image, (x - size, y - size, x + size + 1, y + size + 1), size, fill)


def pill(image: Image.Image, right: int, middle: int, words: str, colour: Colour) -> None:
    """A word on a coloured, round label that ends at `right`."""
    left = right - width(words, 13) - 18
    rounded(image, (left, middle - 10, right, middle + 10), 10, colour)
    text(image, ((left + right) / 2, middle), words, 13, WHITE, anchor="mm")


def curve(image: Image.Image, points: Sequence[tuple[float, float]], thickness: float, colour: Colour) -> None:
    """A smooth line through the points, drawn on the part of the image that it crosses."""
    if len(points) < 2:
        points = [*points, *((x + 1, y) for x, y in points)]
    xy = np.asarray(points)
    margin = int(thickness) + 2
    low = np.floor(xy.min(0)).astype(int) - margin
    high = np.ceil(xy.max(0)).astype(int) + margin
    mask = Image.new("L", tuple(int(side) for side in (high - low) * _FINE), 0)  # type: ignore[arg-type]
    path = [(float(x), float(y)) for x, y in (xy - low) * _FINE]
    ImageDraw.Draw(mask).line(path, fill=255, width=round(thickness * _FINE), joint="curve")
    image.paste(colour, (int(low[0]), int(low[1])), mask.reduce(_FINE))


def fitted(picture: NDArray[np.uint8], side: int) -> Image.Image:
    """An (H, W), (H, W, 1) or (H, W, 3) picture as RGB with its long side of `side` pixels; small ones keep hard pixels."""
    plain = picture[..., 0] if picture.ndim == 3 and picture.shape[-1] == 1 else picture
    image = Image.fromarray(np.ascontiguousarray(plain, np.uint8)).convert("RGB")
    scale = side / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.HAMMING)
