import json
import shutil
from pathlib import Path

import pytest
import torch

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.config import Layer
from dreamctl.core.errors import InputError, StoppedEarly, TrainingDiverged, UsageError
from dreamctl.core.session import Session
from dreamctl.stages.collect import collect
from dreamctl.stages.experiment import resolve
from dreamctl.stages.train_ac import plan, train_ac
from dreamctl.stages.train_wm import train_wm
from dreamctl.stages.training import Trainer
from tests.stages.tiny import OVERWRITE, RESUME, TINY, differing, equal, finite, stopping, tiny

TEN = tiny(train_ac={"updates": 10, "checkpoint_every": 4})


def part(path: Path, name: str) -> dict[str, torch.Tensor]:
    return dict(Checkpoint.load(path).weights[name])


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def whole(world_model: Path, replay: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten updates at one go."""
    path = tmp_path_factory.mktemp("whole") / "agent.ckpt"
    train_ac(TEN, world_model, [replay], path, None, Session(seed=3))
    return path


@pytest.mark.parametrize("at", [1, 4, 7])
def test_a_stopped_and_resumed_run_learns_the_same_bits(whole: Path, world_model: Path, replay: Path, tmp_path: Path, at: int) -> None:
    out = tmp_path / "agent.ckpt"
    with pytest.raises(StoppedEarly, match=f"update {at + 1} of 10"):
        train_ac(TEN, world_model, [replay], out, None, stopping(at, seed=3))
    torch.manual_seed(99)
    train_ac(TEN, world_model, [replay], out, None, RESUME)
    assert differing(out, whole) == []
    assert Checkpoint.load(out).updates == 10


def test_the_world_model_is_frozen(whole: Path, world_model: Path) -> None:
    assert same(part(whole, "world_model"), part(world_model, "world_model"))
    kept = Checkpoint.load(whole).optimizer["world_model"], Checkpoint.load(world_model).optimizer["world_model"]
    assert kept[0]["step"] == kept[1]["step"] == 6
    assert all(equal(one, two) for one, two in zip(kept[0]["momentum"], kept[1]["momentum"], strict=True))


def test_actor_critic_and_slow_critic_learn(whole: Path, world_model: Path, replay: Path, tmp_path: Path) -> None:
    once = tmp_path / "agent.ckpt"
    train_ac(tiny(train_ac={"updates": 1}), world_model, [replay], once, None, Session(seed=3))
    before, after = part(once, "actor_critic"), part(whole, "actor_critic")
    for name in ("actor", "critic", "slow_critic", "return_scaler"):
        assert any(not torch.equal(before[key], after[key]) for key in before if key.startswith(f"{name}.")), name


def test_the_config_of_the_world_model_comes_from_its_checkpoint(world_model: Path, replay: Path, tmp_path: Path) -> None:
    silent = resolve([Layer("tiny", {name: TINY[name] for name in ("replay", "actor_critic", "train_ac")})])
    train_ac(silent, world_model, [replay], tmp_path / "agent.ckpt", None, Session())
    assert Checkpoint.load(tmp_path / "agent.ckpt").config["world_model"] == Checkpoint.load(world_model).config["world_model"]


def test_a_disagreeing_world_model_section_is_refused(world_model: Path, replay: Path, tmp_path: Path) -> None:
    other = tiny(world_model={"rssm": {"recurrent": 32}})
    with pytest.raises(UsageError, match=r"world_model\.rssm\.recurrent: is 32 here, .*wm\.ckpt was made with 16"):
        train_ac(other, world_model, [replay], tmp_path / "agent.ckpt", None, Session())


# --init


def test_init_takes_the_world_model_from_the_other_file(whole: Path, replay: Path, tmp_path: Path) -> None:
    newer, out = tmp_path / "newer.ckpt", tmp_path / "agent.ckpt"
    train_wm(tiny(), [replay], newer, whole, Session())
    assert not same(part(newer, "world_model"), part(whole, "world_model"))
    result = train_ac(tiny(), newer, [replay], out, whole, Session())
    assert same(part(out, "world_model"), part(newer, "world_model"))
    assert result.total_updates == Checkpoint.load(out).updates == 16
    steps = {name: state["step"] for name, state in Checkpoint.load(out).optimizer.items()}
    assert steps == {"world_model": 12, "actor": 16, "critic": 16}


def test_init_begins_with_the_agent_of_the_checkpoint_and_has_no_second_warmup(
    whole: Path, world_model: Path, replay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, before = Trainer.update, {}

    def watched(self: Trainer, number: int) -> None:
        assert self.learner.actor_critic is not None
        before.update({name: tensor.clone() for name, tensor in self.learner.actor_critic.state_dict().items()})
        update(self, number)

    monkeypatch.setattr(Trainer, "update", watched)
    train_ac(tiny(train_ac={"updates": 1}), world_model, [replay], tmp_path / "agent.ckpt", whole, Session())
    assert same(before, part(whole, "actor_critic")), "actor, critic, slow critic and normaliser are carried"
    after = part(tmp_path / "agent.ckpt", "actor_critic")
    assert not torch.equal(after["actor.out.0.weight"], before["actor.out.0.weight"])


def test_the_bash_loop_overwrites_its_own_input(world_model: Path, replay: Path, tmp_path: Path) -> None:
    wm, agent = Path(shutil.copy(world_model, tmp_path / "wm.ckpt")), tmp_path / "agent.ckpt"
    train_ac(tiny(), wm, [replay], agent, None, Session())
    for turn in (1, 2):
        train_wm(tiny(), [replay], wm, wm, OVERWRITE)
        train_ac(tiny(), wm, [replay], agent, agent, OVERWRITE)
        assert Checkpoint.load(wm).updates == Checkpoint.load(agent).updates == 6 + 6 * turn
    assert same(part(agent, "world_model"), part(wm, "world_model"))


def test_the_older_agent_survives_a_stop(whole: Path, world_model: Path, replay: Path, tmp_path: Path) -> None:
    out = Path(shutil.copy(whole, tmp_path / "agent.ckpt"))
    before = out.read_bytes()
    with pytest.raises(StoppedEarly):
        train_ac(tiny(), world_model, [replay], out, out, stopping(2, existing="overwrite"))
    assert out.read_bytes() == before
    train_ac(tiny(), world_model, [replay], out, out, RESUME)
    assert Checkpoint.load(out).updates == 16
    assert not (tmp_path / "agent.ckpt.partial").exists()


def test_init_from_a_world_model_is_refused(world_model: Path, replay: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds a world model without an actor"):
        train_ac(tiny(), world_model, [replay], tmp_path / "agent.ckpt", world_model, Session())


# What must fit


def test_resuming_on_another_world_model_is_refused(whole: Path, world_model: Path, replay: Path, tmp_path: Path) -> None:
    out = Path(shutil.copy(whole, tmp_path / "agent.ckpt"))
    train_wm(tiny(), [replay], tmp_path / "newer.ckpt", world_model, Session())
    with pytest.raises(InputError, match="its world model has changed"):
        train_ac(TEN, tmp_path / "newer.ckpt", [replay], out, None, RESUME)


def test_a_replay_of_another_environment_is_refused(world_model: Path, tmp_path: Path) -> None:
    pendulum = tiny(env={"task": "Pendulum-v1"}, collect={"steps": 60})
    collect(pendulum, tmp_path / "replay", None, Session())
    with pytest.raises(InputError, match=r"task is 'Pendulum-v1', wanted 'CartPole-v1' \(as in .*wm\.ckpt\)"):
        train_ac(tiny(), world_model, [tmp_path / "replay"], tmp_path / "agent.ckpt", None, Session())


def test_continuous_actions_and_dreams_from_the_last_steps_learn(tmp_path: Path) -> None:
    pendulum = tiny(env={"task": "Pendulum-v1"}, collect={"steps": 60}, actor_critic={"starts": 3})
    collect(pendulum, tmp_path / "replay", None, Session())
    train_wm(pendulum, [tmp_path / "replay"], tmp_path / "wm.ckpt", None, Session())
    train_ac(pendulum, tmp_path / "wm.ckpt", [tmp_path / "replay"], tmp_path / "agent.ckpt", None, Session())
    assert finite(tmp_path / "agent.ckpt")


def test_metrics_are_lines_with_known_keys(whole: Path) -> None:
    (line,) = [json.loads(text) for text in whole.with_name("agent.ckpt.metrics.jsonl").read_text().splitlines()][-1:]
    figures = "return return_scale value advantage advantage_magnitude policy_entropy imagined_reward imagined_continue gradient_norm loss"
    assert line.keys() == {"updates", "wall_s", "loss/policy", "loss/value", "loss/replay_value", *figures.split()}


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(
    world_model: Path, replay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, out = Trainer.update, tmp_path / "agent.ckpt"

    def poisoned(self: Trainer, number: int) -> None:
        if number == 5:
            assert self.learner.actor_critic is not None
            next(self.learner.actor_critic.parameters()).data.fill_(float("inf"))
        update(self, number)

    monkeypatch.setattr(Trainer, "update", poisoned)
    with pytest.raises(TrainingDiverged):
        train_ac(TEN, world_model, [replay], out, None, Session())
    assert Checkpoint.load(out).updates == 4
    assert finite(out)


def test_a_plan_writes_nothing(world_model: Path, agent: Path, replay: Path, tmp_path: Path) -> None:
    found = plan(tiny(), world_model, [replay], tmp_path / "agent.ckpt", agent, Session())
    assert found.items["world model"] == str(world_model)
    assert list(tmp_path.iterdir()) == []
