"""Options: layers of config in their order, and shorthands for keys."""

import pytest

from dreamctl.cli.options import one_way
from dreamctl.core.config import build, preset_names, to_plain
from dreamctl.core.errors import UsageError
from dreamctl.core.layers import load_config
from dreamctl.replay.reader import Replay
from dreamctl.replay.windows import follow
from dreamctl.stages.experiment import SECTIONS, Experiment, resolve
from tests.cli.conftest import TINY


@pytest.fixture
def two(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text("one: {preset: quick, env: {task: Pendulum-v1}, replay: {batch_length: 20}}\ntwo: {env: {task: Acrobot-v1}}\n")
    return path


def test_later_layers_win(dreamctl, two):
    ran = dreamctl(
        f"config show Acrobot-v1 --preset quick --config {two}:one --set replay.batch_length=30 --set optimizer.warmup=1e1 --json"
    )
    config, origins = ran.json["config"], ran.json["origins"]
    assert config["env"]["task"] == "Acrobot-v1"
    assert origins["env.task"] == "ENV"
    assert config["replay"]["batch_length"] == 30
    assert origins["replay.batch_length"] == "--set replay.batch_length=30"
    assert config["replay"]["batch_size"] == 32
    assert origins["replay.batch_size"] == "preset narrow"  # which quick is made over
    assert origins["optimizer.learning_rate"] == "preset quick"
    assert config["optimizer"]["warmup"] == 10


def test_a_file_lies_over_a_preset_of_the_command_line(dreamctl, two):
    assert dreamctl(f"config show --preset quick --config {two}:one --json").json["config"]["replay"]["batch_length"] == 20


def test_shorthands_are_the_keys_they_name(dreamctl, story, tmp_path):
    ran = dreamctl(f"collect CartPole-v1 --config {TINY} --steps 40 --num-envs 2 -o {tmp_path}/r --json")
    assert ran.json["env_steps"] == 40
    assert dreamctl(f"data info {tmp_path}/r --json").json["streams"] == 2
    ran = dreamctl(f"train-wm {story.replay} {story.config} --updates 3 -o {tmp_path}/wm.ckpt --json")
    assert ran.json["updates"] == 3
    assert dreamctl(f"ckpt show {tmp_path}/wm.ckpt --json").json["config"]["train_wm"]["updates"] == 3
    ran = dreamctl(f"eval {story.agent} {story.config} --episodes 3 --action mode --json")
    assert ran.json["episodes"] == 3


@pytest.mark.parametrize("command", ["train-wm {story.replay}", "train-ac {story.world_model} {story.replay}"])
def test_follow_looks_for_what_is_added_meanwhile(command, dreamctl, story, tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr(follow, "BATCHES", 1)
    monkeypatch.setattr(Replay, "refresh", lambda _: bool(looks.append(len(looks))))
    line = f"{command.format(story=story)} {story.config} --updates 3"
    assert dreamctl(f"{line} -o {tmp_path}/one.ckpt").code == 0
    assert looks == []
    assert dreamctl(f"{line} -o {tmp_path}/two.ckpt --follow").code == 0
    assert looks == [0, 1]


def test_collect_by_episodes(dreamctl, tmp_path):
    assert dreamctl(f"collect CartPole-v1 --episodes 3 -o {tmp_path}/r --json").json["episodes"] == 3


def test_what_config_show_prints_is_a_config(dreamctl, two, tmp_path):
    text = dreamctl(f"config show --config {two}:one --set world_model.kl.free_nats=0.5").stdout
    (tmp_path / "shown.yaml").write_text(text)
    assert "free_nats: 0.5" in text
    assert "# --set world_model.kl.free_nats=0.5" in text
    assert "# preset quick" in text
    assert "# default" in text
    again = dreamctl(f"config show --config {tmp_path / 'shown.yaml'} --json").json["config"]
    assert again == dreamctl(f"config show --config {two}:one --set world_model.kl.free_nats=0.5 --json").json["config"]


def test_a_file_of_entries_wants_a_name(dreamctl, two):
    ran = dreamctl(f"config show --config {two}")
    assert ran.code == 2
    assert f"write {two}:NAME; known: one, two" in ran.stderr


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_an_experiment(name, dreamctl):
    assert dreamctl(f"config show --preset {name}").code == 0


@pytest.mark.parametrize("name", list(load_config(TINY.rpartition(":")[0])))
def test_every_example_is_an_experiment(name, dreamctl):
    assert dreamctl(f"config show --config {TINY.rpartition(':')[0]}:{name}").code == 0


def test_the_experiment_comes_back_through_plain_values():
    experiment = Experiment()
    assert build(Experiment, to_plain(experiment)) == experiment
    assert tuple(to_plain(experiment)) == SECTIONS
    assert resolve([]).experiment == experiment


def test_one_way_with_an_output_that_exists():
    assert one_way(resume=False, overwrite=False) == "refuse"
    assert one_way(resume=False, append=True) == "append"
    with pytest.raises(UsageError, match="--resume and --append"):
        one_way(resume=True, append=True)


def test_a_seed_beyond_32_bits_is_refused(dreamctl, tmp_path):
    done = dreamctl(f"collect CartPole-v1 --seed {2**32} -o {tmp_path}/r")
    assert (done.code, "--seed" in done.stderr) == (2, True)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_leaves_steps_to_learn_from(dreamctl, name):
    run = dreamctl(f"config show --preset {name} --json").json["config"]["run"]
    assert run["prefill"] < run["steps"]
