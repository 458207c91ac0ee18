"""Windows that begin with a burn-in or with stored latents, in every command that trains."""

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from dreamctl.core.errors import StoppedEarly
from dreamctl.core.session import Session
from dreamctl.replay.reader import open_replay
from dreamctl.replay.windows.starts import Start
from dreamctl.stages.collect import collect
from dreamctl.stages.experiment import Resolved
from dreamctl.stages.run import run
from dreamctl.stages.train_ac import train_ac
from dreamctl.stages.train_wm import train_wm
from dreamctl.stages.training import Trainer
from tests.kinds import each
from tests.stages.tiny import OVERWRITE, RESUME, Hook, differing, finite, learnt, stopping, tiny

STARTS = ["zero", {"kind": "burn_in", "steps": 3}, "latents"]


def starting(start: object, **sections: dict[str, object]) -> Resolved:
    replay = {"batch_size": 4, "batch_length": 8, "start": start, **sections.pop("replay", {})}
    return tiny(replay=replay, **{"train_wm": {"updates": 7, "checkpoint_every": 3}, "train_ac": {"updates": 4}, **sections})


LATENTS = starting("latents")


@pytest.fixture
def folder(replay: Path, tmp_path: Path) -> Path:
    """A replay of its own, since stored latents are written into its folder."""
    return Path(shutil.copytree(replay, tmp_path / "replay"))


def side_file(folder: Path) -> Path:
    (path,) = folder.glob(".latents-*")
    return path


