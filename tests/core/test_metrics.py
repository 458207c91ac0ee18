"""Metrics: lines, resuming, TensorBoard."""

import json
from pathlib import Path

import pytest

from dreamctl.core import metrics as module
from dreamctl.core.errors import OutputError, UsageError
from dreamctl.core.metrics import Metrics, metrics_path


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_write_is_a_line(tmp_path):
    path = metrics_path(tmp_path / "wm.ckpt")
    with Metrics(path) as metrics:
        metrics.write(updates=1, env_steps=10, **{"loss/reward": 2.5})
        metrics.write(updates=2, loss=float("nan"))
    assert path.name == "wm.ckpt.metrics.jsonl"
    first, second = lines(path)
    assert first["wall_s"] >= 0
    assert {name: first[name] for name in ("updates", "env_steps", "loss/reward")} == {"updates": 1, "env_steps": 10, "loss/reward": 2.5}
    assert second["loss"] is None


def test_resuming_drops_later_lines_and_adds_up_the_time(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"updates": 5, "wall_s": 100.0}\n{"updates": 9, "wall_s": 200.0}\n{"upda')
    with Metrics(path, resume_at=5) as metrics:
        metrics.write(updates=6)
    assert [line["updates"] for line in lines(path)] == [5, 6]
    assert 100 <= lines(path)[1]["wall_s"] < 110


def test_a_new_run_starts_anew(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"updates": 0}\n')
    Metrics(path).close()
    assert lines(path) == []


def test_no_path_writes_nothing():
    with Metrics(None) as metrics:
        metrics.write(updates=1, loss=1.0)


def test_tensorboard_gets_the_same_figures(tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    with Metrics(None, tmp_path / "tb") as metrics:
        metrics.write(updates=3, loss=1.5)
    (file,) = (tmp_path / "tb").iterdir()
    events = [event for event in loader.EventFileLoader(str(file)).Load() if event.HasField("summary")]
    found = {value.tag: value.tensor.float_val[0] if value.HasField("tensor") else value.simple_value for value in events[0].summary.value}
    assert events[0].step == 3
    assert found["loss"] == 1.5


def test_tensorboard_without_its_extra_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"dreamctl\[tensorboard\]"):
        Metrics(None, tmp_path / "tb")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_is_told_once(tmp_path: Path) -> None:
    def fill(metrics: Metrics) -> None:
        with metrics:
            metrics._file = Path("/dev/full").open("a")  # noqa: SIM115
            metrics.write(updates=1, loss=1.0)

    with pytest.raises(OutputError, match=r"metrics\.jsonl: cannot write \(No space left on device\)"):
        fill(Metrics(tmp_path / "metrics.jsonl"))
