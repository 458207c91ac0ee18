"""`bench`: how fast this installation is at what it says it is fast at."""

import os
import platform
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dreamctl.core.experience import Row
from dreamctl.core.provenance import versions
from dreamctl.core.session import Session, Stop
from dreamctl.envs.gym import Gym
from dreamctl.replay.benchmark import BATCH, LENGTH, Figure, measure
from dreamctl.stages.tables import table

SIZE = 64


@dataclass(frozen=True)
class BenchResult:
    """Figures of one benchmark."""

    steps: int
    rounds: int
    figures: Sequence[Figure]
    path: Path | None = None

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {"steps": self.steps, "rounds": self.rounds, "figures": [asdict(figure) for figure in self.figures], "machine": machine()}

    def summary(self) -> str:
        """A table, one line a figure."""
        title = f"{self.steps:,} rows of rendered CartPole, {SIZE}x{SIZE}x3; windows of {LENGTH} rows, {BATCH} a batch; CPU time, one core"
        rows = [("", "", "", "times", "of", "goal")]
        rows += [(f.name, _digits(f.value), f.unit, _digits(f.ratio), f.against, f.goal) for f in self.figures]
        return f"{title}\n{table(rows, right=(1, 3))}"


def _digits(value: float | None) -> str:
    """Three digits, all of them of what is large."""
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def bench_replay(steps: int, rounds: int, session: Session) -> BenchResult:
    """Render CartPole, write it, read it in every way, and say how each compares.

    Args:
        steps: rows to render.
        rounds: how often each thing is timed; the median counts.
        session: how it is run.

    Raises:
        EnvironmentFailure: nothing can be drawn here.
        StoppedEarly, Interrupted: someone asked; the temporary folder is gone.
        OutputError: the temporary folder cannot hold the rows.
    """
    with _left_at_once(session.stop):
        rows = rendered(steps, session)
        with tempfile.TemporaryDirectory(prefix="dreamctl-bench-") as folder:
            return BenchResult(steps, rounds, measure(Path(folder), rows, rounds))


@contextmanager
def _left_at_once(stop: Stop) -> Iterator[None]:
    """Meanwhile the first wish to stop ends the work where it is: there is nothing to save, and a pause would spoil the figures."""

    def leave(number: int, _: object) -> None:
        stop.signal = number
        raise stop.lost("bench replay", "a signal")

    previous = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if stop.requested():
            raise stop.lost("bench replay", "its start")
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def machine() -> dict[str, object]:
    """What the figures depend on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"platform": platform.platform(), "processor": _processor(), "cores": cores, "versions": versions()}


def _processor() -> str:
    """What the system calls it, as far as it tells."""
    try:
        names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    except OSError:
        names = []
    return next((name for name in names if name), platform.processor() or platform.machine())


def rendered(steps: int, session: Session) -> list[Row]:
    """Rows of CartPole under random actions, its pictures scaled to 64x64 as the only observation."""
    env = Gym().make("CartPole-v1", render_mode="rgb_array")
    env.reset(seed=session.seed)
    noise = np.random.default_rng(session.seed)
    rows: list[Row] = []
    session.progress.start("render", steps)
    fresh, reward, ended = True, 0.0, (False, False)
    while len(rows) < steps:
        frame = Image.fromarray(np.asarray(env.render())).resize((SIZE, SIZE), Image.Resampling.BOX)
        action = np.array(0 if any(ended) else noise.integers(2))
        rows.append(Row(0, {"image": np.asarray(frame)}, action, reward, fresh, *ended))
        if any(ended):
            env.reset()
            fresh, reward, ended = True, 0.0, (False, False)
        else:
            _, given, terminated, truncated, _ = env.step(int(action))
            fresh, reward, ended = False, float(given), (terminated, truncated)
        session.progress.update(len(rows))
    env.close()
    return rows