def stored(folder: Path) -> dict[str, np.ndarray]:
    """Every dataset of the side file."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(side_file(folder), "r") as file:
        file.visititems(lambda name, item: found.update({name: item[:]} if isinstance(item, h5py.Dataset) else {}))
    return found


def trained(folder: Path, out: Path, experiment: Resolved = LATENTS, **session: object) -> Path:
    train_wm(experiment, [folder], out, None, Session(seed=3, **session))
    return out


@pytest.mark.parametrize("start", STARTS, ids=str)
def test_every_kind_trains_and_reports_what_is_held_out(folder: Path, tmp_path: Path, start: object) -> None:
    result = train_wm(starting(start, train_wm={"updates": 4, "holdout": 0.5}), [folder], tmp_path / "wm.ckpt", None, Session())
    assert finite(tmp_path / "wm.ckpt")
    assert "holdout/reward" in result.figures
    assert bool(list(folder.glob(".latents-*"))) == (start == "latents")


def test_kinds_learn_different_things(folder: Path, tmp_path: Path) -> None:
    paths = [trained(folder, tmp_path / f"{number}.ckpt", starting(start)) for number, start in enumerate(STARTS)]
    assert all(differing(one, two) for one, two in [paths[:2], paths[1:], paths[::2]])


@each("kind", Start)
def test_what_is_only_observed_is_not_learned_from(kind: type[Start], folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    update = Trainer.update

    def watched(self: Trainer, number: int) -> None:
        losses = self.learner.losses
        self.learner.losses = lambda batch, start, *rest: [  # type: ignore[method-assign]
            seen.append(tuple(batch.reward.shape)),
            losses(batch, start, *rest),
            start.h.requires_grad and pytest.fail("no gradient reaches the rows in front"),
        ][1]
        update(self, number)
        self.learner.losses = losses  # type: ignore[method-assign]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "update", watched)
        trained(folder, tmp_path / "wm.ckpt", starting(kind.kind, train_wm={"updates": 2}))
    assert seen == [(4, 8)] * 2


def test_every_row_that_was_learned_from_is_stored_with_its_update(folder: Path, tmp_path: Path) -> None:
    drawn: dict[int, int] = {}
    update = Trainer.update

    def watched(self: Trainer, number: int) -> None:
        drawn.update({int(row) + 1 + t: number + 1 for row in self.sampler.sample(number).row for t in range(8)})
        update(self, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "update", watched)
        trained(folder, tmp_path / "wm.ckpt", starting("latents", train_wm={"updates": 3, "holdout": 0.0}))
    (name,) = (stream.name for stream in open_replay([folder]).streams)
    found = stored(folder)[f"{name}/updates"]
    assert {row: int(update) for row, update in enumerate(found) if update >= 0} == drawn


def test_a_stored_state_is_the_posterior_that_the_next_window_goes_on_from(folder: Path, tmp_path: Path) -> None:
    starts: list[tuple[np.ndarray, torch.Tensor, torch.Tensor]] = []
    update = Trainer.update

    def watched(self: Trainer, number: int) -> None:
        windows, state = self._begin(self.sampler, number, 2)
        known = self.memory.store.read(self.sampler.streams, windows.stream, windows.row - 1)
        starts.append((known.known, state.h, torch.from_numpy(known.h).float()))
        assert (windows.is_first[~known.known, 0]).all()
        update(self, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "update", watched)
        trained(folder, tmp_path / "wm.ckpt", starting("latents", train_wm={"updates": 30, "holdout": 0.0}))
    assert not starts[0][0].any(), "a fresh model has stored nothing"
    assert starts[-1][0].any()
    for known, h, wanted in starts:
        assert torch.equal(h, torch.where(torch.from_numpy(known)[:, None], wanted, 0.0))
    assert starts[-1][1].abs().sum() > 0


@pytest.mark.parametrize("start", STARTS[1:], ids=str)
@pytest.mark.parametrize("at", [2, 4])
def test_a_stopped_and_resumed_run_learns_the_same_bits(folder: Path, tmp_path: Path, start: object, at: int) -> None:
    whole = trained(folder, tmp_path / "whole.ckpt", starting(start))
    held = stored(folder) if start == "latents" else {}
    out = tmp_path / "wm.ckpt"
    with pytest.raises(StoppedEarly):
        train_wm(starting(start), [folder], out, None, stopping(at, seed=3))
    torch.manual_seed(99)
    train_wm(starting(start), [folder], out, None, RESUME)
    assert differing(out, whole) == []
    assert all((stored(folder)[name] == values).all() for name, values in held.items())


def test_a_killed_run_goes_on_from_the_latents_of_its_checkpoint(folder: Path, tmp_path: Path) -> None:
    whole, out, update = trained(folder, tmp_path / "whole.ckpt"), tmp_path / "wm.ckpt", Trainer.update

    def dying(self: Trainer, number: int) -> None:
        if number == 5:
            raise SystemExit("killed")
        update(self, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "update", dying)
        with pytest.raises(SystemExit):
            trained(folder, out)
    assert max(values.max() for name, values in stored(folder).items() if name.endswith("updates")) == 3
    train_wm(LATENTS, [folder], out, None, RESUME)
    assert differing(out, whole) == []


def test_the_side_file_of_another_run_does_not_reach_a_fresh_one(folder: Path, tmp_path: Path) -> None:
    one = trained(folder, tmp_path / "one.ckpt")
    assert side_file(folder).stat().st_size > 0
    assert differing(trained(folder, tmp_path / "two.ckpt"), one) == []


def test_deleting_the_side_file_costs_nothing_but_the_latents(folder: Path, tmp_path: Path) -> None:
    trained(folder, tmp_path / "wm.ckpt")
    side_file(folder).unlink()
    train_wm(starting("latents", train_wm={"updates": 9}), [folder], tmp_path / "wm.ckpt", None, RESUME)
    assert finite(tmp_path / "wm.ckpt")


def test_a_damaged_side_file_is_told_once_and_written_anew(folder: Path, tmp_path: Path) -> None:
    trained(folder, tmp_path / "wm.ckpt")
    side_file(folder).write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(3000))
    told = Hook(-1, None)
    train_wm(starting("latents", train_wm={"updates": 9}), [folder], tmp_path / "wm.ckpt", None, replace(RESUME, progress=told))
    assert len(told.notes) == 1
    assert "stored latents begin anew" in told.notes[0]
    assert stored(folder)


def test_another_architecture_has_its_own_side_file(folder: Path, tmp_path: Path) -> None:
    trained(folder, tmp_path / "one.ckpt")
    trained(folder, tmp_path / "two.ckpt", starting("latents", world_model={"rssm": {"recurrent": 8}}))
    assert len(list(folder.glob(".latents-*"))) == 2


@pytest.fixture
def agent_of(folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    return folder, trained(folder, tmp_path / "model.ckpt")


def test_train_ac_begins_from_stored_latents_and_leaves_them(agent_of: tuple[Path, Path], tmp_path: Path) -> None:
    folder, model = agent_of
    before = side_file(folder).read_bytes()
    one, two, zero = (tmp_path / f"{name}.ckpt" for name in ("one", "two", "zero"))
    for out in (one, two):
        train_ac(starting("latents"), model, [folder], out, None, Session())
    assert side_file(folder).read_bytes() == before
    assert differing(one, two) == [], "two runs from the same files learn the same bits"
    train_ac(starting("zero"), model, [folder], zero, None, Session())
    assert differing(one, zero)
    with pytest.raises(StoppedEarly):
        train_ac(starting("latents"), model, [folder], tmp_path / "out.ckpt", None, stopping(2))
    train_ac(starting("latents"), model, [folder], tmp_path / "out.ckpt", None, RESUME)
    assert differing(tmp_path / "out.ckpt", one) == []


def test_init_goes_on_from_stored_latents(agent_of: tuple[Path, Path], tmp_path: Path) -> None:
    folder, model = agent_of
    one, two = tmp_path / "one.ckpt", tmp_path / "two.ckpt"
    kept = side_file(folder)
    copy = kept.read_bytes()
    train_wm(LATENTS, [folder], one, model, Session())
    kept.write_bytes(copy)
    train_wm(LATENTS, [folder], two, model, Session())
    assert differing(one, two) == []
    kept.unlink()
    train_wm(LATENTS, [folder], tmp_path / "without.ckpt", model, Session())
    assert differing(tmp_path / "without.ckpt", one)


SHORT = {"steps": 100, "prefill": 50, "train_ratio": 2, "eval_every": 100, "eval_episodes": 1}


def test_run_stores_the_states_in_which_it_acted_and_learned(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(starting("latents", run=SHORT), out, Session())
    found = stored(out / "replay")
    (updates,) = (values for name, values in found.items() if name.endswith("updates"))
    rows = open_replay([out / "replay"]).rows
    assert rows - 2 <= len(updates) <= rows
    assert (updates[60:] >= 1).all(), "whatever the agent acted on is known"
    assert (updates[:50] >= 0).any(), "random rows are known once they were learned from"
    assert finite(out / "agent.ckpt")


def test_a_stopped_run_takes_up_its_stored_states(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(StoppedEarly):
        run(starting("latents", run=SHORT), out, stopping(75))
    before = stored(out / "replay")
    run(starting("latents", run=SHORT), out, RESUME)
    after = stored(out / "replay")
    assert before.keys() < after.keys(), "rows of a resumed run are a stream of their own"
    assert open_replay([out / "replay"]).env_steps == 100
    assert learnt(out / "agent.ckpt")


def test_collecting_anew_drops_what_was_stored(folder: Path) -> None:
    (folder / ".latents-0123456789abcdef").write_bytes(b"of rows that are no more")
    collect(tiny(collect={"steps": 30}), folder, None, OVERWRITE)
    assert not list(folder.glob(".latents-*"))
