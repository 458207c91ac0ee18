"""`bench replay` times real files and says how each thing compares."""

import os
import signal
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
from gymnasium.spaces import Box

from dreamctl.core.errors import Interrupted, StoppedEarly
from dreamctl.core.session import Session
from dreamctl.replay import benchmark
from dreamctl.replay.benchmark import in_turns, measure
from dreamctl.stages import bench
from dreamctl.stages.bench import BenchResult, bench_replay, machine, rendered

SPACE = Box(0, 255, (64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def rows() -> list:
    return rendered(300, Session(seed=1))


def test_rows_are_rendered_episodes_one_after_another(rows: list) -> None:
    pictures = np.stack([row.observation["image"] for row in rows])
    assert pictures.shape == (300, 64, 64, 3)
    assert (pictures[1:] != pictures[:-1]).any((1, 2, 3)).mean() > 0.5
    follows_an_end = [True, *(row.terminated or row.truncated for row in rows[:-1])]
    assert [row.is_first for row in rows] == follows_an_end


def test_plain_appends_are_counted_as_often_as_they_are_made(tmp_path: Path, rows: list, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: dict[str, int] = {}

    def once(works: Mapping[str, tuple[Callable[[int], object], int]], _: int) -> dict[str, list[float]]:
        for name, (work, units) in works.items():
            work(0)
            counted[name] = units
        return {name: [1.0] for name in works}

    monkeypatch.setattr(benchmark, "in_turns", once)
    monkeypatch.setattr(benchmark, "APPENDED", {"image": 20, "vector": 20})
    measure(tmp_path, rows[:200], 1)
    for kind in ("image", "vector"):
        with h5py.File(tmp_path / f"{kind}-plain" / "0.h5") as file:
            assert len(file["reward"]) == counted[f"plain h5py append, {kind}"] == 200


def test_every_figure_is_measured_and_compared_with_one_that_is(tmp_path: Path, rows: list, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, fewer in {"BATCHES": 4, "SLOW_BATCHES": 1, "DRAWN": 1, "APPENDED": {"image": 50, "vector": 50}, "PLAIN": 20}.items():
        monkeypatch.setattr(benchmark, name, fewer)
    figures = measure(tmp_path, rows, 1)
    named = {figure.name: figure for figure in figures}
    assert all(figure.value > 0 for figure in figures)
    for figure in figures:
        if figure.against in named:
            assert figure.ratio == pytest.approx(figure.value / named[figure.against].value)
    assert {figure.name for figure in figures if figure.goal} == {
        *("sampled, cached", "sampled, sealed", "append, image", "append, vector", "open", "size, sealed")
    }
    lines = BenchResult(300, 1, figures).summary().splitlines()
    assert [line[: len(f.name)] for line, f in zip(lines[2:], figures, strict=True)] == list(named)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, Interrupted), (signal.SIGTERM, StoppedEarly)])
def test_a_signal_ends_it_at_once(number: int, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()

    def interrupted(folder: Path, *_: object) -> list:
        (folder / "half").touch()
        os.kill(os.getpid(), number)
        return []

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(bench, "measure", interrupted)
    with session.stop.on_signals(), pytest.raises(error, match="bench replay: stopped at a signal, nothing was written"):
        bench_replay(3, 1, session)
    with pytest.raises(error, match="stopped at its start"):
        bench_replay(3, 1, session)
    assert list(tmp_path.iterdir()) == []


def test_the_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = machine()
    assert {"python", "numpy", "h5py", "isal", "deflate"} <= set(told["versions"])  # type: ignore[call-overload]
    assert told["cores"] == len(os.sched_getaffinity(0))
    monkeypatch.setattr(bench, "versions", dict)
    monkeypatch.setattr(Path, "read_text", lambda _: "processor\t: 0\nmodel name\t: Abacus 9000\nmodel name\t: Abacus 9000\n")
    assert machine()["processor"] == "Abacus 9000"
    monkeypatch.setattr(Path, "read_text", lambda _: "Features: none\n")
    assert machine()["processor"]


def test_every_seal_is_timed_but_the_first(tmp_path: Path, rows: list, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 9.0, 10.0, 11.0, 20.0, 22.0, 30.0, 34.0])
    monkeypatch.setattr(benchmark.time, "process_time", lambda: next(ticks))
    seal = benchmark._seal(tmp_path, benchmark._spec(SPACE, "image"), rows[:80], 3)
    assert (seal.value, seal.unit) == (80 / 2, "rows/s")


def test_works_take_turns_and_the_first_turn_only_warms_up() -> None:
    order: list[tuple[str, int]] = []

    def work(name: str) -> object:
        return lambda number: (order.append((name, number)), sum(range(20_000)))

    rates = in_turns({"a": (work("a"), 10), "b": (work("b"), 20)}, rounds=2)  # type: ignore[dict-item]
    assert order == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert [len(found) for found in rates.values()] == [2, 2]
    assert np.median(rates["b"]) > np.median(rates["a"])
