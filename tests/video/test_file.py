import errno
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamctl.core.errors import OutputError, UsageError
from dreamctl.video import file, ink
from dreamctl.video.file import check_format, write_film
from dreamctl.video.film import Film
from tests.video.test_scene import scene


@pytest.fixture
def film() -> Film:
    return Film([scene(8), scene(6)], fps=30, hold=1.0)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_has_every_row_and_its_time(film: Film, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"film{suffix}"
    write_film(path, film)
    with Image.open(path) as image:
        assert image.n_frames == len(film) == 14
        assert image.info["loop"] == 0
        times = []
        for frame in range(image.n_frames):
            image.seek(frame)
            image.load()
            times.append(image.info["duration"])
    assert sum(times) == pytest.approx(1000 * film.seconds, abs=10)
    assert times[7] == pytest.approx(1000, abs=10)


def test_a_gif_keeps_the_colours(film: Film, tmp_path: Path) -> None:
    write_film(tmp_path / "film.gif", film)
    with Image.open(tmp_path / "film.gif") as image:
        for place, frame in enumerate(film):
            image.seek(place)
            shown, wanted = (np.asarray(picture.convert("RGB"), int) for picture in (image, frame.image))
            assert np.abs(shown - wanted).mean() < 1
            assert (shown[0, 0] == ink.PAPER).all()


def test_a_gif_has_one_palette_for_all_frames(film: Film, tmp_path: Path) -> None:
    write_film(tmp_path / "film.gif", film)
    assert (tmp_path / "film.gif").stat().st_size < 2000 * len(film)


def test_a_png_is_a_contact_sheet_with_a_strip_a_scene(film: Film, tmp_path: Path) -> None:
    write_film(tmp_path / "film.png", film)
    with Image.open(tmp_path / "film.png") as image:
        assert image.size == film.sheet().size
        assert image.height > 2 * film.scenes[0].view.sheet().height


def test_an_mp4_plays_in_browsers(film: Film, tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    write_film(tmp_path / "film.mp4", film)
    frames, _seconds = ffmpeg.count_frames_and_secs(str(tmp_path / "film.mp4"))
    assert frames == 12 + 2 * 30


def test_mp4_without_its_extra_names_it(film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UsageError, match=r"film\.mp4: MP4 needs the extra `video`"):
        write_film(tmp_path / "film.mp4", film)


@pytest.mark.parametrize("name", ["film.avi", "film.h5", "film", "film.gfi"])
def test_an_unknown_suffix_names_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match=r"known: \.gif, \.mp4, \.webp, \.png"):
        check_format(Path(name))


def test_a_suffix_in_capitals_is_known(film: Film, tmp_path: Path) -> None:
    write_film(tmp_path / "FILM.GIF", film)
    assert (tmp_path / "FILM.GIF").read_bytes()[:6] == b"GIF89a"


def test_a_full_disk_leaves_the_older_file(film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, _film: Film, _watch: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "film.gif").write_bytes(b"older")
    monkeypatch.setattr(file, "WRITERS", {".gif": full})
    with pytest.raises(OutputError, match=r"film\.gif: cannot write \(No space left on device\)"):
        write_film(tmp_path / "film.gif", film)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]


def test_progress_is_told_of_every_frame(film: Film, tmp_path: Path) -> None:
    for name in ("film.gif", "film.webp", "film.png"):
        told: list[int] = []
        write_film(tmp_path / name, film, told.append)
        assert told[-1] == len(film)
