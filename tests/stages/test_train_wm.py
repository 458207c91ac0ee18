import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.config import Layer
from dreamctl.core.errors import InputError, Interrupted, StoppedEarly, TrainingDiverged, UsageError
from dreamctl.core.session import Session
from dreamctl.replay.reader import open_replay
from dreamctl.stages import training
from dreamctl.stages.collect import collect
from dreamctl.stages.experiment import resolve
from dreamctl.stages.train_wm import plan, train_wm
from dreamctl.stages.training import Trainer
from tests.stages.tiny import OVERWRITE, RESUME, differing, finite, learnt, stopping, tiny

TWELVE = tiny(train_wm={"updates": 12, "checkpoint_every": 5})


@pytest.fixture(scope="module")
def whole(replay: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve updates at one go."""
    path = tmp_path_factory.mktemp("whole") / "wm.ckpt"
    train_wm(TWELVE, [replay], path, None, Session(seed=3))
    return path


@pytest.mark.parametrize("at", [1, 5, 7, 10])
def test_a_stopped_and_resumed_run_learns_the_same_bits(whole: Path, replay: Path, tmp_path: Path, at: int) -> None:
    out = tmp_path / "wm.ckpt"
    with pytest.raises(StoppedEarly, match=r"update \d+ of 12, state saved; go on with --resume"):
        train_wm(TWELVE, [replay], out, None, stopping(at, seed=3))
    assert Checkpoint.load(out).updates == at + 1
    torch.manual_seed(99)
    result = train_wm(TWELVE, [replay], out, None, replace(RESUME, seed=3))
    assert result.total_updates == Checkpoint.load(out).updates == 12
    assert differing(out, whole) == []


def test_a_budget_that_is_overspent_is_refused(whole: Path, replay: Path, tmp_path: Path) -> None:
    out = Path(shutil.copy(whole, tmp_path / "wm.ckpt"))
    with pytest.raises(UsageError, match="has 12 updates of this run behind it, wanted 6; raise --updates"):
        train_wm(tiny(), [replay], out, None, RESUME)


def test_stopping_twice_is_no_different(whole: Path, replay: Path, tmp_path: Path) -> None:
    out = tmp_path / "wm.ckpt"
    with pytest.raises(Interrupted):
        train_wm(TWELVE, [replay], out, None, stopping(2, signal.SIGINT, seed=3))
    with pytest.raises(StoppedEarly):
        train_wm(TWELVE, [replay], out, None, stopping(8, seed=3, existing="resume"))
    train_wm(TWELVE, [replay], out, None, RESUME)
    assert differing(out, whole) == [], "the seed comes from the checkpoint"


def test_a_killed_run_goes_on_from_its_last_checkpoint(whole: Path, replay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, update = tmp_path / "wm.ckpt", Trainer.update

    def dying(self: Trainer, number: int) -> None:
        if number == 8:
            raise SystemExit("killed")
        update(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "update", dying)
        with pytest.raises(SystemExit):
            train_wm(TWELVE, [replay], out, None, Session(seed=3))
    assert Checkpoint.load(out).updates == 5
    train_wm(TWELVE, [replay], out, None, replace(RESUME, seed=3))
    assert differing(out, whole) == []


def test_a_finished_run_is_left_as_it_is(whole: Path, replay: Path, tmp_path: Path) -> None:
    out = Path(shutil.copy(whole, tmp_path / "wm.ckpt"))
    train_wm(TWELVE, [replay], out, None, RESUME)
    assert out.read_bytes() == whole.read_bytes()


def test_another_seed_learns_other_bits(whole: Path, replay: Path, tmp_path: Path) -> None:
    train_wm(TWELVE, [replay], tmp_path / "wm.ckpt", None, Session(seed=4))
    assert differing(tmp_path / "wm.ckpt", whole)


def test_resuming_with_a_larger_budget_trains_on(whole: Path, replay: Path, tmp_path: Path) -> None:
    six, twelve = tmp_path / "six.ckpt", tmp_path / "wm.ckpt"
    train_wm(tiny(), [replay], six, None, Session(seed=3))
    shutil.copy(six, twelve)
    train_wm(TWELVE, [replay], twelve, None, RESUME)
    assert differing(twelve, whole) == []


def test_resuming_keeps_what_is_not_said_again(replay: Path, tmp_path: Path) -> None:
    out = tmp_path / "wm.ckpt"
    with pytest.raises(StoppedEarly):
        train_wm(tiny(train_wm={"holdout": 0.4, "updates": 6}), [replay], out, None, stopping(2))
    train_wm(resolve([Layer("now", {"train_wm": {"updates": 8}})]), [replay], out, None, RESUME)
    kept = Checkpoint.load(out)
    assert kept.updates == 8
    assert kept.config["train_wm"]["holdout"] == 0.4


def test_resuming_computes_as_before(replay: Path, tmp_path: Path) -> None:
    out = tmp_path / "wm.ckpt"
    with pytest.raises(StoppedEarly):
        train_wm(tiny(), [replay], out, None, stopping(2, threads=2, device="cpu"))
    train_wm(tiny(), [replay], out, None, RESUME)
    was = Checkpoint.load(out).provenance
    assert (was["threads"], was["device"], was["precision"]) == (2, "cpu", "fp32")


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("replay", {"batch_size": 5}, r"replay\.batch_size: is 5 here, .*wm\.ckpt was made with 4"),
        ("world_model", {"rssm": {"units": 16}}, r"world_model\.rssm\.units: is 16 here"),
        ("world_model", {"vectors": "symlog"}, r"world_model\.vectors\.kind: is 'symlog' here, .* made with 'standardize'"),
        ("optimizer", {"warmup": 7}, r"optimizer\.warmup: is 7 here"),
        ("train_wm", {"holdout": 0.5}, r"train_wm\.holdout: is 0\.5 here"),
    ],
)
def test_resuming_with_another_experiment_is_refused(
    whole: Path, replay: Path, tmp_path: Path, section: str, values: dict[str, object], message: str
) -> None:
    out = Path(shutil.copy(whole, tmp_path / "wm.ckpt"))
    with pytest.raises(UsageError, match=message):
        train_wm(tiny(**{section: values}), [replay], out, None, RESUME)


def test_resuming_on_another_replay_is_refused(whole: Path, tmp_path: Path) -> None:
    out = Path(shutil.copy(whole, tmp_path / "wm.ckpt"))
    collect(tiny(collect={"steps": 100}), tmp_path / "other", None, Session(seed=1))
    with pytest.raises(InputError, match="its replay has changed"):
        train_wm(TWELVE, [tmp_path / "other"], out, None, RESUME)


def test_resuming_an_agent_is_refused(agent: Path, replay: Path, tmp_path: Path) -> None:
    out = Path(shutil.copy(agent, tmp_path / "agent.ckpt"))
    with pytest.raises(InputError, match="was not written by this command"):
        train_wm(tiny(), [replay], out, None, RESUME)


def test_an_output_that_exists_is_refused(whole: Path, replay: Path) -> None:
    before = whole.read_bytes()
    with pytest.raises(UsageError, match=r"wm\.ckpt: exists; use --resume, --overwrite or another --out"):
        train_wm(tiny(), [replay], whole, None, Session())
    assert whole.read_bytes() == before


# --init


def test_init_carries_weights_moments_and_step_counts(world_model: Path, replay: Path, tmp_path: Path) -> None:
    out = tmp_path / "wm.ckpt"
    result = train_wm(tiny(train_wm={"updates": 4}), [replay], out, world_model, Session())
    assert (result.updates, result.total_updates) == (4, 10)
    assert Checkpoint.load(out).updates == 10
    assert Checkpoint.load(out).optimizer["world_model"]["step"] == 10


def test_init_and_a_stop_are_no_different_from_init_alone(world_model: Path, replay: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.ckpt", tmp_path / "two.ckpt"
    train_wm(tiny(), [replay], one, world_model, Session())
    with pytest.raises(StoppedEarly):
        train_wm(tiny(), [replay], two, world_model, stopping(2))
    train_wm(tiny(), [replay], two, world_model, RESUME)
    assert differing(one, two) == []
    assert Checkpoint.load(two).updates == 12


def test_init_begins_with_the_model_of_the_checkpoint_and_has_no_second_warmup(
    world_model: Path, replay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = warmups(tiny(train_wm={"updates": 1}), replay, tmp_path / "wm.ckpt", world_model, monkeypatch)
    assert changes > 0
    assert warmups(tiny(train_wm={"updates": 1}), replay, tmp_path / "fresh.ckpt", None, monkeypatch) == 0


def warmups(experiment: object, replay: Path, out: Path, init: Path | None, monkeypatch: pytest.MonkeyPatch) -> float:
    """How far the first update moves the weights; with `init`, they began as they were there."""
    update, before = Trainer.update, {}

    def watched(self: Trainer, number: int) -> None:
        before.update({name: p.detach().clone() for name, p in self.learner.world_model.named_parameters()})
        update(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "update", watched)
        train_wm(experiment, [replay], out, init, Session())
    if init is not None:
        weights = Checkpoint.load(init).weights["world_model"]
        assert all(torch.equal(weights[name], value) for name, value in before.items())
    weights = Checkpoint.load(out).weights["world_model"]
    return max((weights[name] - value).abs().max().item() for name, value in before.items())


def test_init_draws_other_batches_than_the_run_before(
    world_model: Path, replay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watch_batches(monkeypatch)
    train_wm(tiny(train_wm={"holdout": 0.0}), [replay], tmp_path / "one.ckpt", None, Session())
    train_wm(tiny(train_wm={"holdout": 0.0}), [replay], tmp_path / "two.ckpt", world_model, Session())
    assert len(seen) == 12
    places = {tuple(zip(windows.stream.tolist(), windows.row.tolist(), strict=True)) for windows in seen}
    assert len(places) == 12


def test_init_carries_the_standardisation(world_model: Path, tmp_path: Path) -> None:
    collect(tiny(collect={"steps": 200}), tmp_path / "other", None, Session(seed=5))
    one, two = tmp_path / "init.ckpt", tmp_path / "fresh.ckpt"
    train_wm(tiny(), [tmp_path / "other"], one, world_model, Session())
    train_wm(tiny(), [tmp_path / "other"], two, None, Session())
    kept, before, fresh = (Checkpoint.load(path).weights["world_model"]["scaler.mean0"] for path in (one, world_model, two))
    assert torch.equal(kept, before)
    assert not torch.equal(fresh, before)


def test_init_takes_the_world_model_out_of_an_agent(agent: Path, world_model: Path, replay: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.ckpt", tmp_path / "two.ckpt"
    train_wm(tiny(), [replay], one, agent, Session())
    train_wm(tiny(), [replay], two, world_model, Session())
    assert differing(one, two) == [], "an agent holds its world model, optimizer included"
    assert Checkpoint.load(one).kind == "world_model"


def test_init_of_another_size_names_the_tensor(world_model: Path, replay: Path, tmp_path: Path) -> None:
    other = tiny(world_model={"encoder": {"units": 12}})
    with pytest.raises(InputError, match=r"wm\.ckpt: tensor encoder\.mlp\.0\.linear\.bias has shape \(8,\), wanted \(12,\)"):
        train_wm(other, [replay], tmp_path / "out.ckpt", world_model, Session())


# Overwriting


def test_the_older_file_survives_until_the_new_one_is_complete(whole: Path, replay: Path, tmp_path: Path) -> None:
    out, partial = Path(shutil.copy(whole, tmp_path / "wm.ckpt")), tmp_path / "wm.ckpt.partial"
    before = out.read_bytes()
    with pytest.raises(StoppedEarly):
        train_wm(tiny(), [replay], out, out, stopping(3, existing="overwrite"))
    assert out.read_bytes() == before
    assert Checkpoint.load(partial).updates == 16
    train_wm(tiny(), [replay], out, out, RESUME)
    assert Checkpoint.load(out).updates == 18
    assert not partial.exists()


def test_overwriting_anew_drops_what_was_begun(whole: Path, replay: Path, tmp_path: Path) -> None:
    out = Path(shutil.copy(whole, tmp_path / "wm.ckpt"))
    with pytest.raises(StoppedEarly):
        train_wm(tiny(), [replay], out, None, stopping(3, existing="overwrite"))
    train_wm(tiny(), [replay], out, None, OVERWRITE)
    assert Checkpoint.load(out).updates == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wm.ckpt", "wm.ckpt.metrics.jsonl"]


def test_a_kill_before_the_first_checkpoint_is_not_taken_for_a_finished_run(
    replay: Path, world_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copy(world_model, tmp_path / "wm.ckpt"))

    def dying(*_: object) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "update", dying)
        with pytest.raises(SystemExit):
            train_wm(tiny(), [replay], out, out, OVERWRITE)
    train_wm(tiny(), [replay], out, out, RESUME)
    assert Checkpoint.load(out).updates == 12


# Data


def watch_batches(monkeypatch: pytest.MonkeyPatch) -> list:
    """Every batch that is learned from or reported on."""
    seen, to_batch = [], training.to_batch
    monkeypatch.setattr(training, "to_batch", lambda windows, *rest: [seen.append(windows), to_batch(windows, *rest)][1])
    return seen


def test_what_is_held_out_is_never_trained_on(replay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = open_replay([replay]).split(0.5)[1]
    secret = {row.tobytes() for stream in held.streams for row in np.ascontiguousarray(stream.columns["observation/observation"])}
    seen = watch_batches(monkeypatch)
    train_wm(tiny(train_wm={"updates": 30, "holdout": 0.5, "log_every": 30}), [replay], tmp_path / "wm.ckpt", None, Session())
    batches = [{row.tobytes() for row in windows.observation["observation"].reshape(-1, 4)} for windows in seen]
    trained, reported = batches[:30], batches[30:]
    assert len(secret) > 50
    assert all(not rows & secret for rows in trained)
    assert reported
    assert all(rows <= secret for rows in reported)


def test_the_scaling_does_not_see_what_is_held_out(replay: Path, tmp_path: Path) -> None:
    kept = open_replay([replay]).split(0.5)[0]
    train_wm(tiny(train_wm={"holdout": 0.5}), [replay], tmp_path / "wm.ckpt", None, Session())
    rows = np.concatenate([stream.columns["observation/observation"] for stream in kept.streams])
    mean = Checkpoint.load(tmp_path / "wm.ckpt").weights["world_model"]["scaler.mean0"]
    np.testing.assert_allclose(mean.numpy(), rows.mean(0), rtol=1e-4, atol=1e-6)


def test_too_little_data_is_told_before_anything_is_written(replay: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"longest stream holds \d+ rows, replay\.batch_length is 4000; collect more or set"):
        train_wm(tiny(replay={"batch_length": 4000}), [replay], tmp_path / "wm.ckpt", None, Session())
    assert list(tmp_path.iterdir()) == []


# Figures and failures


def test_metrics_are_lines_with_known_keys(replay: Path, tmp_path: Path) -> None:
    out = tmp_path / "wm.ckpt"
    result = train_wm(tiny(train_wm={"updates": 5, "log_every": 2, "holdout": 0.5}), [replay], out, None, Session())
    lines = [json.loads(line) for line in (tmp_path / "wm.ckpt.metrics.jsonl").read_text().splitlines()]
    assert [line["updates"] for line in lines] == [2, 4, 5]
    terms = {"observation/observation", "reward", "continue", "dynamics", "representation"}
    figures = {"loss", "gradient_norm", "kl", "posterior_entropy", "prior_entropy"}
    wanted = {f"loss/{term}" for term in terms} | {f"holdout/{term}" for term in terms} | figures
    assert all(line.keys() == wanted | {"updates", "wall_s"} for line in lines)
    assert result.figures.keys() == wanted
    assert result.to_json()["path"] == str(out)
    assert str(out) in result.summary()


def test_resuming_drops_metrics_after_the_checkpoint(replay: Path, tmp_path: Path) -> None:
    out = tmp_path / "wm.ckpt"
    experiment = tiny(train_wm={"updates": 8, "log_every": 1})
    with pytest.raises(StoppedEarly):
        train_wm(experiment, [replay], out, None, stopping(3))
    log = tmp_path / "wm.ckpt.metrics.jsonl"
    log.write_text(log.read_text() + '{"updates": 7, "loss": 0.0}\n{"upda')
    train_wm(experiment, [replay], out, None, RESUME)
    assert [json.loads(line)["updates"] for line in log.read_text().splitlines()] == list(range(1, 9))


def test_a_loss_that_is_not_finite_ends_training_and_keeps_the_last_good_checkpoint(
    replay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, out = Trainer.update, tmp_path / "wm.ckpt"

    def poisoned(self: Trainer, number: int) -> None:
        if number == 6:
            next(self.learner.world_model.parameters()).data.fill_(float("nan"))
        update(self, number)

    monkeypatch.setattr(Trainer, "update", poisoned)
    with pytest.raises(TrainingDiverged, match=r"became non-finite; lower optimizer\.learning_rate"):
        train_wm(tiny(train_wm={"updates": 20, "checkpoint_every": 4, "log_every": 50}), [replay], out, None, Session())
    assert Checkpoint.load(out).updates == 4
    assert finite(out)


def test_the_checkpoint_says_where_it_comes_from(world_model: Path, replay: Path) -> None:
    kept = Checkpoint.load(world_model)
    assert kept.provenance["inputs"] == {"replay": open_replay([replay]).content_hash()}
    assert kept.config["world_model"]["rssm"]["recurrent"] == 16
    assert (kept.kind, kept.env_steps, kept.spec.name) == ("world_model", 400, "gym:CartPole-v1")
    assert len(learnt(world_model)) > 50


def test_a_plan_writes_nothing(world_model: Path, replay: Path, tmp_path: Path) -> None:
    found = plan(tiny(), [replay], tmp_path / "wm.ckpt", world_model, Session())
    assert {"parameters", "memory", "held out", "output"} <= found.items.keys()
    assert list(tmp_path.iterdir()) == []
