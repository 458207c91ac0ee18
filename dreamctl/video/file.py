"""A film as a file: GIF, MP4, WebP, or a PNG contact sheet, by the file's suffix."""

import os
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from dreamctl.core.errors import OutputError, UsageError
from dreamctl.video.film import Film, Frame

Watch = Callable[[int], None]
"""Told how many frames are done."""

COARSE = 252  # the greatest channel of a coarse picture


def check_format(path: Path) -> None:
    """Refuse, before anything is drawn, a file that could not be written.

    Raises:
        UsageError: the suffix is not known, or is MP4 and the extra is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        found = f"suffix {suffix!r}" if suffix else "no suffix"
        raise UsageError(f"{path}: {found} to tell the format by; known: {', '.join(WRITERS)}")
    if suffix == ".mp4" and find_spec("imageio_ffmpeg") is None:
        raise UsageError(f"{path}: MP4 needs the extra `video` (pip install 'dreamctl[video]'); or write .gif or .webp")


def write_film(path: Path, film: Film, watch: Watch = lambda _: None) -> None:
    """Write the film beside `path` and rename it into place.

    Raises:
        UsageError: the suffix is not known, or its extra is not installed.
        OutputError: the disk is full, or the folder cannot be written to.
    """
    check_format(path)
    beside = path.with_name(f".{path.stem}.tmp{path.suffix.lower()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[path.suffix.lower()](beside, film, watch)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot write ({error.strerror or error})") from error
    finally:
        beside.unlink(missing_ok=True)


def _gif(path: Path, film: Film, watch: Watch) -> None:
    """One palette for all frames and no dither: a pixel that does not change is not written again."""
    palette = _palette(film)
    colours = bytes(min(255, round(value * 255 / COARSE)) for value in palette.getpalette() or ())
    frames = (_coarse(frame.image).quantize(palette=palette, dither=Image.Dither.NONE) for frame in _watched(film, watch))
    painted = (_repainted(frame, colours) for frame in frames)
    first = next(painted)
    options = {"duration": _durations(film, 10), "loop": 0, "optimize": True, "disposal": 1, "palette": colours}
    first.save(path, "GIF", save_all=True, append_images=painted, **options)


def _webp(path: Path, film: Film, watch: Watch) -> None:
    frames = (frame.image for frame in _watched(film, watch))
    first = next(frames)
    first.save(
        path, "WEBP", save_all=True, append_images=frames, duration=_durations(film, 1), loop=0, quality=80, method=3, allow_mixed=True
    )


def _mp4(path: Path, film: Film, watch: Watch) -> None:
    """H.264 that browsers play; a frame that stays is repeated."""
    import imageio.v2 as imageio

    options = {
        "codec": "libx264",
        "pixelformat": "yuv420p",
        "macro_block_size": 2,
        "output_params": ["-crf", "20", "-movflags", "+faststart"],
    }
    with imageio.get_writer(path, format="FFMPEG", fps=film.fps, **options) as writer:  # type: ignore[arg-type]
        for frame in _watched(film, watch):
            picture = np.asarray(frame.image)
            for _ in range(max(1, round(frame.seconds * film.fps))):
                writer.append_data(picture)  # type: ignore[attr-defined]


def _png(path: Path, film: Film, watch: Watch) -> None:
    film.sheet().save(path, "PNG", optimize=True)
    watch(len(film))


WRITERS: Mapping[str, Callable[[Path, Film, Watch], None]] = {".gif": _gif, ".mp4": _mp4, ".webp": _webp, ".png": _png}
"""How each suffix is written."""


def _watched(film: Film, watch: Watch) -> Iterator[Frame]:
    for done, frame in enumerate(film, 1):
        yield frame
        watch(done)


def _durations(film: Film, unit: int) -> list[int]:
    """Milliseconds of each frame in whole units, rounded so that the sum stays true."""
    ends = np.cumsum([0.0, *(1 / film.fps if t < len(scene) - 1 else film.hold for scene in film.scenes for t in range(len(scene)))])
    return [int(step) * unit for step in np.diff(np.round(ends * 1000 / unit).astype(int))]


def _palette(film: Film, colours: int = 255) -> Image.Image:
    """The colours that serve all frames best, in coarse values; one of 256 is left to say `unchanged`."""
    pictures = [_coarse(picture) for picture in film.sample(12)]
    width, height = film.size
    board = Image.new("RGB", (width, height * len(pictures)))
    for place, picture in enumerate(pictures):
        board.paste(picture, (0, place * height))
    return board.quantize(colours, Image.Quantize.MEDIANCUT)


def _coarse(image: Image.Image) -> Image.Image:
    """Channels as multiples of 4 up to 252: Pillow looks for the nearest colour of these only, others would be darkened."""
    return image.point([round(value * 63 / 255) * 4 for value in range(256)] * 3)


def _repainted(image: Image.Image, colours: bytes) -> Image.Image:
    """The same indices with other colours."""
    image.putpalette(colours)
    return image
