"""`render`: the episodes of a replay, real or dreamt, as a film."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
from gymnasium import Env
from numpy.typing import NDArray

from dreamctl.core.errors import DreamctlError, EnvironmentFailure
from dreamctl.core.experience import Array, TaskSpec
from dreamctl.core.session import Session
from dreamctl.core.spaces import is_image
from dreamctl.envs.discovery import build_suite, load_suite
from dreamctl.envs.suite import Drawing, Suite, make_env, one_line
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.streams.episodes import EpisodeInfo
from dreamctl.stages.experiment import RenderConfig, Resolved
from dreamctl.stages.output import check_file
from dreamctl.stages.plan import Plan
from dreamctl.video.file import check_format, write_film
from dreamctl.video.film import Film
from dreamctl.video.panels import Panels
from dreamctl.video.scene import Scene, View, ending, figures
from dreamctl.video.views import Columns, Draw, knows_more, lone, side_by_side, view

How = Literal["frames", "images", "drawn", "traces"]
SHOWN = ("continue_prob", "value")  # the further columns whose numbers stand below a row


@dataclass(frozen=True)
class RenderResult:
    """What was written, and from which pictures: stored frames, image observations, the suite's drawing, or traces."""

    path: Path
    frames: int
    episodes: int
    how: How
    seconds: float

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {**vars(self), "path": str(self.path)}

    def summary(self) -> str:
        """For a person."""
        return f"{self.path}: {self.frames} frames of {self.episodes} episodes, {self.seconds:.1f} s, {WORDS[self.how]}"


WORDS: Mapping[How, str] = {
    "frames": "from stored frames",
    "images": "from image observations",
    "drawn": "drawn by the environment",
    "traces": "as traces",
}


def render(resolved: Resolved, files: Sequence[Path], out: Path, session: Session) -> RenderResult:
    """Show the first episodes of the files, one after another, truth beside dream where there is truth.

    Args:
        resolved: the experiment; section render.
        files: replays, imagined rollouts or evaluation episodes of one task.
        out: .gif, .mp4, .webp, or .png for a contact sheet.
        session: how it is run.

    Raises:
        UsageError: a suffix that is not known, an output that exists.
        InputError: a file that is no replay.
        OutputError: it cannot be written.
        StoppedEarly, Interrupted: when asked to stop; nothing was written.
    """
    config = resolved.experiment.render
    check_format(out)
    check_file(out, session, resume=False)
    replay = open_replay(files)
    infos = replay.episodes()[: config.episodes]
    with pictures_of(replay, infos[0], config, session) as source:
        film = Film(scenes(replay, infos, source, config), config.fps, config.hold)
        session.progress.start("render", len(film))
        write_film(out, film, partial(_watch, session, len(film)))
    return RenderResult(out, len(film), len(infos), source.how, film.seconds)


def plan(resolved: Resolved, files: Sequence[Path], out: Path, session: Session) -> Plan:
    """What `render` would do; draws one row to see how."""
    config = resolved.experiment.render
    check_format(out)
    check_file(out, session, resume=False)
    replay = open_replay(files)
    infos = replay.episodes()[: config.episodes]
    with pictures_of(replay, infos[0], config, session) as source:
        film = Film(scenes(replay, infos, source, config), config.fps, config.hold)
        width, height = film.size
    items = {
        "input": f"{replay.name}: {len(infos)} of {len(replay.episodes())} episodes of {replay.spec.name}",
        "pictures": WORDS[source.how],
        "film": f"{len(film)} frames of {width} x {height}, {film.seconds:.1f} s",
        "output": str(out),
    }
    return Plan(items)


def _watch(session: Session, frames: int, done: int) -> None:
    session.progress.update(done)
    if session.stop.requested() and done < frames:
        raise session.stop.lost("render", f"frame {done} of {frames}")


@dataclass(frozen=True)
class Source:
    """Where the pictures come from; `draw` is None where there are only traces, or frames."""

    how: How
    draw: Draw | None = None


