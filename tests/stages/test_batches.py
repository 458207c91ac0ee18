"""Batches of `train-wm` and `train-ac`: made ahead, from rows that are pinned or from a replay that others write to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.session import Session
from dreamctl.replay.prefetch import Prefetch
from dreamctl.replay.sampler import WindowSampler
from dreamctl.stages import train_ac as ac
from dreamctl.stages import train_wm as wm
from dreamctl.stages.train_ac import train_ac
from dreamctl.stages.train_wm import train_wm
from tests.stages.tiny import differing, tiny


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
