"""Each exit code, provoked; each mistake of a user costs one line."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.schema import check

TOYS = """
import gymnasium, numpy as np
from gymnasium.spaces import Box, Discrete

class Toy(gymnasium.Env):
    observation_space, action_space = Box(-1, 1, (2,), np.float32), Discrete(2)
    def __init__(self, bad="", render_mode=None):
        self.bad = bad
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}
    def step(self, action):
        self.t += 1
        print("the environment talks")
        if self.bad == "raise" and self.t > 3:
            raise RuntimeError("the motor broke")
        reward = float("nan") if self.bad == "nan" and self.t > 3 else 1.0
        return np.zeros(2, np.float32), reward, self.t >= 10, False, {}

for bad in ("", "nan", "raise"):
    gymnasium.registry.pop(f"Toy{bad.title()}-v0", None)
    gymnasium.register(f"Toy{bad.title()}-v0", Toy, kwargs={"bad": bad})
"""


LOOKING = ["info", "ls", "ls --episodes", "schema", "stats", "verify", "verify --deep", "tail", "tail -f", "sample", "repair"]


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """A module of environments that misbehave."""
    (tmp_path / "toy_envs.py").write_text(TOYS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_envs", raising=False)


def assert_fails(ran, code: int, *parts: str) -> None:
    """One line on stderr with all these parts, nothing on stdout."""
    assert ran.code == code, ran.stderr
    assert ran.stdout == ""
    lines = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    for part in parts:
        assert part in lines[0], lines[0]


def test_0_done(dreamctl, story):
    assert dreamctl(f"data info {story.replay}").code == 0


def test_1_a_return_below_the_threshold(dreamctl, story):
    line = f"eval {story.agent} {story.config} --set eval.episodes=1"
    ran = dreamctl(f"{line} --min-return 501 --json")
    assert ran.code == 1
    check(ran.json, "eval")
    assert "below --min-return 501" in ran.stderr
    assert dreamctl(f"{line} --min-return 1 -q").code == 0


def test_1_damage_that_was_found(dreamctl, story, tmp_path):
    shutil.copytree(story.replay, tmp_path / "replay")
    assert dreamctl(f"data verify {tmp_path}/replay").code == 0
    for path in tmp_path.glob("replay/*.h5"):
        path.write_text("no shard")
    both = f"{story.replay} {tmp_path}/replay"
    ran = dreamctl(f"data verify {both} --json")
    assert ran.code == 1
    check(ran.json, "data_verify")
    assert not ran.json["sound"]
    damaged = len(list(tmp_path.glob("replay/*.h5")))
    assert f"{damaged} problem{'s' * (damaged > 1)} in " in json.loads(ran.stderr)["error"]["message"]
    assert dreamctl(f"data repair {both}").code == 1
    assert dreamctl(f"data repair {both} --salvage {tmp_path}/saved.h5 -q").stdout == f"{tmp_path}/saved.h5\n"
    assert dreamctl(f"data verify --deep {tmp_path}/saved.h5").code == 0


def test_1_replays_that_differ(dreamctl, story):
    ran = dreamctl(f"data diff {story.replay} {story.dreams} --json")
    assert ran.code == 1
    check(ran.json, "data_diff")
    assert json.loads(ran.stderr)["error"]["code"] == 1


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("colect", ["no such command 'colect'", "collect"]),
        ("collect --nonsense", ["no such option: --nonsense", "dreamctl collect --help"]),
        ("collect CartPole-v1", ["--out"]),
        ("collect -o OUT", ["env.task", "no environment was named"]),
        ("collect CartPole-v7 -o OUT", ["CartPole-v7"]),
        ("collect CartPol-v1 -o OUT", ["CartPole-v1"]),
        ("collect gim:CartPole-v1 -o OUT", ["'gim'", "nearest: gym"]),
        ("collect CartPole-v1 -o OUT --set collect.step=3", ["collect.step: no such key", "nearest: steps"]),
        ("collect CartPole-v1 -o OUT --set collect.steps=many", ["collect.steps: found 'many', wanted an integer"]),
        ("collect CartPole-v1 -o OUT --set collect", ["--set collect: wanted KEY=VALUE"]),
        ("collect CartPole-v1 -o OUT --set env.max_episode_step=3", ["env.max_episode_step", "nearest: max_episode_steps"]),
        ("collect CartPole-v1 -o OUT --preset quik", ["'quik'", "nearest: quick"]),
        ("collect CartPole-v1 -o OUT --config none.yaml", ["none.yaml: cannot be read as config"]),
        ("collect CartPole-v1 -o OUT --resume --overwrite", ["--resume and --overwrite: exclude each other"]),
        ("collect CartPole-v1 -o OUT --steps 3 --episodes 3", ["--steps and --episodes: exclude each other"]),
        ("config show --set world_model.kl.kind=balance", ["world_model.kl.kind: no kind 'balance'", "nearest: balanced"]),
        ("data repair x --salvage x", ["x: wanted a file NAME.h5"]),
        ("data tail x -f -q", ["-q and --follow: exclude each other"]),
        ("data sample x --set env.task=x", ["--set env.task=x: `data sample` reads section replay only"]),
        ("data sample x --set replay.batch_sise=3", ["replay.batch_sise: no such key", "nearest: batch_size"]),
        ("data sample x -o x.jpg", ["suffix '.jpg' is not known"]),
        ("collect -o / CartPole-v1 --overwrite", ["/: is the root folder"]),
        ("collect CartPole-v1 -o ''", ["the argument after -o: is empty; give it a value, or leave it out"]),
        ("collect CartPole-v1 --out=", ["--out=: is empty; give it a value, or leave it out"]),
        ("data info ''", ["the argument after info: is empty"]),
        ("data split x -o =0.1", ["-o =0.1: names no output; write OUT=SHARE such as test=0.1"]),
        ("config show --json -q", ["--json and -q: exclude each other"]),
    ],
)
def test_2_wrong_usage_is_one_line(line, parts, dreamctl, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = dreamctl(line)
    if "--json" in line:
        assert ran.code == 2
        check(json.loads(ran.stderr), "error")
        assert parts[0] in json.loads(ran.stderr)["error"]["message"]
    else:
        assert_fails(ran, 2, *parts)
    assert list(tmp_path.iterdir()) == []


def test_3_what_may_not_be_read_is_no_wrong_usage(dreamctl, story, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    assert_fails(dreamctl("data info none"), 3, "none: cannot read (No such file or directory)")
    assert dreamctl(f"data info {story.replay}").code == 0


def test_2_an_unknown_entry_names_the_nearest(dreamctl, story, tmp_path):
    assert_fails(dreamctl(f"run {story.config.split()[1]}y -o {tmp_path}/r"), 2, "no entry 'tinyy'", "nearest: tiny")


def test_2_an_output_that_exists_names_the_ways_on(dreamctl, story):
    ways = "exists; use --resume, --overwrite"
    assert_fails(dreamctl(f"collect -o {story.replay} {story.config}"), 2, ways, "--append")
    assert_fails(dreamctl(f"train-wm {story.replay} -o {story.world_model} {story.config}"), 2, ways)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("data info {none}", ["none"]),
        ("data info {text}", ["text.h5"]),
        ("data info {agent}", ["is a checkpoint; a replay is needed here"]),
        *((f"data {command} {{none}}", ["none: cannot read (No such file or directory)"]) for command in LOOKING),
        ("data diff {replay} {none}", ["none: cannot read (No such file or directory)"]),
        ("data sample {dreams}", ["dreams.h5", "replay.allow_imagined=true"]),
        ("data sample {replay} --set replay.batch_length=4000", ["replay.batch_length"]),
        ("train-wm {text} -o {none}", ["text.h5"]),
        ("train-wm {agent} -o {none}", ["is a checkpoint; a replay is needed here"]),
        ("ckpt show {none}", ["No such file"]),
        ("ckpt show {text}", ["is not a checkpoint"]),
        ("ckpt show {replay}", ["is a replay; a checkpoint is needed here"]),
        ("ckpt show {dreams}", ["is a replay; a checkpoint is needed here"]),
        ("imagine {replay} {agent} -o {none}", ["is a replay; a checkpoint is needed here"]),
        ("eval {world_model}", ["world model"]),
        ("train-wm {dreams} -o {none}", ["dreams.h5"]),
        ("train-wm {replay} -o {none} --set replay.batch_length=4000", ["replay", "4000", "replay.batch_length="]),
    ],
)
def test_3_an_input_that_cannot_be_used_is_one_line(line, parts, dreamctl, story, tmp_path):
    (tmp_path / "text.h5").write_text("just text\n")
    names = {name: getattr(story, name) for name in ("agent", "world_model", "replay", "dreams")}
    ran = dreamctl(line.format(none=tmp_path / "none", text=tmp_path / "text.h5", **names))
    assert_fails(ran, 3, *parts)


def test_3_a_cut_checkpoint_is_damaged(dreamctl, story, tmp_path):
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(story.agent.read_bytes()[:-1000])
    assert_fails(dreamctl(f"ckpt show {cut}"), 3, "is damaged or cut short")


@pytest.mark.parametrize(("task", "part"), [("ToyNan-v0", "nan"), ("ToyRaise-v0", "the motor broke")])
@pytest.mark.usefixtures("toys")
def test_4_an_environment_that_fails_is_one_line(task, part, dreamctl):
    assert_fails(dreamctl(f"collect toy_envs:{task} -o out --steps 50"), 4, f"toy_envs:{task}", part)


@pytest.mark.usefixtures("toys")
def test_stdout_carries_the_result_only(dreamctl):
    ran = dreamctl("collect toy_envs:Toy-v0 -o out --steps 5 -q")
    assert (ran.code, ran.stdout) == (0, "out\n")
    assert "the environment talks" in ran.stderr


def test_5_training_that_becomes_non_finite(dreamctl, story, tmp_path):
    hot = "--set optimizer.learning_rate=1e30 --set optimizer.warmup=0 --set train_wm.updates=20"
    assert_fails(dreamctl(f"train-wm {story.replay} -o {tmp_path}/wm.ckpt {story.config} {hot}"), 5, "non-finite")


def test_70_a_bug_keeps_its_traceback(dreamctl, story, monkeypatch):
    def broken(_: object) -> None:
        raise ZeroDivisionError("one over nothing")

    monkeypatch.setattr("dreamctl.stages.data.info", broken)
    ran = dreamctl(f"data info {story.replay} --json")
    assert ran.code == 70
    assert "Traceback" in ran.stderr
    assert json.loads(ran.stderr.splitlines()[-1])["error"]["code"] == 70


@pytest.mark.parametrize(
    "line", ["collect {config} -o {out}/replay", "train-wm {replay} {config} -o {out}/wm.ckpt", "collect {config} -o {out}/r.h5"]
)
def test_74_a_full_disk(line, dreamctl, story, tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert_fails(dreamctl(line.format(config=story.config, replay=story.replay, out=tmp_path)), 74, "No space left")


def test_75_out_of_time_can_be_resumed(dreamctl, story, tmp_path):
    line = f"train-wm {story.replay} -o {tmp_path}/wm.ckpt {story.config} -q"
    assert_fails(dreamctl(f"{line} --max-minutes 0"), 75, "--resume")
    assert dreamctl(f"{line} --resume").stdout == f"{tmp_path}/wm.ckpt\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_75_and_130_a_signal_saves_and_says_how_to_go_on(number, code, tmp_path):
    line = ["collect", "CartPole-v1", "-o", str(tmp_path / "replay"), "--steps", "10000000"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-m", "dreamctl", *line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("replay/*.h5")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(number)
    stdout, stderr = child.communicate(timeout=60)
    assert child.returncode == code, stderr
    assert stdout == ""
    assert "--resume" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr


def test_130_an_interrupt_before_anything_began(dreamctl, monkeypatch):
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dreamctl.stages.data.info", interrupted)
    assert_fails(dreamctl("data info x"), 130, "interrupted")


def test_a_reader_that_went_away_is_no_error(story):
    for arguments in (["envs", "list"], ["data", "info", str(story.replay), "--json"], ["data", "ls", "--episodes", str(story.replay)]):
        command = [sys.executable, "-m", "dreamctl", *arguments]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(60) == 0


def test_a_stdout_that_is_full_is_told(story):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dreamctl", "data", "info", str(story.replay)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 74
    assert done.stderr == "error: stdout: cannot write (No space left on device); the command itself is done\n"
