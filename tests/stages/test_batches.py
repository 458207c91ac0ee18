"""Batches of `train-wm` and `train-ac`: made ahead, from rows that are pinned or from a replay that others write to."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.errors import InputError, StoppedEarly
from dreamctl.core.experience import Windows
from dreamctl.core.metrics import metrics_path
from dreamctl.core.session import Session
from dreamctl.replay.reader import open_replay
from dreamctl.replay.sampler import WindowSampler
from dreamctl.replay.windows import follow
from dreamctl.replay.windows.prefetch import Prefetch
from dreamctl.replay.writer import ReplayWriter
from dreamctl.stages import collect as collecting
from dreamctl.stages import train_ac as ac
from dreamctl.stages import train_wm as wm
from dreamctl.stages.collect import collect
from dreamctl.stages.train_ac import train_ac
from dreamctl.stages.train_wm import train_wm
from dreamctl.stages.training import Trainer
from tests.stages.tiny import RESUME, differing, stopping, tiny


@contextmanager
def undisturbed(replay: object, config: object, session: Session, *_: object, share: float = 0.0, **__: object) -> Iterator[WindowSampler]:
    """Batches that are drawn when they are asked for."""
    yield WindowSampler(replay.split(share)[0], config, session.seed)


def test_training_learns_the_same_bits_with_batches_made_ahead(
    replay: Path, world_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    sample = Prefetch.sample
    monkeypatch.setattr(Prefetch, "sample", lambda self, k: [made.append(k), sample(self, k)][1])
    train_wm(tiny(), [replay], tmp_path / "wm.ckpt", None, Session(seed=3))
    train_ac(tiny(), world_model, [replay], tmp_path / "ac.ckpt", None, Session(seed=3))
    assert made == [*range(6), *range(6)]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
    monkeypatch.setattr(wm, "drawn", undisturbed)
    monkeypatch.setattr(ac, "drawn", undisturbed)
    train_wm(tiny(), [replay], tmp_path / "wm2.ckpt", None, Session(seed=3))
    train_ac(tiny(), world_model, [replay], tmp_path / "ac2.ckpt", None, Session(seed=3))
    assert len(made) == 12
    assert differing(tmp_path / "wm.ckpt", tmp_path / "wm2.ckpt") == []
    assert differing(tmp_path / "ac.ckpt", tmp_path / "ac2.ckpt") == []


def test_a_replay_that_was_there_has_no_new_windows(replay: Path, tmp_path: Path) -> None:
    """So on it the online queue is the uniform selector."""
    for selector in ("uniform", "online"):
        experiment = tiny(replay={"batch_size": 4, "batch_length": 8, "selector": selector})
        train_wm(experiment, [replay], tmp_path / f"{selector}.ckpt", None, Session(seed=3))
    assert differing(tmp_path / "uniform.ckpt", tmp_path / "online.ckpt") == []
    assert Checkpoint.load(tmp_path / "online.ckpt").state["behind"].keys()


def test_what_is_too_short_to_be_drawn_is_told_once(replay: Path, tmp_path: Path) -> None:
    session = stopping(100)
    experiment = tiny(replay={"batch_size": 4, "batch_length": 24, "windows": "within_episode"}, train_wm={"holdout": 0, "updates": 2})
    train_wm(experiment, [replay], tmp_path / "wm.ckpt", None, session)
    short = [info.length for info in open_replay([replay]).episodes() if info.length < 24]
    assert session.progress.notes == [f"{replay}: {len(short)} episodes with {sum(short)} rows never drawn, shorter than a window of 24"]


# A replay that grows


@pytest.fixture
def folder(replay: Path, tmp_path: Path) -> Path:
    """A replay of its own, since rows are added to it."""
    return Path(shutil.copytree(replay, tmp_path / "replay"))


def add(folder: Path, steps: int = 60) -> None:
    collect(tiny(collect={"steps": steps}), folder, None, Session(seed=8, existing="append"))


@pytest.mark.parametrize("start", ["zero", "latents"])
def test_a_resumed_run_learns_the_same_bits_though_its_replay_grew(folder: Path, tmp_path: Path, start: str) -> None:
    experiment = tiny(replay={"batch_size": 4, "batch_length": 8, "start": start}, train_wm={"updates": 8, "holdout_batches": 1})
    whole, out = tmp_path / "whole.ckpt", tmp_path / "wm.ckpt"
    train_wm(experiment, [folder], whole, None, Session(seed=3))
    with pytest.raises(StoppedEarly):
        train_wm(experiment, [folder], out, None, stopping(3, seed=3))
    add(folder)
    train_wm(experiment, [folder], out, None, RESUME)
    assert differing(whole, out) == []
    assert Checkpoint.load(out).state["snapshot"] == Checkpoint.load(whole).state["snapshot"]


def test_an_agent_that_is_resumed_goes_on_from_the_rows_that_it_had(folder: Path, world_model: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.ckpt", tmp_path / "ac.ckpt"
    train_ac(tiny(), world_model, [folder], whole, None, Session(seed=3))
    with pytest.raises(StoppedEarly):
        train_ac(tiny(), world_model, [folder], out, None, stopping(3, seed=3))
    add(folder)
    train_ac(tiny(), world_model, [folder], out, None, RESUME)
    assert differing(whole, out) == []


def test_a_resumed_run_finds_replays_that_have_moved_although_their_files_have_the_same_names(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for number, folder in enumerate(folders, start=1):
        collect(tiny(collect={"steps": 100 * number}), folder, None, Session())
    assert {path.name for path in folders[0].iterdir()} == {path.name for path in folders[1].iterdir()}
    whole, out = tmp_path / "whole.ckpt", tmp_path / "wm.ckpt"
    train_wm(tiny(), folders, whole, None, Session(seed=3))
    with pytest.raises(StoppedEarly):
        train_wm(tiny(), folders, out, None, stopping(3, seed=3))
    moved = [folder.rename(tmp_path / f"moved-{folder.name}") for folder in folders]
    train_wm(tiny(), moved[::-1], out, None, RESUME)
    assert differing(whole, out) == []


def test_rows_that_are_gone_are_a_replay_that_has_changed(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "wm.ckpt"
    add(folder)
    with pytest.raises(StoppedEarly):
        train_wm(tiny(), [folder], out, None, stopping(3))
    shard = sorted(folder.glob("*.h5"))[0]
    kept = shard.rename(tmp_path / shard.name)
    with pytest.raises(InputError, match=r"its replay has changed since it was interrupted \(.*\); start anew with --init"):
        train_wm(tiny(), [folder], out, None, RESUME)
    kept.rename(shard)
    train_wm(tiny(), [folder], out, None, RESUME)


def test_a_checkpoint_without_a_snapshot_wants_the_replay_as_it_was(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "wm.ckpt"
    with pytest.raises(StoppedEarly):
        train_wm(tiny(), [folder], out, None, stopping(3))
    before = Checkpoint.load(out)
    older = {name: value for name, value in before.state.items() if name not in ("snapshot", "behind")}
    replace(before, state=older).save(out)
    add(folder)
    with pytest.raises(InputError, match="its replay has changed since it was interrupted; start anew"):
        train_wm(tiny(), [folder], out, None, RESUME)


def test_how_much_is_cached_may_change_at_a_resume(folder: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.ckpt", tmp_path / "wm.ckpt"
    cached = {"batch_size": 4, "batch_length": 8, "cache": "none", "cache_gb": 0.5}
    train_wm(tiny(), [folder], whole, None, Session(seed=3))
    with pytest.raises(StoppedEarly):
        train_wm(tiny(), [folder], out, None, stopping(3, seed=3))
    train_wm(tiny(replay=cached), [folder], out, None, RESUME)
    assert differing(whole, out) == []
    assert Checkpoint.load(out).config["replay"]["cache"] == "none"


def test_following_takes_in_what_is_added_and_learns_from_it_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "BATCHES", 1)
    experiment = tiny(replay={"batch_size": 4, "batch_length": 8, "selector": "online"}, train_wm={"updates": 12, "holdout": 0.3})
    update, before, out = Trainer.update, open_replay([folder]), tmp_path / "wm.ckpt"
    drawn: list[tuple[str, int]] = []

    def watched(self: Trainer, number: int) -> None:
        if number == 4:
            add(folder)
        update(self, number)

    monkeypatch.setattr(Trainer, "update", watched)
    sample = WindowSampler.sample

    def noted(self: WindowSampler, k: int, *rest: object) -> Windows:
        new = self._current().new(self.behind, 4)
        drawn.extend((self.streams[s].name, int(r)) for s, r in zip(*new, strict=True))
        return sample(self, k, *rest)

    monkeypatch.setattr(WindowSampler, "sample", noted)
    result = train_wm(experiment, [folder], out, None, Session(seed=3, follow=True))
    after = open_replay([folder])
    kept, _ = after.split(0.3)
    (new,) = (stream for stream in kept.streams if stream.name not in {s.name for s in before.streams})
    assert drawn == [(new.name, row) for row in range(1, len(new) - 7, 8)]
    assert result.env_steps == after.env_steps > before.env_steps
    assert [rows for _, rows, _ in Checkpoint.load(out).state["snapshot"]] == [record.rows for record in after.files]


def test_following_goes_on_from_where_it_was(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "BATCHES", 1)
    out = tmp_path / "wm.ckpt"
    with pytest.raises(StoppedEarly):
        train_wm(tiny(), [folder], out, None, stopping(3, follow=True))
    rows = sum(rows for _, rows, _ in Checkpoint.load(out).state["snapshot"])
    add(folder)
    train_wm(tiny(), [folder], out, None, replace(RESUME, follow=True))
    assert sum(rows for _, rows, _ in Checkpoint.load(out).state["snapshot"]) > rows
    assert Checkpoint.load(out).updates == 6


@pytest.mark.parametrize("start", ["zero", "latents"])
def test_following_goes_on_when_oldest_shards_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str) -> None:
    monkeypatch.setattr(follow, "BATCHES", 1)
    monkeypatch.setattr(collecting, "ReplayWriter", lambda *given, **options: ReplayWriter(*given, **{**options, "shard_rows": 50}))
    folder, out, update = tmp_path / "replay", tmp_path / "wm.ckpt", Trainer.update
    collect(tiny(), folder, None, Session())

    def pruned(self: Trainer, number: int) -> None:
        if number in (3, 4, 5, 8):
            min(folder.glob("*.h5")).unlink()
        update(self, number)

    monkeypatch.setattr(Trainer, "update", pruned)
    experiment = tiny(
        replay={"batch_size": 4, "batch_length": 8, "start": start},
        train_wm={"updates": 10, "holdout": 0.3, "holdout_batches": 2, "log_every": 1, "checkpoint_every": 9},
    )
    result = train_wm(experiment, [folder], out, None, Session(seed=3, follow=True))
    assert result.env_steps == open_replay([folder]).env_steps < 250
    lines = [json.loads(line) for line in metrics_path(out).read_text().splitlines()]
    assert len([line["holdout/reward"] for line in lines]) == 10
    more = replace(experiment, experiment=replace(experiment.experiment, train_wm=replace(experiment.experiment.train_wm, updates=11)))
    train_wm(more, [folder], out, None, replace(RESUME, follow=True))
    min(folder.glob("*.h5")).unlink()
    with pytest.raises(InputError, match="its replay has changed since it was interrupted"):
        train_wm(more, [folder], out, None, replace(RESUME, follow=True))
