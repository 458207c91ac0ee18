import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.errors import InputError, StoppedEarly, UsageError
from dreamctl.core.experience import Episode
from dreamctl.core.session import Session
from dreamctl.replay.reader import open_replay
from dreamctl.stages.collect import collect
from dreamctl.stages.imagine import imagine, plan
from dreamctl.stages.train_ac import train_ac
from dreamctl.stages.train_wm import train_wm
from tests.stages.tiny import OVERWRITE, RESUME, stopping, tiny

CONTEXT, HORIZON = 3, 6


def dreams(path: Path) -> list[Episode]:
    replay = open_replay([path])
    return [replay.load(info, replay.extra_names, truth=True) for info in replay.episodes()]


def dream(model: Path, replay: Path, out: Path, session: Session | None = None, **changes: object) -> list[Episode]:
    imagine(tiny(imagine=changes), model, [replay], out, session or Session())
    return dreams(out)


def hopeful(source: Path, path: Path, continue_prob: float) -> Path:
    """The same checkpoint, but whatever is seen it goes on with this probability (discount inside)."""
    checkpoint = Checkpoint.load(source)
    weights = dict(checkpoint.weights["world_model"])
    weights["continue_predictor.out.0.weight"] = torch.zeros_like(weights["continue_predictor.out.0.weight"])
    weights["continue_predictor.out.0.bias"] = torch.logit(torch.tensor([continue_prob]))
    replace(checkpoint, weights={**checkpoint.weights, "world_model": weights}).save(path)
    return path


def test_a_world_model_dreams_along_what_was_really_done(world_model: Path, replay: Path, tmp_path: Path) -> None:
    found = dream(hopeful(world_model, tmp_path / "wm.ckpt", 0.99), replay, tmp_path / "dreams.h5")
    assert len(found) == 3
    files = open_replay([replay]).files
    for episode in found:
        assert len(episode) == CONTEXT + HORIZON
        assert episode.context == CONTEXT
        assert episode.truth_valid is not None
        assert episode.truth_valid.all()
        rows = slice(episode.source_row, episode.source_row + len(episode))
        with h5py.File(files[episode.source_shard].path) as shard:
            steps = {name: shard[f"steps/{name}"][rows] for name in ("observation/observation", "action", "reward")}
        real = len(steps["reward"])
        assert real >= 1
        np.testing.assert_array_equal(episode.truth["observation"][:real], steps["observation/observation"])
        np.testing.assert_array_equal(episode.action[: min(real, len(episode) - 1)], steps["action"][: len(episode) - 1])
        np.testing.assert_array_equal(episode.reward[:CONTEXT][:real], steps["reward"][:CONTEXT])
        assert not np.array_equal(episode.observation["observation"], episode.truth["observation"])
        assert episode.action[-1] == 0


def test_the_flags_of_a_dream(world_model: Path, replay: Path, tmp_path: Path) -> None:
    for episode in dream(hopeful(world_model, tmp_path / "wm.ckpt", 0.99), replay, tmp_path / "dreams.h5"):
        assert episode.is_first.tolist() == [True] + [False] * (len(episode) - 1)
        assert not episode.terminated.any()
        assert not episode.truncated.any()
        np.testing.assert_allclose(episode.extra["continue_prob"], 0.99 / (1 - 1 / 333), rtol=1e-3)
    assert open_replay([tmp_path / "dreams.h5"]).kind == "imagined"


@pytest.mark.parametrize(("probability", "rows"), [(0.01, CONTEXT + 1), (0.4980, CONTEXT + 1), (0.4990, CONTEXT + HORIZON)])
def test_a_dream_ends_where_the_continue_probability_without_the_discount_is_below_a_half(
    world_model: Path, replay: Path, tmp_path: Path, probability: float, rows: int
) -> None:
    model = hopeful(world_model, tmp_path / "wm.ckpt", probability)
    for episode in dream(model, replay, tmp_path / "dreams.h5"):
        assert len(episode) == rows
        assert bool(episode.terminated[-1]) == (rows < CONTEXT + HORIZON)
        assert not episode.terminated[:-1].any(), "the context is known to have gone on"