@contextmanager
def pictures_of(replay: Replay, first: EpisodeInfo, config: RenderConfig, session: Session) -> Iterator[Source]:
    """How rows of this replay are shown: stored frames, image observations, the suite's drawing, else traces."""
    images = [name for name, space in replay.spec.observation.items() if is_image(space)]
    if config.view == "traces" and len(images) < len(replay.spec.observation):
        yield Source("traces")
    elif "frame" in replay.extra_names and not first.context:
        yield Source("frames")
    elif images:
        yield Source("images", partial(side_by_side, images))
    else:
        probe = {name: column[0] for name, column in replay.load(first).observation.items()}
        with drawing(replay.spec, probe, session) as draw:
            yield Source("drawn", draw) if draw else Source("traces")


@contextmanager
def drawing(spec: TaskSpec, probe: Columns, session: Session) -> Iterator[Draw | None]:
    """The suite's drawing of this task; None, with one note, where the suite is missing or fails at it."""
    try:
        suite = build_suite(load_suite(spec.suite), spec.options)
        env = _opened(suite, spec) if isinstance(suite, Drawing) else None
    except DreamctlError as error:
        session.progress.note(f"{error}; showing traces")
        env = None
    if env is None:
        yield None
        return
    assert isinstance(suite, Drawing)
    try:
        draw = partial(_draw, spec, suite, env)
        yield draw if _works(draw, probe, session) else None
    finally:
        env.close()


def scenes(replay: Replay, infos: Sequence[EpisodeInfo], source: Source, config: RenderConfig) -> list[Scene]:
    """One scene an episode; all have a place for the truth as soon as one of them has a truth beyond its context."""

    # One at a time: the pictures of an episode may be larger than all else.
    @lru_cache(maxsize=1)
    def frames(info: EpisodeInfo) -> Array:
        return replay.load(info, ("frame",)).extra["frame"]

    extra = [name for name in SHOWN if name in replay.extra_names]
    episodes = [replay.load(info, extra, truth=True, rows=(0, min(info.length, config.max_steps + 1))) for info in infos]
    beside = any(knows_more(episode) for episode in episodes)
    listing = []
    for place, (info, episode) in enumerate(zip(infos, episodes, strict=True), 1):
        if source.how == "frames":
            shown: View = Panels(partial(_row, frames, info), len(episode), side=lone(config.size))
        else:
            shown = view(replay.spec, episode, source.draw, config.size, beside=beside)
        label = f"{'dream' if episode.context else 'episode'} {place} of {len(infos)}"
        listing.append(Scene(shown, replay.spec.task, label, figures(episode), ending(episode)))
    return listing


def _row(frames: Callable[[EpisodeInfo], Array], info: EpisodeInfo, t: int) -> NDArray[np.uint8]:
    return np.asarray(frames(info)[t], np.uint8)


def _opened(suite: Suite, spec: TaskSpec) -> Env[object, object]:
    """An environment that can be drawn with; it wants one reset before."""
    env = make_env(suite, spec.task, render_mode="rgb_array")
    try:
        env.reset(seed=0)
    except Exception as error:  # a suite is foreign code and raises what it likes
        env.close()
        raise EnvironmentFailure(f"{spec.name}: cannot be reset ({one_line(error)})") from error
    return env


def _draw(spec: TaskSpec, suite: Drawing, env: Env[object, object], row: Columns) -> NDArray[np.uint8] | None:
    try:
        return suite.draw(env, row)
    except Exception as error:  # a suite is foreign code and raises what it likes
        raise EnvironmentFailure(f"{spec.name}: cannot draw an observation ({one_line(error)})") from error


def _works(draw: Draw, probe: Columns, session: Session) -> bool:
    """Whether a first row can be drawn; a suite that says None draws nothing, one that raises is noted."""
    try:
        return draw(probe) is not None
    except EnvironmentFailure as error:
        session.progress.note(f"{error}; showing traces")
        return False
