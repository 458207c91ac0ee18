"""What `bench replay` times: this format beside plain copies in memory and beside h5py as most people use it, on the same rows."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import h5py
import numpy as np
from gymnasium.spaces import Box, Discrete

from dreamctl.core.experience import Array, Row, TaskSpec
from dreamctl.replay.folder import shard_paths
from dreamctl.replay.reader import open_replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.replay.shards.shard import read_shard
from dreamctl.replay.writer import ReplayWriter

BATCH, LENGTH = 16, 64
# Batches that one turn draws: the slowest way reads some tens of windows a second where images hardly compress.
BATCHES, SLOW_BATCHES = 100, 8
OPENINGS = 10  # of every shard in one turn: a single one ends before a clock tells it from noise
# Copies of many bytes are hit hardest by what else the machine does: they are timed so many times as often.
DRAWN = 3
APPENDED = {"image": 2000, "vector": 20000}
PLAIN = 400
VECTOR = Box(-np.inf, np.inf, (4,), np.float32)
Work = Callable[[int], object]


@dataclass(frozen=True)
class Figure:
    """One thing that was measured.

    Attributes:
        value, unit: the median of the rounds.
        ratio: how many times as fast, small or far as what it is compared with; None where it is that itself.
        against: name of the figure that it is compared with.
        goal: what the ratio (or the value, without one) should reach, `>=` or `<` in front.
    """

    name: str
    value: float
    unit: str
    ratio: float | None = None
    against: str = ""
    goal: str = ""


def measure(folder: Path, rows: Sequence[Row], rounds: int) -> list[Figure]:
    """Everything there is to measure on rows of one lane whose observation is `image`.

    Args:
        folder: where files may be made.
        rows: of whole and cut episodes, in order.
        rounds: how often each thing is timed, in turns.

    Raises:
        OutputError: the folder cannot hold the rows.
    """
    spec = _spec(Box(0, 255, rows[0].observation["image"].shape, np.uint8), "image")
    # HDF5 opens a file faster that the same process has open: what is opened is not what plain h5py reads.
    for name in ("sealed", "opened"):
        _written(folder / name, spec, rows).close()
    live = _written(folder / "live", spec, rows, shard_mb=_megabytes(rows))
    drawn = _draw(folder, rows, rounds)
    live.close()
    return [*drawn, *_append(folder, rows, rounds), _seal(folder / "seals", spec, rows, rounds), _size(folder / "sealed")]


def in_turns(works: Mapping[str, tuple[Work, int]], rounds: int) -> dict[str, list[float]]:
    """Units a second of CPU time of several works, one figure a round, timed in turns so that a busy machine hits all of them alike.

    Every second round goes backwards, so that none is always the one that follows the most demanding other.

    Args:
        works: name -> function of a round's number that does the work once, and how many units that is.
        rounds: how often each is timed; one more round before them warms up.
    """
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name in list(works)[:: -1 if number % 2 else 1]:
            work, units = works[name]
            begin = time.process_time()
            work(number)
            taken = time.process_time() - begin
            if number:
                found[name].append(units / max(taken, 1e-9))
    return found


def _draw(folder: Path, rows: Sequence[Row], rounds: int) -> list[Figure]:
    """What opening shards and drawing windows cost, all in the same turns."""
    sealed, live, opened = (folder / name for name in ("sealed", "live", "opened"))
    columns = _columns(rows)
    works = {"memory copy": (_copies(columns), BATCHES * BATCH)}
    works["sampled, cached"] = (_draws(sealed, "ram"), BATCHES * BATCH)
    works["sampled, live, cached"] = (_draws(live, "ram"), BATCHES * BATCH)
    works["sampled, live"] = (_draws(live, "none"), BATCHES * BATCH)
    works["sampled, sealed"] = (_draws(sealed, "none"), BATCHES * BATCH)
    works["plain h5py, sealed"] = (_plain_reads(shard_paths(sealed), list(columns)), SLOW_BATCHES * BATCH)
    works["open"] = _opens(shard_paths(opened))
    rates = in_turns(works, DRAWN * rounds)
    compared = {
        "memory copy": ("", ""),
        "sampled, cached": ("memory copy", ">= 0.8"),
        "sampled, live, cached": ("memory copy", ""),
        # Each window is fetched by the system out of its own copy of the file, page by page.
        "sampled, live": ("memory copy", ""),
        "sampled, sealed": ("plain h5py, sealed", ">= 6"),
        "plain h5py, sealed": ("", ""),
    }
    drawn = [_figure(name, rates, "windows/s", *ratio) for name, ratio in compared.items()]
    return [*drawn, Figure("open", 1e3 / median(rates["open"]), "ms/shard", goal="< 3")]


def _append(folder: Path, rows: Sequence[Row], rounds: int) -> list[Figure]:
    """Rows a second, one at a time and each safe before the next."""
    figures = []
    noise = np.random.default_rng(0)
    vectors = [
        Row(0, {"vector": noise.standard_normal(4, np.float32)}, r.action, r.reward, r.is_first, r.terminated, r.truncated) for r in rows
    ]
    for kind, space, some in (("image", Box(0, 255, rows[0].observation["image"].shape, np.uint8), rows), ("vector", VECTOR, vectors)):
        ours = (list(some) * (1 + APPENDED[kind] // len(some)))[: APPENDED[kind]]
        columns, name, plain = _columns(some[:PLAIN]), f"append, {kind}", f"plain h5py append, {kind}"
        works: dict[str, tuple[Work, int]] = {
            name: (_appends(folder / f"{kind}s", _spec(space, kind), ours), len(ours)),
            plain: (_plain_appends(folder / f"{kind}-plain", columns), len(columns["reward"])),
        }
        rates = in_turns(works, rounds)
        figures += [_figure(name, rates, "rows/s", plain, ">= 20" if kind == "image" else ">= 50"), _figure(plain, rates, "rows/s")]
    return figures


def _seal(folder: Path, spec: TaskSpec, rows: Sequence[Row], rounds: int) -> Figure:
    """Rows a second that go from a live shard into a sealed one."""
    rates = []
    for number in range(rounds + 1):
        writer = _written(folder / str(number), spec, rows, shard_mb=_megabytes(rows))
        begin = time.process_time()
        writer.close()
        rates.append(len(rows) / max(time.process_time() - begin, 1e-9))
    return Figure("seal", median(rates[1:]), "rows/s")


def _size(sealed: Path) -> Figure:
    """How small the sealed files are."""
    stored = sum(path.stat().st_size for path in shard_paths(sealed))
    shards = [read_shard(path) for path in shard_paths(sealed)]
    raw = sum(shard.rows * sum(f.row_bytes for f in shard.header.fields if not f.per_episode) for shard in shards)
    return Figure("size, sealed", stored / 1e6, "MB", raw / stored, f"{raw / 1e6:.0f} MB raw", ">= 30")


def _figure(name: str, rates: Mapping[str, Sequence[float]], unit: str, against: str = "", goal: str = "") -> Figure:
    """The median, and the median of the rounds' own ratios."""
    ratio = median(mine / other for mine, other in zip(rates[name], rates[against], strict=True)) if against else None
    return Figure(name, median(rates[name]), unit, ratio, against, goal)


