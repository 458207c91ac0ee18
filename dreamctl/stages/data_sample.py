"""`data sample`: one batch, drawn as a training would draw it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dreamctl.core.config import Layer, build, merge
from dreamctl.core.errors import UsageError
from dreamctl.core.experience import Array, Episode, Windows
from dreamctl.core.files import write_whole
from dreamctl.core.session import Session
from dreamctl.core.spaces import is_image
from dreamctl.replay.figures.moments import Figures, Moments
from dreamctl.replay.format import parted
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.stages.output import check_file
from dreamctl.stages.tables import count, figure, indented, table

SIDE = 200  # pixels of a picture
STRIPS = 8  # windows on a contact sheet
SUFFIXES = (".npz", ".png")


@dataclass(frozen=True)
class SampledColumn:
    """One array of the batch."""

    dtype: str
    shape: tuple[int, ...]
    figures: Figures


@dataclass(frozen=True)
class SampleResult:
    """One batch in figures; `path` is where its arrays or pictures were written."""

    name: str
    seed: int
    batch: int
    selector: str
    columns: Mapping[str, SampledColumn]
    begins: Sequence[tuple[str, int]]
    path: Path | None = None

    def to_json(self) -> dict[str, object]:
        """As one object."""
        columns = {name: {"dtype": c.dtype, "shape": list(c.shape), **asdict(c.figures)} for name, c in self.columns.items()}
        what = {"replay": self.name, "seed": self.seed, "batch": self.batch, "selector": self.selector}
        windows = [{"stream": stream, "row": row} for stream, row in self.begins]
        return {**what, "windows": windows, "columns": columns, **({"path": str(self.path)} if self.path else {})}

    def summary(self) -> str:
        """A table of the arrays."""
        drawn = f"{self.name}: batch {self.batch} of seed {self.seed}, {count(len(self.begins), 'window')}, {self.selector}"
        head = ("key", "dtype", "shape", "min", "max", "mean", "std")
        rows = [head, *(_cells(name, column) for name, column in self.columns.items())]
        written = [f"{self.path}: {'arrays' if self.path.suffix == '.npz' else 'contact sheet'}"] if self.path else []
        return "\n".join([drawn, indented(table(rows, right={3, 4, 5, 6})), *written])


def _cells(name: str, column: SampledColumn) -> tuple[str, ...]:
    it = column.figures
    return name, column.dtype, "x".join(map(str, column.shape)), figure(it.min), figure(it.max), figure(it.mean), figure(it.std)


def drawn_by(layers: Sequence[Layer]) -> ReplayConfig:
    """How windows are drawn, by the section `replay` of some layers; what presets and files say of other sections is left alone.

    Raises:
        UsageError: an unknown key, a wrong value, or a single key of another section.
    """
    for layer in layers:
        others = [section for section in layer.values if section != "replay"]
        if layer.source.startswith("--set") and others:
            raise UsageError(f"{layer.source}: `data sample` reads section replay only; leave it out")
    return build(ReplayConfig, merge(layers).values.get("replay", {}), "replay")


def sample(
    paths: Sequence[Path], config: ReplayConfig, *, batch: int = 0, out: Path | None = None, session: Session | None = None
) -> SampleResult:
    """Draw one batch and tell its figures; write it where `out` says.

    Args:
        paths: replays of one task.
        config: how windows are drawn.
        batch: its number.
        out: .npz for the arrays, .png for a contact sheet.
        session: its seed, and whether an output that exists is replaced.

    Raises:
        UsageError: another suffix, an output that exists.
        InputError: no replay, or too short for a window.
        OutputError: it cannot be written.
    """
    session = session or Session()
    if out is not None:
        _check(out, session)
    replay = open_replay(paths)
    sampler = WindowSampler(replay, config, session.seed)
    # As in a training: what is there when it begins is not new.
    sampler.go_on(None)
    windows = sampler.sample(batch)
    arrays = dict(_arrays(windows))
    if out is not None:
        _write(out, replay, windows, arrays)
    begins = [(replay.streams[s].name, replay.streams[s].first_row + r) for s, r in zip(*_begins(windows), strict=True)]
    columns = {name: SampledColumn(array.dtype.str, array.shape, _figures(array)) for name, array in arrays.items()}
    return SampleResult(replay.name, session.seed, batch, config.selector.kind, columns, begins, out)


def _check(out: Path, session: Session) -> None:
    if out.suffix not in SUFFIXES:
        found = f"suffix {out.suffix!r} is not known" if out.suffix else "has no suffix"
        raise UsageError(f"{out}: {found}, wanted {' or '.join(SUFFIXES)}; choose another --out")
    check_file(out, session, resume=False)


def _write(out: Path, replay: Replay, windows: Windows, arrays: Mapping[str, Array]) -> None:
    if out.suffix == ".npz":
        write_whole(out, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]
    else:
        _draw(out, replay, windows)


def _arrays(windows: Windows) -> Iterator[tuple[str, Array]]:
    """The arrays of a batch by name, (B, T, ...); an action of several leaves is one array a leaf."""
    yield from ((f"observation/{name}", column) for name, column in windows.observation.items())
    yield from parted(windows.action).items()
    yield from ((f"prev_{name}", column) for name, column in parted(windows.prev_action).items())
    for name in ("reward", "is_first", "is_last", "terminated"):
        yield name, getattr(windows, name)


def _begins(windows: Windows) -> tuple[list[int], list[int]]:
    return windows.stream.tolist(), windows.row.tolist()


def _figures(array: Array) -> Figures:
    moments = Moments(1)
    moments.add(array.reshape(-1, 1))
    return moments.together()


def _draw(out: Path, replay: Replay, windows: Windows) -> None:
    """A contact sheet: one strip a window, of its images or of its vectors as traces."""
    from dreamctl.video.file import write_film
    from dreamctl.video.film import Film
    from dreamctl.video.scene import Scene
    from dreamctl.video.views import side_by_side, view

    images = [name for name, space in replay.spec.observation.items() if is_image(space)]
    scenes = []
    for number, (stream, row) in enumerate(zip(*_begins(windows), strict=True)):
        if number == STRIPS:
            break
        shown = view(replay.spec, _episode(windows, number), partial(side_by_side, images) if images else None, SIDE, beside=False)
        scenes.append(Scene(shown, replay.spec.task, f"{replay.streams[stream].name} row {row}", {}))
    write_film(out, Film(scenes))


def _episode(windows: Windows, number: int) -> Episode:
    """One window as if it were an episode of its own."""
    nothing = np.zeros(windows.reward.shape[1], bool)
    return Episode(
        observation={name: column[number] for name, column in windows.observation.items()},
        action=windows.action[number],
        reward=windows.reward[number],
        is_first=windows.is_first[number],
        terminated=windows.terminated[number],
        truncated=nothing,
    )
