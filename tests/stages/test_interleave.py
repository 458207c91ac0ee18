"""How `run` uses its replay: which windows are drawn, how much is kept, also over a stop and a resume."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dreamctl.core.errors import StoppedEarly, UsageError
from dreamctl.core.session import Session
from dreamctl.replay.reader import open_replay
from dreamctl.replay.sampler import WindowSampler
from dreamctl.replay.streams.stream import Stream
from dreamctl.replay.windows.latents import LatentStore
from dreamctl.replay.windows.starts import Latents
from dreamctl.replay.writing import gone
from dreamctl.stages.experiment import Resolved
from dreamctl.stages.run import plan, run
from dreamctl.stages.training import Trainer
from tests.stages.tiny import RESUME, differing, stopping, tiny

LENGTH = 8


def online(selector: str = "online", steps: int = 240) -> Resolved:
    replay = {"batch_size": 4, "batch_length": LENGTH, "selector": selector}
    return tiny(replay=replay, env={"num_envs": 2}, run={"steps": steps, "prefill": steps // 3})


def new_ones(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Windows that are drawn because they are new: stream, and first row in it counted from the first there ever was."""
    found: list[tuple[str, int]] = []
    sample = WindowSampler.sample

    def watched(self: WindowSampler, k: int, *rest: object) -> object:
        new = self._current().new(self.behind, self.config.batch_size)
        windows = sample(self, k, *rest)
        assert (windows.stream[: len(new.row)] == new.stream).all()
        assert (windows.row[: len(new.row)] == new.row).all()
        streams = [self.streams[s] for s in new.stream]
        found.extend((stream.name, stream.first_row + int(row)) for stream, row in zip(streams, new.row, strict=True))
        return windows

    monkeypatch.setattr(WindowSampler, "sample", watched)
    return found


@pytest.mark.parametrize("at", [None, 101, 171])
def test_every_new_window_of_a_run_is_drawn_once_also_over_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int | None) -> None:
    found, out = new_ones(monkeypatch), tmp_path / "run"
    if at is not None:
        with pytest.raises(StoppedEarly):
            run(online(), out, stopping(at))
    run(online(), out, Session() if at is None else RESUME)
    there = {(s.name, row) for s in open_replay([out / "replay"]).streams for row in range(1, len(s) - LENGTH + 1, LENGTH)}
    assert len(found) == len(set(found)) > 20
    assert set(found) <= there
    # Updates are further apart than windows become new; after the last one a few are left.
    assert len(there - set(found)) <= 4


def test_the_online_queue_learns_other_bits_and_the_same_ones_again(tmp_path: Path) -> None:
    for name, selector in (("one", "online"), ("two", "online"), ("uniform", "uniform")):
        run(online(selector, 90), tmp_path / name, Session())
    assert differing(tmp_path / "one" / "agent.ckpt", tmp_path / "two" / "agent.ckpt") == []
    assert differing(tmp_path / "one" / "agent.ckpt", tmp_path / "uniform" / "agent.ckpt")


# Capacity

CAPACITY = 96


def bounded(selector: str = "uniform", steps: int = 240, start: str = "zero") -> Resolved:
    replay = {"batch_size": 4, "batch_length": LENGTH, "selector": selector, "start": start, "capacity": CAPACITY}
    return tiny(replay=replay, env={"num_envs": 2}, run={"steps": steps, "prefill": steps // 3})


def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of the replay, in memory and on disk, at each update."""
    found: list[int] = []
    update = Trainer.update

    def watched(self: Trainer, number: int) -> None:
        streams = self.sampler.streams
        on_disk = open_replay([stream.place for stream in streams[-1:]])
        found.extend([sum(map(len, streams)), on_disk.rows])
        update(self, number)

    monkeypatch.setattr(Trainer, "update", watched)
    return found


@pytest.mark.parametrize("at", [None, 171])
def test_a_run_keeps_no_more_rows_than_its_capacity_and_counts_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int | None
) -> None:
    found, out = held(monkeypatch), tmp_path / "run"
    if at is not None:
        with pytest.raises(StoppedEarly):
            run(bounded(), out, stopping(at))
    result = run(bounded(), out, Session() if at is None else RESUME)
    assert CAPACITY - 24 < min(found) <= max(found) <= CAPACITY
    assert (result.env_steps, result.updates) == (240, 11)
    kept = open_replay([out / "replay"])
    assert kept.rows <= CAPACITY
    assert kept.env_steps + json.loads((out / "replay" / ".gone.json").read_text())["env_steps"] == 240


def test_a_bounded_run_learns_the_same_bits_again(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(bounded("online", 120, "latents"), tmp_path / name, Session())
    assert differing(tmp_path / "one" / "agent.ckpt", tmp_path / "two" / "agent.ckpt") == []


def test_a_bounded_run_that_died_while_it_let_rows_go_counts_them_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"

    def dying(path: Path) -> None:
        if path.name.endswith("000004.h5"):
            raise SystemExit("killed")
        path.unlink()

    with monkeypatch.context() as patch:
        patch.setattr(gone, "_remove", dying)
        with pytest.raises(SystemExit):
            run(bounded(), out, Session())
    result = run(bounded(), out, RESUME)
    assert result.env_steps == 240
    assert open_replay([out / "replay"]).env_steps + json.loads((out / "replay" / ".gone.json").read_text())["env_steps"] == 240


def test_a_capacity_in_which_no_windows_fit_is_refused_with_nothing_written(tmp_path: Path) -> None:
    small = tiny(replay={"batch_size": 4, "batch_length": LENGTH, "capacity": 31}, env={"num_envs": 2})
    for refused in (lambda: run(small, tmp_path / "run", Session()), lambda: plan(small, tmp_path / "run", Session())):
        with pytest.raises(UsageError, match=r"replay\.capacity: is 31, wanted at least 32: two windows of 8 rows in each of 2 lanes"):
            refused()
    assert not (tmp_path / "run").exists()


def test_stored_latents_stay_with_their_rows_while_others_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read for a row is what was last written for it, by its place in the stream since the first row there ever was."""
    known: dict[tuple[str, int], np.ndarray] = {}
    checked = []
    write, read = LatentStore.write, LatentStore.read

    def names(streams: Sequence[Stream], stream: np.ndarray, row: np.ndarray) -> list[tuple[str, int]]:
        return [(streams[s].name, streams[s].first_row + int(r)) for s, r in zip(stream, row, strict=True)]

    def noted(
        self: LatentStore, streams: Sequence[Stream], stream: np.ndarray, row: np.ndarray, h: np.ndarray, *rest: object, **more: int
    ) -> None:
        write(self, streams, stream, row, h, *rest, **more)
        for (name, first), states in zip(names(streams, stream, row), h, strict=True):
            known.update({(name, first + t): np.float16(state) for t, state in enumerate(states)})

    def compared(self: LatentStore, streams: Sequence[Stream], stream: np.ndarray, row: np.ndarray) -> Latents:
        found = read(self, streams, stream, row)
        for place, h, is_known in zip(names(streams, stream, row), found.h, found.known, strict=True):
            assert is_known == (place in known)
            assert not is_known or np.array_equal(h, known[place])
            checked.append(place)
        return found

    monkeypatch.setattr(LatentStore, "write", noted)
    monkeypatch.setattr(LatentStore, "read", compared)
    run(bounded(start="latents"), tmp_path / "run", Session())
    assert len(checked) == 44
    assert max(row for _, row in checked) > CAPACITY
