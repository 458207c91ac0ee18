"""How `run` uses its replay: which windows are drawn, how much is kept, also over a stop and a resume."""

from pathlib import Path

import pytest

from dreamctl.core.errors import StoppedEarly
from dreamctl.core.session import Session
from dreamctl.replay.reader import open_replay
from dreamctl.replay.sampler import WindowSampler
from dreamctl.stages.experiment import Resolved
from dreamctl.stages.run import run
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
