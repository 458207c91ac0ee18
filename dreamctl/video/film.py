"""Scenes one after another: the frames of a film, drawn when they are asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from PIL import Image

from dreamctl.video import ink
from dreamctl.video.scene import Scene


@dataclass(frozen=True)
class Frame:
    """A picture and how long it stays."""

    image: Image.Image
    seconds: float


@dataclass(frozen=True)
class Film:
    """Scenes of one film; every frame has the size of the largest.

    Attributes:
        fps: rows shown a second.
        hold: seconds that the last row of a scene stays.
    """

    scenes: Sequence[Scene]
    fps: float = 15
    hold: float = 1.2

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return max(scene.size[0] for scene in self.scenes), max(scene.size[1] for scene in self.scenes)

    def __len__(self) -> int:
        return sum(len(scene) for scene in self.scenes)

    def __iter__(self) -> Iterator[Frame]:
        for scene in self.scenes:
            for t in range(len(scene)):
                yield Frame(self._on_paper(scene.draw(t)), self.hold if t == len(scene) - 1 else 1 / self.fps)

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return round(sum((len(scene) - 1) / self.fps + self.hold for scene in self.scenes), 3)

    def sample(self, count: int) -> list[Image.Image]:
        """Some of the pictures, evenly spread over all scenes, first and last rows among them."""
        each = max(2, count // len(self.scenes))
        return [
            self._on_paper(scene.draw(round(part * (len(scene) - 1) / (each - 1)))) for scene in self.scenes[:count] for part in range(each)
        ]

    def sheet(self) -> Image.Image:
        """A contact sheet: one strip a scene."""
        strips = [scene.sheet() for scene in self.scenes]
        image = Image.new("RGB", (max(strip.width for strip in strips), sum(strip.height for strip in strips) + 14), ink.PAPER)
        top = 0
        for strip in strips:
            image.paste(strip, (0, top))
            top += strip.height
        return image

    def _on_paper(self, image: Image.Image) -> Image.Image:
        if image.size == self.size:
            return image
        paper = Image.new("RGB", self.size, ink.PAPER)
        paper.paste(image, ((self.size[0] - image.width) // 2, 0))
        return paper
