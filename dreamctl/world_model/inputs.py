"""What a world model sees: vectors and images, by name."""

from collections.abc import Mapping
from dataclasses import dataclass

from dreamctl.core.codec import ObservationCodec
from dreamctl.core.errors import UsageError
from dreamctl.core.experience import TaskSpec
from dreamctl.core.parts import Numbers
from dreamctl.core.spaces import is_image
from dreamctl.nn.convolutions import Convolutions

# What the convolution stages may leave of a side: less blurs all places into one, more makes the dense layers behind it huge.
MIN_SIDE, MAX_SIDE = 3, 16


@dataclass(frozen=True)
class Inputs:
    """The observations of a task, apart.

    Attributes:
        vectors: name -> codec, sorted by name; everything that is no image.
        images: name -> (height, width, channels), in the order of the observation space; all of one height and width.
    """

    vectors: Mapping[str, ObservationCodec]
    images: Mapping[str, tuple[int, int, int]]

    @classmethod
    def of(cls, spec: TaskSpec) -> "Inputs":
        """What the observations of a task are."""
        vectors = {name: ObservationCodec(space) for name, space in sorted(spec.observation.items()) if not is_image(space)}
        shapes = {name: space.shape for name, space in spec.observation.items() if is_image(space)}
        return cls(vectors, {name: _image_shape(shape) for name, shape in shapes.items()})

    @property
    def numbers(self) -> dict[str, int]:
        """Name -> size of the vectors that are plain numbers, which scaling is for."""
        return {name: codec.size for name, codec in self.vectors.items() if all(isinstance(part, Numbers) for part in codec.parts)}

    @property
    def channels(self) -> int:
        """Of all images together."""
        return sum(channels for _, _, channels in self.images.values())

    def sides_left(self, convolutions: Convolutions) -> tuple[int, int]:
        """Height and width that the stages leave of the images.

        Raises:
            UsageError: they are of a size that the stages cannot halve.
        """
        first, (height, width, _) = next(iter(self.images.items()))
        assert all(shape[:2] == (height, width) for shape in self.images.values()), "`check_supported` refuses images of several sizes"
        factor = 2 ** len(convolutions.multipliers)
        if not all(side % factor == 0 and MIN_SIDE <= side // factor <= MAX_SIDE for side in (height, width)):
            raise UsageError(_wrong_size(first, height, width, len(convolutions.multipliers)))
        return height // factor, width // factor


def _image_shape(shape: tuple[int, ...] | None) -> tuple[int, int, int]:
    assert shape is not None
    height, width, *channels = shape
    return height, width, channels[0] if channels else 1


def _wrong_size(name: str, height: int, width: int, stages: int) -> str:
    factor = 2**stages
    nearest = "x".join(str(factor * min(max(round(side / factor), MIN_SIDE), MAX_SIDE)) for side in (height, width))
    fitting = [n for n in range(1, 9) if all(side % 2**n == 0 and MIN_SIDE <= side >> n <= MAX_SIDE for side in (height, width))]
    other = f" or give world_model.convolutions.multipliers {fitting[-1]} entries" if fitting else ""
    return (
        f"observation {name!r} is {height}x{width}: {stages} convolution stages want sides that are multiples of {factor} "
        f"from {MIN_SIDE * factor} to {MAX_SIDE * factor}, nearest {nearest}; resize it in the environment{other}"
    )