def test_never_ends_only_when_asked(world_model: Path, replay: Path, tmp_path: Path) -> None:
    model = hopeful(world_model, tmp_path / "wm.ckpt", 0.01)
    found = dream(model, replay, tmp_path / "dreams.h5", end="never")
    assert [len(episode) for episode in found] == [CONTEXT + HORIZON] * 3


def test_sampled_ends_follow_the_probability(world_model: Path, replay: Path, tmp_path: Path) -> None:
    model = hopeful(world_model, tmp_path / "wm.ckpt", 0.5)
    result = imagine(tiny(imagine={"end": "sample", "episodes": 40}), model, [replay], tmp_path / "dreams.h5", Session())
    lengths = {len(episode) for episode in dreams(tmp_path / "dreams.h5")}
    assert len(lengths) > 2
    assert 30 < result.ended <= 40
    assert result.steps < 40 * 4


def test_rewards_and_pictures_are_the_models_own(world_model: Path, replay: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.load(world_model)
    weights = dict(checkpoint.weights["world_model"])
    for name in ("decoder.out.0.weight", "decoder.out.0.bias"):
        weights[name] = torch.zeros_like(weights[name])
    replace(checkpoint, weights={"world_model": weights}).save(tmp_path / "blind.ckpt")
    mean = weights["scaler.mean0"].numpy()
    for episode in dream(tmp_path / "blind.ckpt", replay, tmp_path / "dreams.h5"):
        np.testing.assert_allclose(episode.observation["observation"], np.broadcast_to(mean, (len(episode), 4)), rtol=1e-5)
        assert (episode.reward[CONTEXT:] < 0.5).all(), "an almost untrained predictor says nearly 0, where the truth is 1"


# Who acts


def test_an_agent_follows_its_policy_unless_told_otherwise(agent: Path, replay: Path, tmp_path: Path) -> None:
    model = hopeful(agent, tmp_path / "agent.ckpt", 0.99)
    result = imagine(tiny(), model, [replay], tmp_path / "dreams.h5", Session())
    assert (result.actions, result.episodes, result.steps, result.ended) == ("policy", 3, 18, 0)
    for episode in dreams(tmp_path / "dreams.h5"):
        assert episode.truth_valid is not None
        assert episode.truth_valid.tolist() == [True] * CONTEXT + [False] * HORIZON, "truth is known for recorded actions only"
        assert episode.extra.keys() == {"continue_prob", "value", "entropy"}
        assert set(episode.action.tolist()) <= {0, 1}
    assert result.to_json()["path"] == str(tmp_path / "dreams.h5")
    told = dream(model, replay, tmp_path / "recorded.h5", actions="recorded")
    assert all(episode.truth_valid is not None and episode.truth_valid.all() for episode in told)


def test_modes_are_the_likeliest_actions(agent: Path, replay: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.load(agent)
    weights = dict(checkpoint.weights["actor_critic"])
    weights["actor.out.0.bias"] = torch.tensor([0.0, 3.0])
    certain = replace(checkpoint, weights={**checkpoint.weights, "actor_critic": weights})
    certain.save(tmp_path / "agent.ckpt")
    for episode in dream(tmp_path / "agent.ckpt", replay, tmp_path / "dreams.h5", actions="mode", end="never"):
        assert episode.action[CONTEXT - 1 : -1].tolist() == [1] * HORIZON


def test_random_actions_are_those_of_the_seed(world_model: Path, replay: Path, tmp_path: Path) -> None:
    options = {"actions": "random", "end": "never", "episodes": 8}
    one, two = (dream(world_model, replay, tmp_path / f"{i}.h5", Session(seed=1), **options) for i in range(2))
    other = dream(world_model, replay, tmp_path / "other.h5", Session(seed=2), **options)
    taken = [np.concatenate([episode.action for episode in found]).tolist() for found in (one, two, other)]
    assert taken[0] == taken[1] != taken[2]
    assert set(taken[0]) == {0, 1}


def test_constant_actions(world_model: Path, replay: Path, tmp_path: Path) -> None:
    for episode in dream(world_model, replay, tmp_path / "dreams.h5", actions="constant", action=[1], end="never"):
        assert episode.action[CONTEXT - 1 : -1].tolist() == [1] * HORIZON


def test_actions_from_a_file(world_model: Path, replay: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "plan.npy", np.array([1, 0, 0, 1, 1, 0, 1]))
    file = {"actions": "file", "file": str(tmp_path / "plan.npy"), "end": "never"}
    for episode in dream(world_model, replay, tmp_path / "dreams.h5", **file):
        assert episode.action[CONTEXT - 1 : -1].tolist() == [1, 0, 0, 1, 1, 0]


def test_box_actions_are_in_environment_units(tmp_path: Path) -> None:
    pendulum = tiny(env={"task": "Pendulum-v1"}, collect={"steps": 60})
    collect(pendulum, tmp_path / "replay", None, Session())
    train_wm(pendulum, [tmp_path / "replay"], tmp_path / "wm.ckpt", None, Session())
    train_ac(pendulum, tmp_path / "wm.ckpt", [tmp_path / "replay"], tmp_path / "agent.ckpt", None, Session())
    constant = dream(tmp_path / "wm.ckpt", tmp_path / "replay", tmp_path / "1.h5", actions="constant", action=[-1.5], end="never")
    np.testing.assert_allclose(constant[0].action[CONTEXT - 1 : -1], -1.5)
    recorded = dream(tmp_path / "wm.ckpt", tmp_path / "replay", tmp_path / "2.h5", end="never")
    (first,) = [open_replay([tmp_path / "replay"]).load(info) for info in open_replay([tmp_path / "replay"]).episodes()]
    at = recorded[0].source_row
    np.testing.assert_allclose(recorded[0].action[:-1], first.action[at : at + len(recorded[0]) - 1], rtol=1e-6)
    policy = dream(tmp_path / "agent.ckpt", tmp_path / "replay", tmp_path / "3.h5", end="never")
    assert policy[0].action.shape == (CONTEXT + HORIZON, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actions": "policy"}, r"imagine\.actions=policy: the checkpoint is a world model without an actor"),
        ({"actions": "constant"}, r"imagine\.action: holds 0 numbers, wanted 1"),
        ({"actions": "constant", "action": [7]}, r"imagine\.action: holds 7\.0, wanted actions in Discrete\(2\)"),
        ({"actions": "constant", "action": [0.5]}, r"imagine\.action: holds 0\.5, wanted actions in Discrete\(2\)"),
        ({"context": 0}, r"imagine\.context: found 0, wanted at least 1"),
        ({"horizon": 0}, r"imagine\.horizon: found 0, wanted at least 1"),
    ],
)
def test_actions_that_do_not_fit_are_refused(
    world_model: Path, replay: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        dream(world_model, replay, tmp_path / "dreams.h5", **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [(np.zeros(2, np.int64), "wanted at least"), (np.full(9, 3), "holds 3, wanted actions in"), (np.array(["a"] * 9), "holds a, wanted")],
)
def test_a_file_of_actions_that_does_not_fit_is_refused(
    world_model: Path, replay: Path, tmp_path: Path, content: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "plan.npy", content)
    with pytest.raises(UsageError, match=message):
        dream(world_model, replay, tmp_path / "dreams.h5", actions="file", file=str(tmp_path / "plan.npy"))


def test_a_missing_file_of_actions_is_an_input_error(world_model: Path, replay: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"imagine\.file=.*plan\.npy: cannot be read as \.npy \(No such file"):
        dream(world_model, replay, tmp_path / "dreams.h5", actions="file", file=str(tmp_path / "plan.npy"))
    (tmp_path / "plan.npy").write_text("0 1 0 1")
    with pytest.raises(InputError, match=r"plan\.npy: cannot be read as \.npy \(not an array of numbers\); write it with numpy\.save$"):
        dream(world_model, replay, tmp_path / "dreams.h5", actions="file", file=str(tmp_path / "plan.npy"))
    with pytest.raises(UsageError, match=r"imagine\.actions=file: imagine\.file is empty; give a .npy file"):
        dream(world_model, replay, tmp_path / "dreams.h5", actions="file")


# Starts


def test_dreams_without_recorded_actions_begin_anywhere(agent: Path, replay: Path, tmp_path: Path) -> None:
    found = dream(agent, replay, tmp_path / "dreams.h5", horizon=80, episodes=10, end="never")
    assert len({(episode.source_shard, episode.source_row) for episode in found}) > 5
    assert {len(episode) for episode in found} == {CONTEXT + 80}


def test_a_dream_of_recorded_actions_is_as_long_as_there_is_truth(world_model: Path, replay: Path, tmp_path: Path) -> None:
    longest = max(info.length for info in open_replay([replay]).episodes())
    found = dream(world_model, replay, tmp_path / "dreams.h5", horizon=800, end="never")
    assert {len(episode) for episode in found} == {longest}


def test_episodes_shorter_than_the_context_are_told(world_model: Path, replay: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"longest episode holds \d+ rows, imagine\.context is 1000; lower imagine\.context"):
        dream(world_model, replay, tmp_path / "dreams.h5", context=1000)


def test_other_seeds_begin_elsewhere(world_model: Path, replay: Path, tmp_path: Path) -> None:
    starts = [
        [(episode.source_shard, episode.source_row) for episode in dream(world_model, replay, tmp_path / f"{i}.h5", Session(seed=seed))]
        for i, seed in enumerate((0, 0, 1))
    ]
    assert starts[0] == starts[1] != starts[2]


# Stopping and writing


def test_a_stopped_and_resumed_run_writes_the_same_rows(world_model: Path, replay: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.h5", tmp_path / "dreams.h5"
    imagine(tiny(), world_model, [replay], whole, Session(seed=3))
    with pytest.raises(StoppedEarly, match="stopped at dream 2 of 3"):
        imagine(tiny(), world_model, [replay], out, stopping(2, seed=3))
    assert not out.exists()
    torch.manual_seed(99)
    imagine(tiny(), world_model, [replay], out, replace(RESUME, seed=3))
    assert open_replay([out]).content_hash() == open_replay([whole]).content_hash()


def test_an_output_that_exists_is_refused_or_replaced_whole(world_model: Path, replay: Path, tmp_path: Path) -> None:
    out = tmp_path / "dreams.h5"
    imagine(tiny(), world_model, [replay], out, Session())
    before = open_replay([out]).content_hash()
    with pytest.raises(UsageError, match="exists; use"):
        imagine(tiny(), world_model, [replay], out, Session())
    with pytest.raises(StoppedEarly):
        imagine(tiny(), world_model, [replay], out, stopping(1, seed=5, existing="overwrite"))
    assert open_replay([out]).content_hash() == before
    imagine(tiny(), world_model, [replay], out, replace(OVERWRITE, seed=5))
    assert open_replay([out]).content_hash() != before


def test_dreams_are_not_trained_on_by_mistake(world_model: Path, replay: Path, tmp_path: Path) -> None:
    imagine(tiny(imagine={"horizon": 20, "end": "never"}), world_model, [replay], tmp_path / "dreams.h5", Session())
    with pytest.raises(InputError, match="holds imagined rollouts"):
        train_wm(tiny(), [tmp_path / "dreams.h5"], tmp_path / "wm.ckpt", None, Session())


def test_a_replay_in_place_of_the_model_is_told(replay: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a replay; a checkpoint is needed here"):
        dream(replay, replay, tmp_path / "dreams.h5")
    shard = shutil.copy(next(replay.glob("*.h5")), tmp_path / "one.h5")
    with pytest.raises(InputError, match="is a replay"):
        dream(Path(shard), replay, tmp_path / "dreams.h5")


def test_a_plan_writes_nothing(agent: Path, replay: Path, tmp_path: Path) -> None:
    assert plan(tiny(), agent, [replay], tmp_path / "dreams.h5", Session()).items["actions"] == "policy"
    assert list(tmp_path.iterdir()) == []