def _spec(space: Box, name: str) -> TaskSpec:
    return TaskSpec({name: space}, Discrete(2), "gym", "CartPole-v1")


def _columns(rows: Sequence[Row]) -> dict[str, Array]:
    """The columns of rows by their name below /steps."""
    columns: dict[str, Array] = {f"observation/{key}": np.stack([row.observation[key] for row in rows]) for key in rows[0].observation}
    columns |= {"action": np.array([row.action for row in rows]), "reward": np.array([row.reward for row in rows], np.float32)}
    return columns | {flag: np.array([getattr(row, flag) for row in rows]) for flag in ("is_first", "terminated", "truncated")}


def _megabytes(rows: Sequence[Row]) -> int:
    """A shard of so many holds all the rows, so that none of them is sealed before its writer is closed."""
    row = sum(value.nbytes for value in rows[0].observation.values()) + 1024
    return 1 + (row * len(rows) >> 20)


def _written(path: Path, spec: TaskSpec, rows: Sequence[Row], shard_mb: int = 32) -> ReplayWriter:
    """Rows committed to a folder whose writer is still open."""
    writer = ReplayWriter(path, spec, lanes=1, seed=0, shard_mb=shard_mb)
    for row in rows:
        writer.add(row)
    return writer


def _copies(columns: Mapping[str, Array]) -> Work:
    """Copying windows out of plain arrays, column by column: as fast as a replay in memory can be."""
    buffers = {name: np.empty((BATCH, LENGTH, *column.shape[1:]), column.dtype) for name, column in columns.items()}
    last = len(next(iter(columns.values()))) - LENGTH

    def work(number: int) -> None:
        for starts in np.random.default_rng(number).integers(last + 1, size=(BATCHES, BATCH)).tolist():
            for i, start in enumerate(starts):
                for name, column in columns.items():
                    buffers[name][i] = column[start : start + LENGTH]

    return work


