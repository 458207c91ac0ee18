"""Numbers that make no experiment are told in one line, before anything is read or written."""

from pathlib import Path

import pytest

from dreamctl.core.config import Layer, parse_assignment
from dreamctl.core.errors import InputError, UsageError
from dreamctl.core.layers import preset_layers
from dreamctl.stages.experiment import gone_on, recorded, resolve

REFUSED = {
    "replay.batch_size=0": "replay.batch_size: found 0, wanted at least 1",
    "replay.batch_length=1": "replay.batch_length: found 1, wanted at least 2",
    "world_model.rssm.cell.blocks=5": "world_model.rssm: recurrent=2048 does not divide into blocks=5; make it a multiple",
    "world_model.latent.groups=0": "world_model.latent.groups: found 0, wanted at least 1",
    "world_model.latent.unimix=2": "world_model.latent.unimix: found 2.0, wanted 0 to 1",
    "world_model.horizon=0": "world_model.horizon: found 0.0, wanted at least 2",
    "world_model.loss_scales.reward=nan": "world_model.loss_scales.reward: found nan, wanted at least 0",
    "world_model.reward_output.bins=1": "world_model.reward_output: bins=1, limit=20.0: wanted at least 3 bins",
    "optimizer.learning_rate=nan": "optimizer: learning_rate=nan: wanted at least 0",
    "optimizer.beta2=1": "optimizer: beta1=0.9, beta2=1.0: wanted both from 0 to below 1",
    "actor_critic.horizon=0": "actor_critic.horizon: found 0, wanted at least 1",
    "actor_critic.trace=2": "actor_critic.trace: found 2.0, wanted 0 to 1",
    "actor_critic.starts=1": "actor_critic: starts=1: the replay value loss needs two steps in a row",
    "actor_critic.starts=65": "actor_critic.starts: is 65, a window holds replay.batch_length=64 rows; lower it, or 0 for all",
    "actor_critic.discrete.unimix=-1": "actor_critic.discrete: unimix=-1.0: wanted a share from 0 to 1",
    "actor_critic.continuous.min_std=0": "actor_critic.continuous: min_std=0.0, max_std=1.0: wanted 0 < min_std <= max_std",
    "env.num_envs=0": "env.num_envs: found 0, wanted at least 1",
    "collect.steps=0": "collect.steps: found 0, wanted at least 1",
    "collect.episodes=0": "collect.episodes: found 0, wanted at least 1 or null",
    "train_wm.updates=0": "train_wm.updates: found 0, wanted at least 1",
    "train_wm.holdout=1": "train_wm.holdout: found 1.0, wanted 0 to 0.9",
    "train_ac.log_every=0": "train_ac.log_every: found 0, wanted at least 1",
    "eval.episodes=0": "eval.episodes: found 0, wanted at least 1",
    "render.fps=0": "render.fps: found 0, wanted 1 to 50",
    "render.size=3": "render.size: found 3, wanted 64 to 2000",
    "render.hold=0": "render.hold: found 0.0, wanted 0.1 to 60",
    "render.episodes=0": "render.episodes: found 0, wanted at least 1",
    "imagine.context=0": "imagine.context: found 0, wanted at least 1",
    "run.train_ratio=-1": "run.train_ratio: found -1.0, wanted at least 0",
    "run.eval_episodes=0": "run.eval_episodes: found 0, wanted at least 1",
}


@pytest.mark.parametrize("assignment", REFUSED)
def test_a_number_that_makes_no_sense_is_refused_by_its_key(assignment: str) -> None:
    with pytest.raises(UsageError) as told:
        resolve([Layer("test", parse_assignment(assignment))])
    assert str(told.value).startswith(REFUSED[assignment])


def test_a_wrong_key_names_the_kind_and_the_preset_or_file() -> None:
    layers = [layer for name in ("note", "size1m") for layer in preset_layers(name)]
    with pytest.raises(UsageError, match=r"^world_model\.latent\.classes: no such key of kind gaussian; known: .* \(from preset size1m\)$"):
        resolve(layers)
    with pytest.raises(UsageError, match=r"^world_model\.rssm\.cell\.blocks: no such key of kind gru \(from mine\.yaml\)$"):
        resolve([*preset_layers("note"), Layer("mine.yaml", {"world_model": {"rssm": {"cell": {"blocks": 4}}}})])
    sized = resolve([layer for name in ("size1m", "note") for layer in preset_layers(name)])
    assert sized.plain["world_model"]["latent"]["kind"] == "gaussian", "sizes first, then who they are of"


def test_a_recorded_key_that_means_nothing_any_more_is_dropped() -> None:
    config = {"collect": {"seal_steps": 256, "shard_mb": 16}}
    assert recorded(config, Path("old.ckpt")).experiment.collect.shard_mb == 16
    free = gone_on(config, resolve([Layer("given", {"run": {"steps": 9000}})]), ["run"]).experiment
    assert (free.collect.shard_mb, free.run.steps) == (16, 9000)
    with pytest.raises(UsageError, match=r"collect\.seal_steps: no such key"):
        resolve([Layer("given", config)])


def test_a_recorded_config_of_another_version_is_a_wrong_input() -> None:
    with pytest.raises(InputError, match=r"^old\.ckpt: its config is of another .*world_model\.novelty: no such key.*train it again"):
        recorded({"world_model": {"novelty": 1}}, Path("old.ckpt"))
