import hashlib
import json
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import dreamctl.stages.run as stage
from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.config import Layer, preset_layers
from dreamctl.core.errors import InputError, Interrupted, OutputError, StoppedEarly, TrainingDiverged, UsageError
from dreamctl.core.session import Session, Stop
from dreamctl.replay.reader import open_replay
from dreamctl.replay.shards.header import read_header
from dreamctl.replay.writer import ReplayWriter
from dreamctl.stages.evaluate import scores
from dreamctl.stages.experiment import resolve
from dreamctl.stages.policy import DreamPolicy, RandomPolicy
from dreamctl.stages.run import plan, run
from dreamctl.stages.training import Trainer
from tests.stages.tiny import OVERWRITE, RESUME, differing, finite, stopping, tiny

FOLDER = ["agent-best.ckpt", "agent.ckpt", "config.yaml", "dreams.gif", "dreams.h5", "eval.json", "metrics.jsonl", "replay"]
STEPS, PREFILL = 240, 80
# train_ratio 2 on windows of 4 x 8 rows is one update in sixteen steps, and one when the random steps are behind.
EACH = 16
UPDATES = 1 + (STEPS - PREFILL) // EACH


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole tiny run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run(tiny(), out, Session())
    return out


def counters(out: Path) -> dict[str, object]:
    return Checkpoint.load(out / "agent.ckpt").state["counters"]


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def sealed(out: Path) -> dict[str, str]:
    """Name and hash of each sealed shard."""
    paths = [path for path in (out / "replay").glob("*.h5") if read_header(path).state == "sealed"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def check_finished(out: Path, steps: int = STEPS, updates: int = UPDATES) -> None:
    """What every finished run has, however often it was interrupted."""
    assert sorted(path.name for path in out.iterdir()) == FOLDER
    found = counters(out)
    assert (found["env_steps"], found["updates"], found["owed"]) == (steps, updates, 0)
    assert open_replay([out / "replay"]).env_steps == steps
    agent = Checkpoint.load(out / "agent.ckpt")
    assert {part: state["step"] for part, state in agent.optimizer.items()} == dict.fromkeys(("world_model", "actor", "critic"), updates)
    assert found["evaluated"] == steps
    assert finite(out / "agent.ckpt")


def test_the_folder_holds_what_the_design_says(whole: Path) -> None:
    check_finished(whole)
    score = json.loads((whole / "eval.json").read_text())
    assert score["episodes"] == 3
    with Image.open(whole / "dreams.gif") as gif:
        assert gif.n_frames > 2
    dreams = open_replay([whole / "dreams.h5"])
    assert dreams.kind == "imagined"
    assert dreams.load(dreams.episodes()[0], truth=True).truth_valid.all(), "a run's dreams follow what was really done"


def test_its_config_makes_the_same_experiment_again(whole: Path) -> None:
    again = resolve([Layer("config.yaml", yaml.safe_load((whole / "config.yaml").read_text()))])
    assert again.experiment == tiny().experiment


def test_metrics_tell_of_updates_and_evaluations(whole: Path) -> None:
    found = lines(whole)
    assert [line["updates"] for line in found] == sorted(line["updates"] for line in found)
    assert [line["env_steps"] for line in found if "eval/return_mean" in line] == [90, 180, 240]
    assert {"loss/reward", "loss/policy", "loss/replay_value", "gradient_norm"} <= next(line for line in found if "loss" in line).keys()


def test_the_result_tells_the_score_of_the_best(whole: Path, tmp_path: Path) -> None:
    result = run(tiny(), tmp_path / "run", Session())
    told = result.to_json()
    assert (told["env_steps"], told["updates"], told["path"]) == (STEPS, UPDATES, str(tmp_path / "run"))
    assert told["return_mean"] == json.loads((whole / "eval.json").read_text())["return_mean"]
    assert Checkpoint.load(tmp_path / "run" / "agent-best.ckpt").env_steps == told["best_step"]
    assert differing(tmp_path / "run" / "agent.ckpt", whole / "agent.ckpt") == [], "the same seed learns the same bits"
    before = sealed(tmp_path / "run")
    run(tiny(), tmp_path / "run", RESUME)
    assert sealed(tmp_path / "run") == before
    assert differing(tmp_path / "run" / "agent.ckpt", whole / "agent.ckpt") == [], "a finished run is only scored again"


@pytest.mark.parametrize("at", [3, 130, 240])
def test_a_stopped_and_resumed_run_has_exact_counters(tmp_path: Path, at: int) -> None:
    out = tmp_path / "run"
    with pytest.raises(StoppedEarly, match=f"run: stopped at step {at} of 240, state saved"):
        run(tiny(), out, stopping(at))
    kept = sealed(out)
    assert open_replay([out / "replay"]).env_steps == at, "a stop loses no row"
    assert counters(out)["env_steps"] == at
    run(tiny(), out, RESUME)
    check_finished(out)
    assert kept.items() <= sealed(out).items()
    assert [line["env_steps"] for line in lines(out) if "eval/return_mean" in line][-1] == STEPS


def test_a_run_of_a_version_that_sealed_by_steps_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(StoppedEarly):
        run(tiny(), out, stopping(130))
    before = Checkpoint.load(out / "agent.ckpt")
    assert "seal_steps" not in before.config["collect"]
    replace(before, config={**before.config, "collect": {**before.config["collect"], "seal_steps": 256}}).save(out / "agent.ckpt")
    run(tiny(), out, RESUME)
    check_finished(out)


def test_several_lanes_keep_the_counts(tmp_path: Path) -> None:
    out, experiment = tmp_path / "run", tiny(env={"num_envs": 3})
    with pytest.raises(Interrupted):
        run(experiment, out, Session(stop=Patient(70)))
    run(experiment, out, RESUME)
    check_finished(out)


class Patient(Stop):
    """A SIGINT that comes when the run has looked so many times whether to stop."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def requested(self) -> bool:
        self.looks -= 1
        self.signal = signal.SIGINT if self.looks < 0 else None
        return super().requested()


def test_a_stop_while_evaluating_saves_and_evaluates_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, stop, play = tmp_path / "run", Stop(), stage.play

    def asked(*args: object, **kwargs: object) -> list:
        stop.signal = signal.SIGTERM
        return play(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "play", asked)
        with pytest.raises(StoppedEarly, match="stopped at step 90 of 240, state saved"):
            run(tiny(), out, Session(stop=stop))
    found = counters(out)
    assert (found["env_steps"], found["updates"], found["evaluated"]) == (90, 1, 0)
    assert not (out / "agent-best.ckpt").exists()
    run(tiny(), out, RESUME)
    check_finished(out)
    assert [line["env_steps"] for line in lines(out) if "eval/return_mean" in line] == [90, 180, 240]


def test_a_run_that_dies_resumes_from_every_row_it_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, update = tmp_path / "run", Trainer.update

    def dying(self: Trainer, number: int) -> None:
        if number == 8:
            raise SystemExit("killed")
        update(self, number)

    def lost(*_: object) -> None: ...

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "update", dying)
        patch.setattr("dreamctl.replay.writer.ReplayWriter.pause", lost)
        with pytest.raises(SystemExit):
            run(tiny(), out, Session())
    assert open_replay([out / "replay"]).env_steps == PREFILL + 8 * EACH
    assert sealed(out) == {}
    assert counters(out)["updates"] == 7
    run(tiny(), out, RESUME)
    check_finished(out)


def test_resuming_with_a_larger_budget_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(tiny(run={"steps": 160}), out, Session())
    check_finished(out, 160, 6)
    run(resolve([Layer("now", {"run": {"steps": STEPS}})]), out, RESUME)
    check_finished(out)
    assert Checkpoint.load(out / "agent.ckpt").config["run"]["prefill"] == PREFILL, "what is not said again stays"


def test_a_run_that_would_end_before_it_learns_is_refused_with_nothing_written(tmp_path: Path) -> None:
    all_random = tiny(run={"steps": PREFILL})
    for refused in (lambda: run(all_random, tmp_path / "run", Session()), lambda: plan(all_random, tmp_path / "run", Session())):
        with pytest.raises(UsageError, match=rf"run\.prefill: {PREFILL} random steps leave none of run\.steps={PREFILL} to learn in"):
            refused()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("env", {"task": "Acrobot-v1"}, r"env\.task: is 'Acrobot-v1' here"),
        ("replay", {"batch_length": 9}, r"replay\.batch_length: is 9 here"),
        ("actor_critic", {"horizon": 9}, r"actor_critic\.horizon: is 9 here"),
    ],
)
def test_resuming_another_experiment_is_refused(whole: Path, section: str, values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(tiny(**{section: values}), whole, RESUME)


def test_a_folder_that_is_there_is_refused(whole: Path) -> None:
    with pytest.raises(UsageError, match=r"run: exists; use --resume, --overwrite or another --out"):
        run(tiny(), whole, Session())


def test_overwriting_removes_what_a_run_wrote_and_nothing_else(tmp_path: Path) -> None:
    out, short = tmp_path / "run", tiny(run={"steps": 100})
    run(short, out, Session())
    before = sealed(out)
    (out / "notes.txt").write_text("mine")
    run(tiny(run={"steps": 90}), out, OVERWRITE)
    assert (out / "notes.txt").read_text() == "mine"
    assert counters(out)["env_steps"] == open_replay([out / "replay"]).env_steps == 90
    assert before.items() & sealed(out).items() == set()


def test_overwriting_waits_for_whoever_appends_to_the_replay(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(tiny(run={"steps": 90}), out, Session())
    with ReplayWriter(out / "replay", open_replay([out / "replay"]).spec, lanes=1, seed=0, append=True):
        with pytest.raises(OutputError, match=r"replay: .*writes it"):
            run(tiny(run={"steps": 90}), out, OVERWRITE)
        assert counters(out)["env_steps"] == 90


def test_overwriting_keeps_agents_that_were_put_aside(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    for name in ("agent.ckpt", "config.yaml", "metrics.jsonl", "agent-of-may.ckpt"):
        (out / name).touch()
    run(tiny(run={"steps": 90}), out, OVERWRITE)
    assert (out / "agent-of-may.ckpt").stat().st_size == 0
    assert counters(out)["env_steps"] == 90


def test_a_wrong_environment_costs_no_older_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    wrong = tiny(env={"task": "CartPoleX-v1"})
    with pytest.raises(UsageError, match="no such Gymnasium id"):
        run(wrong, out, Session())
    assert not out.exists()
    out.mkdir()
    for name in ("agent.ckpt", "config.yaml", "metrics.jsonl"):
        (out / name).touch()
    with pytest.raises(UsageError, match="no such Gymnasium id"):
        run(wrong, out, OVERWRITE)
    assert (out / "agent.ckpt").exists()


def test_an_agent_of_train_ac_is_not_taken_for_a_run(agent: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "agent.ckpt").write_bytes(agent.read_bytes())
    with pytest.raises(InputError, match="was not written by `run`"):
        run(tiny(), out, RESUME)


@pytest.mark.parametrize("stops", [False, True])
def test_a_loss_that_is_not_finite_keeps_the_last_good_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: bool) -> None:
    update, out, stop = Trainer.update, tmp_path / "run", Stop()

    def poisoned(self: Trainer, number: int) -> None:
        if number == 4:
            next(self.learner.world_model.parameters()).data.fill_(float("nan"))
            stop.signal = signal.SIGTERM if stops else None
        update(self, number)

    monkeypatch.setattr(Trainer, "update", poisoned)
    with pytest.raises(TrainingDiverged):
        run(tiny(), out, Session(stop=stop))
    assert finite(out / "agent.ckpt")
    assert counters(out)["updates"] == 1
    assert open_replay([out / "replay"]).env_steps >= PREFILL + 4 * EACH - EACH, "rows are data and stay"


def test_the_best_agent_is_the_one_with_the_best_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = iter([10.0, 30.0, 20.0])
    monkeypatch.setattr(stage, "scores", lambda spec, episodes: replace(scores(spec, episodes), returns=(next(given),)))
    result = run(tiny(), tmp_path / "run", Session())
    assert result.best_step == 180
    assert Checkpoint.load(tmp_path / "run" / "agent-best.ckpt").env_steps == 180


def test_random_steps_come_first_and_then_the_agent(whole: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    acted: list[str] = []
    for policy in (RandomPolicy, DreamPolicy):
        act = policy.act
        monkeypatch.setattr(policy, "act", lambda self, *rest, act=act: [acted.append(type(self).__name__), act(self, *rest)][1])
    run(tiny(run={"steps": 90, "eval_every": 1000}), tmp_path / "run", Session())
    first_agent = acted.index("DreamPolicy")
    rows = open_replay([whole / "replay"])
    resets = int(np.concatenate([stream.columns["is_first"][:first_agent] for stream in rows.streams]).sum())
    assert first_agent - resets == PREFILL


def test_the_largest_size_is_planned_as_shapes_without_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learners = []
    told = stage.training_plan
    monkeypatch.setattr(stage, "training_plan", lambda learner, *rest: (learners.append(learner), told(learner, *rest))[1])
    largest = resolve([*preset_layers("size400m"), Layer("test", {"env": {"task": "CartPole-v1"}})])
    plan(largest, tmp_path / "run", Session())
    assert all(parameter.is_meta for parameter in learners[0].parameters)


def test_a_plan_tells_the_updates_and_writes_nothing(tmp_path: Path) -> None:
    found = plan(tiny(), tmp_path / "run", Session()).items
    assert found["updates"] == str(UPDATES)
    assert list(tmp_path.iterdir()) == []


# Kills at random moments, in a process of its own.


def start(out: Path, existing: str, steps: int, *capacity: int) -> subprocess.Popen[str]:
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-m", "tests.stages.child_run", str(out), existing, *map(str, (steps, *capacity))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root)


def kill_at(child: subprocess.Popen[str], step: int, number: int) -> int:
    """Send a signal as soon as the child tells of a step; returns its exit code."""
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= step:
            child.send_signal(number)
            break
    child.stdout.read()
    return child.wait(60)


def test_kills_at_random_moments_lose_no_row_and_no_update(tmp_path: Path) -> None:
    """SIGKILL, then SIGTERM; 240 steps in two lanes."""
    out, steps, noise = tmp_path / "run", 240, random.Random(0)
    reached, kept = 0, {}
    for turn, number in enumerate((signal.SIGKILL, signal.SIGTERM)):
        step = min(steps - 10, reached + noise.randrange(40, 120))
        code = kill_at(start(out, "resume" if turn else "refuse", steps), step, number)
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 75)
        found = sealed(out)
        assert kept.items() <= found.items(), "sealed shards are never touched"
        rows = open_replay([out / "replay"])
        assert rows.env_steps >= reached
        assert rows.env_steps >= step
        kept, reached = found, rows.env_steps
    assert start(out, "resume", steps).wait(60) == 0
    assert kept.items() <= sealed(out).items()
    check_finished(out, steps, 1 + (steps - PREFILL) // EACH)


@pytest.mark.slow
def test_kills_keep_a_bounded_run_within_its_capacity_and_count_every_step(tmp_path: Path) -> None:
    """Some twelve of SIGKILL in 1500 steps: a minute, most of it imports."""
    out, steps, capacity, noise = tmp_path / "run", 1500, 200, random.Random(1)
    step = noise.randrange(60, 200)
    while step < steps - 50:
        found = kill_at(start(out, "resume" if out.exists() else "refuse", steps, capacity), step, signal.SIGKILL)
        assert found == -signal.SIGKILL
        # The kill may have come before the rows of one step were let go.
        assert open_replay([out / "replay"]).rows <= capacity + 2 + capacity // 8
        step += noise.randrange(60, 200)
    assert start(out, "resume", steps, capacity).wait(120) == 0
    replay, gone = open_replay([out / "replay"]), json.loads((out / "replay" / ".gone.json").read_text())
    assert replay.rows <= capacity
    assert replay.env_steps + gone["env_steps"] == steps
    found = counters(out)
    assert (found["env_steps"], found["updates"], found["owed"]) == (steps, 1 + (steps - PREFILL) // EACH, 0)