def _draws(path: Path, cache: Literal["ram", "none"]) -> Work:
    """Batches of this format's own sampler."""
    config = ReplayConfig(batch_size=BATCH, batch_length=LENGTH, cache=cache)
    replay = open_replay([path])
    replay.cache(config.cache_bytes)
    sampler = WindowSampler(replay, config, seed=0)
    buffers = sampler.buffers()

    def work(number: int) -> None:
        for k in range(number * BATCHES, (number + 1) * BATCHES):
            sampler.sample(k, buffers)

    return work


def _opens(paths: list[Path]) -> tuple[Work, int]:
    """Every shard opened, validated and closed again, several times."""
    return lambda _: [read_shard(path) for path in OPENINGS * paths], OPENINGS * len(paths)


def _plain_reads(paths: Sequence[Path], names: Sequence[str]) -> Work:
    """The same windows by h5py, datasets opened once, each read straight into its place."""
    files = [h5py.File(path, "r") for path in paths]
    shards = [(int(file["/commit"][0]), {name: file[f"/steps/{name}"] for name in names}) for file in files]
    shards = [(rows, datasets) for rows, datasets in shards if rows >= LENGTH]
    buffers = {name: np.empty((BATCH, LENGTH, *data.shape[1:]), data.dtype) for name, data in shards[0][1].items()}

    def work(number: int) -> None:
        noise = np.random.default_rng(number)
        for _ in range(SLOW_BATCHES):
            for i in range(BATCH):
                rows, datasets = shards[noise.integers(len(shards))]
                start = int(noise.integers(rows - LENGTH + 1))
                for name, dataset in datasets.items():
                    dataset.read_direct(buffers[name], np.s_[start : start + LENGTH], np.s_[i])

    return work


def _appends(path: Path, spec: TaskSpec, rows: Sequence[Row]) -> Work:
    """A live shard that holds all the rows, so that nothing is sealed meanwhile; sealing has a figure of its own."""

    def work(number: int) -> None:
        _written(path / str(number), spec, rows, shard_mb=_megabytes(rows))

    return work


def _plain_appends(path: Path, columns: Mapping[str, Array]) -> Work:
    """What most people write: resizable datasets that grow by one row a step."""
    path.mkdir()

    def work(number: int) -> None:
        with h5py.File(path / f"{number}.h5", "w") as file:
            datasets = {
                name: file.create_dataset(name, (0, *c.shape[1:]), c.dtype, maxshape=(None, *c.shape[1:])) for name, c in columns.items()
            }
            for row in range(len(columns["reward"])):
                for name, dataset in datasets.items():
                    dataset.resize(row + 1, axis=0)
                    dataset[row] = columns[name][row]

    return work
