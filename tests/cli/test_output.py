"""The result of each command: one JSON object that keeps its schema, a short summary, or just a path."""

import os
import subprocess
import sys

import pytest

from tests.cli.schema import check


@pytest.mark.parametrize(
    ("line", "schema"),
    [
        ("collect {config} -o {out}", "collect"),
        ("train-wm {replay} {config} -o {out}.ckpt", "train_wm"),
        ("train-ac {world_model} {replay} {config} -o {out}.ckpt", "train_ac"),
        ("imagine {world_model} {replay} {config} -o {out}.h5", "imagine"),
        ("eval {agent} {config}", "eval"),
        ("eval {agent} {config} -o {out}.h5", "eval"),
        ("render {dreams} {config} -o {out}.gif", "render"),
        ("run {config} --steps 120 -o {out}", "run"),
        ("envs list", "envs_list"),
        ("envs list gym", "envs_show"),
        ("envs check MountainCar-v0", "envs_check"),
        ("data info {replay}", "data_info"),
        ("data info {dreams}", "data_info"),
        ("data ls {replay} {dreams}", "data_ls"),
        ("data ls --episodes {dreams}", "data_ls_episodes"),
        ("data schema {replay}", "data_schema"),
        ("data schema {dreams}", "data_schema"),
        ("data stats {replay}", "data_stats"),
        ("data stats {dreams}", "data_stats"),
        ("data sample {replay} --preset quick", "data_sample"),
        ("data sample {replay} --preset quick -o {out}.npz", "data_sample"),
        ("data verify {replay} {dreams}", "data_verify"),
        ("data verify --deep {dreams}", "data_verify"),
        ("data diff {replay} {replay}", "data_diff"),
        ("data tail {replay}", "data_tail"),
        ("data tail --rows {dreams}", "data_tail"),
        ("data repair {replay}", "data_repair"),
        ("data repair {replay} --salvage {out}.h5", "data_repair"),
        ("bench replay --steps 200 --rounds 1", "bench_replay"),
        ("ckpt show {world_model}", "ckpt_show"),
        ("ckpt show {agent}", "ckpt_show"),
        ("config show {config_only}", "config_show"),
        ("doctor", "doctor"),
    ],
)
def test_json_keeps_its_schema(line, schema, dreamctl, story, tmp_path):
    names = {name: getattr(story, name) for name in ("config", "agent", "world_model", "replay", "dreams")}
    ran = dreamctl(line.format(out=tmp_path / "out", config_only=story.config.replace("--threads 1", ""), **names) + " --json")
    assert ran.code == 0, ran.stderr
    check(ran.json, schema)


DRY = [
    "collect {config} -o {out}",
    "train-wm {replay} {config} -o {out}",
    "train-ac {world_model} {replay} {config} -o {out}",
    "imagine {agent} {replay} {config} -o {out}",
    "eval {agent} {config} -o {out}",
    "render {dreams} {config} -o {out}.gif",
    "run {config} -o {out}",
]


@pytest.mark.parametrize("line", DRY, ids=[line.split()[0] for line in DRY])
def test_a_dry_run_prints_the_plan_and_writes_nothing(line, dreamctl, story, tmp_path):
    names = {name: getattr(story, name) for name in ("config", "agent", "world_model", "replay", "dreams")}
    ran = dreamctl(line.format(out=tmp_path / "out", **names) + " --dry-run --json")
    assert ran.code == 0, ran.stderr
    check(ran.json, "plan")
    assert list(tmp_path.iterdir()) == []


def test_quiet_prints_just_the_path(dreamctl, story, tmp_path):
    ran = dreamctl(f"train-wm {story.replay} {story.config} -o {tmp_path}/wm.ckpt -q")
    assert ran.stdout == f"{tmp_path}/wm.ckpt\n"
    assert dreamctl(f"eval {story.agent} {story.config} -q").stdout == ""


def test_two_ways_to_print_are_refused_before_there_is_any_work(dreamctl, story, tmp_path):
    ran = dreamctl(f"data merge {story.replay} -o {tmp_path}/merged --json -q")
    assert ran.code == 2
    assert "--json and -q: exclude each other" in ran.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "darwin", reason="its file names are UTF-8")
def test_what_stdout_has_no_letters_for_is_replaced(story, tmp_path):
    odd = tmp_path / "r\udcff\u00e9"
    odd.symlink_to(story.replay)
    for encoding, shown in (("ascii", b"r??: replay"), ("utf-8", b"r\xff\xc3\xa9: replay")):
        env = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"}
        line = [sys.executable, "-m", "dreamctl", "data", "info", odd.name]
        ran = subprocess.run(line, capture_output=True, check=False, cwd=tmp_path, env=env)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.startswith(shown)


def test_a_number_that_json_lacks_is_null(capsys):
    from dreamctl.cli.output import emit
    from dreamctl.stages.training_stage import TrainResult

    class Odd(TrainResult):
        def to_json(self) -> dict[str, object]:
            return {"a": [float("nan"), {"b": float("inf")}]}

    emit(Odd("x", 0, 0, 0, {}), as_json=True, quiet=False)
    assert capsys.readouterr().out == '{"a": [null, {"b": null}]}\n'


def test_the_command_line_is_recorded(dreamctl, story):
    command = dreamctl(f"ckpt show {story.world_model} --json").json["provenance"]["command"]
    assert command[:4] == ["dreamctl", "train-wm", str(story.replay), "-o"]
