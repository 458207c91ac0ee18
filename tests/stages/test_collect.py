import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamctl.core.checkpoint import Checkpoint
from dreamctl.core.errors import InputError, OutputError, StoppedEarly, UsageError
from dreamctl.core.experience import Row
from dreamctl.core.provenance import file_hash
from dreamctl.core.session import Session
from dreamctl.replay.editing.edit import gather
from dreamctl.replay.reader import open_replay
from dreamctl.replay.shards.facts import read_facts
from dreamctl.replay.shards.header import read_header
from dreamctl.replay.writer import ReplayWriter
from dreamctl.stages.collect import collect, new_writer, plan, take
from dreamctl.stages.data_edit import prune
from dreamctl.stages.run import run
from tests.stages.tiny import OVERWRITE, RESUME, Hook, stopping, tiny

APPEND = replace(Session(), existing="append")
ROOT = Path(__file__).parent.parent.parent
ENDLESS = """
import sys
from pathlib import Path
from dreamctl.core.session import Session, Silence
from dreamctl.stages.collect import collect
from tests.stages.tiny import tiny

class Told(Silence):
    def update(self, done, **_):
        print(done, flush=True)

collect(tiny(collect={"steps": 10**9}), Path(sys.argv[1]), None, Session(progress=Told()))
"""


def steps(path: Path) -> int:
    return open_replay([path]).env_steps


@pytest.mark.parametrize("name", ["replay", "replay.h5"])
@pytest.mark.parametrize("lanes", [1, 3])
def test_it_takes_exactly_so_many_steps(tmp_path: Path, name: str, lanes: int) -> None:
    out = tmp_path / name
    result = collect(tiny(collect={"steps": 100}, env={"num_envs": lanes}), out, None, Session())
    assert (result.env_steps, result.total_steps, steps(out)) == (100, 100, 100)
    complete = [info for info in open_replay([out]).episodes() if info.complete]
    assert result.episodes == len(complete)
    assert result.return_mean == pytest.approx(np.mean([info.episode_return for info in complete]))


def test_or_so_many_episodes(tmp_path: Path) -> None:
    result = collect(tiny(collect={"episodes": 4}), tmp_path / "replay", None, Session())
    assert result.episodes == 4
    assert sum(info.complete for info in open_replay([tmp_path / "replay"]).episodes()) == 4


@pytest.mark.parametrize("name", ["replay", "replay.h5"])
def test_resuming_fills_up_to_the_budget(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    with pytest.raises(StoppedEarly, match="stopped at step 70 of 100"):
        collect(tiny(collect={"steps": 100}), out, None, stopping(70))
    result = collect(tiny(collect={"steps": 100}), out, None, RESUME)
    assert (result.env_steps, result.total_steps, steps(out)) == (30, 100, 100)
    assert collect(tiny(collect={"steps": 100}), out, None, RESUME).env_steps == 0
    assert steps(out) == 100


def test_resuming_makes_the_one_file_of_parts_that_hold_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, experiment = tmp_path / "replay.h5", tiny(collect={"steps": 100})

    def dying(*_: object) -> None:
        raise SystemExit("killed while the parts were merged")

    with monkeypatch.context() as patch:
        patch.setattr("dreamctl.replay.writer.merge", dying)
        with pytest.raises(SystemExit):
            collect(experiment, out, None, Session())
    assert collect(experiment, out, None, RESUME).env_steps == 0
    assert steps(out) == 100
    assert [path.name for path in tmp_path.iterdir()] == ["replay.h5"]


def test_resuming_counts_the_episodes_that_are_there(tmp_path: Path) -> None:
    out, experiment = tmp_path / "replay", tiny(collect={"episodes": 5})
    with pytest.raises(StoppedEarly):
        collect(experiment, out, None, stopping(2))
    assert collect(experiment, out, None, RESUME).episodes == 3
    assert collect(experiment, out, None, RESUME).episodes == 0
    assert sum(info.complete for info in open_replay([out]).episodes()) == 5


def test_a_stop_is_told_in_the_unit_of_the_budget(tmp_path: Path) -> None:
    with pytest.raises(StoppedEarly, match=r"stopped at episode 2 of 5, state saved; go on with --resume$"):
        collect(tiny(collect={"episodes": 5}), tmp_path / "replay", None, stopping(2))


def test_a_stop_while_appending_tells_how_much_is_left_to_append(tmp_path: Path) -> None:
    out = tmp_path / "replay"
    collect(tiny(collect={"steps": 60}), out, None, Session())
    with pytest.raises(StoppedEarly, match=r"stopped at step 80 of 110, state saved; go on with --append --steps 30$"):
        collect(tiny(collect={"steps": 50}), out, None, stopping(20, existing="append"))
    collect(tiny(collect={"steps": 30}), out, None, APPEND)
    assert steps(out) == 110


def test_appending_adds_other_episodes(tmp_path: Path) -> None:
    out = tmp_path / "replay"
    for session in (Session(), APPEND):
        collect(tiny(collect={"steps": 60}), out, None, session)
    replay = open_replay([out])
    assert replay.env_steps == 120
    starts = [replay.load(info).observation["observation"][0].tobytes() for info in replay.episodes()]
    assert len(set(starts)) == len(starts)


def test_appending_beside_a_collector_of_the_same_seed_takes_other_episodes(tmp_path: Path) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    collect(tiny(collect={"steps": 60}), alone, None, APPEND)
    with ReplayWriter(both, open_replay([alone]).spec, lanes=1, seed=0, append=True):
        collect(tiny(collect={"steps": 60}), both, None, APPEND)
    first, second = (open_replay([path]).load(open_replay([path]).episodes()[0]) for path in (alone, both))
    assert first.seed != second.seed
    assert first.observation["observation"][0].tobytes() != second.observation["observation"][0].tobytes()
    rows = min(len(first), len(second))
    assert first.action[:rows].tobytes() != second.action[:rows].tobytes()


def test_appending_to_what_was_pruned_takes_other_episodes(tmp_path: Path) -> None:
    out, seeds = tmp_path / "replay", list[int]()
    for _ in range(4):
        collect(tiny(collect={"steps": 60}), out, None, APPEND)
        seeds += [info.seed for info in open_replay([out]).episodes() if info.seed >= 0 and info.seed not in seeds]
        prune(out, 60, dry_run=False)
    assert (steps(out), len(seeds)) == (60, 4)


def test_a_collector_that_ended_while_the_next_one_began_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "replay"

    def meanwhile(*given: Any, **options: Any) -> ReplayWriter:
        monkeypatch.undo()
        collect(tiny(collect={"steps": 60}), out, None, APPEND)
        return new_writer(*given, **options)

    monkeypatch.setattr("dreamctl.stages.collect.new_writer", meanwhile)
    collect(tiny(collect={"steps": 60}), out, None, APPEND)
    seeds = [info.seed for info in open_replay([out]).episodes() if info.seed >= 0]
    assert len(set(seeds)) == len(seeds) == 2


def test_an_agent_collects_and_is_named_in_the_replay(agent: Path, tmp_path: Path) -> None:
    collect(tiny(collect={"steps": 40}), tmp_path / "replay", agent, Session())
    assert steps(tmp_path / "replay") == 40
    shard = next((tmp_path / "replay").glob("*.h5"))
    assert read_facts(shard).policy == {"path": str(agent), "sha256": file_hash(agent), "updates": Checkpoint.load(agent).updates}


def test_random_rows_and_those_of_an_agent_have_streams_of_their_own(agent: Path, tmp_path: Path) -> None:
    for name, policy in (("random", None), ("agent", agent)):
        collect(tiny(collect={"steps": 20}), tmp_path / name, policy, Session())
    assert open_replay([tmp_path / "random"]).streams[0].name != open_replay([tmp_path / "agent"]).streams[0].name
    gather([tmp_path / "random", tmp_path / "agent"], tmp_path / "both")
    assert steps(tmp_path / "both") == 40


WRITING = """
import sys
from pathlib import Path
from dreamctl.core.locks import lock_file
lock = lock_file(Path(sys.argv[1]), Path(sys.argv[2]))
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("lock", ["replay/.0123abcd-e0.lock", ".replay.lock"], ids=["a stream", "the folder"])
def test_a_budget_is_filled_by_one_process_at_a_time(tmp_path: Path, lock: str) -> None:
    out = tmp_path / "replay"
    collect(tiny(collect={"steps": 60}), out, None, Session())
    with subprocess.Popen(
        [sys.executable, "-c", WRITING, str(tmp_path / lock), str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        for session in (RESUME, OVERWRITE):
            with pytest.raises(
                OutputError, match=f"replay: another process writes it: pid {other.pid} on .* since .*; wait for it"
            ) as caught:
                collect(tiny(collect={"steps": 100}), out, None, session)
            assert caught.value.code == 74
        collect(tiny(collect={"steps": 20}), out, None, APPEND)
        assert steps(out) == 80, "whoever appends has streams of its own"
        other.kill()
    assert collect(tiny(collect={"steps": 100}), out, None, RESUME).env_steps == 20


def test_resuming_counts_and_seals_every_row_that_a_kill_left_and_tells_it(tmp_path: Path) -> None:
    out, hook = tmp_path / "replay", Hook(-1, None)
    child = subprocess.Popen([sys.executable, "-c", ENDLESS, str(out)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    while int(child.stdout.readline()) < 30:
        pass
    child.kill()
    child.communicate()
    before = steps(out)
    assert before >= 30
    result = collect(tiny(collect={"steps": before + 10}), out, None, replace(RESUME, progress=hook))
    assert (result.env_steps, steps(out)) == (10, before + 10)
    assert len(hook.notes) == 1
    assert "its writer died; sealed" in hook.notes[0]
    assert {read_header(path).state for path in out.glob("*.h5")} == {"sealed"}


def test_one_file_that_is_finished_is_not_added_to(tmp_path: Path) -> None:
    out = tmp_path / "one.h5"
    collect(tiny(collect={"steps": 20}), out, None, Session())
    with pytest.raises(UsageError, match=r"one\.h5: is one finished file, which nothing is added to; collect into a folder"):
        collect(tiny(collect={"steps": 30}), out, None, RESUME)
    assert steps(out) == 20


def test_overwriting_keeps_what_is_not_a_replay(tmp_path: Path) -> None:
    out = tmp_path / "replay"
    collect(tiny(collect={"steps": 60}), out, None, Session())
    (out / "notes.txt").write_text("mine")
    collect(tiny(collect={"steps": 40}), out, None, OVERWRITE)
    assert steps(out) == 40
    assert (out / "notes.txt").read_text() == "mine"


def test_overwriting_a_file_keeps_it_until_the_new_one_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "one.h5"
    collect(tiny(collect={"steps": 60}), out, None, Session())
    old = out.read_bytes()
    with pytest.raises(StoppedEarly):
        collect(tiny(collect={"steps": 40}), out, None, stopping(20, existing="overwrite"))
    assert out.read_bytes() == old
    result = collect(tiny(collect={"steps": 40}), out, None, RESUME)
    assert (result.env_steps, result.total_steps, steps(out)) == (20, 40, 40), "the old file's rows are not counted"
    assert [path.name for path in tmp_path.iterdir()] == ["one.h5"]


def test_what_is_there_is_refused(agent: Path, tmp_path: Path) -> None:
    out = tmp_path / "replay"
    collect(tiny(collect={"steps": 20}), out, None, Session())
    with pytest.raises(UsageError, match="exists; use --resume, --overwrite, --append or another --out"):
        collect(tiny(), out, None, Session())
    with pytest.raises(UsageError, match="--append adds to a replay folder"):
        collect(tiny(), tmp_path / "one.h5", None, APPEND)
    with pytest.raises(InputError, match="task is"):
        collect(tiny(env={"task": "Acrobot-v1"}), tmp_path / "other", agent, Session())


def test_more_lanes_than_files_may_be_open_are_refused_at_once(tmp_path: Path) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    many = tiny(env={"num_envs": most})
    for work in (collect, plan):
        with pytest.raises(UsageError, match=rf"env\.num_envs: {most} lanes need {2 * most} open files, .* {most} are allowed; use fewer"):
            work(many, tmp_path / "replay", None, Session())
    with pytest.raises(UsageError, match=r"env\.num_envs"):
        run(many, tmp_path / "run", Session())
    assert list(tmp_path.iterdir()) == []


def test_lanes_beyond_the_budget_keep_their_last_action_untaken() -> None:
    def row(lane: int, is_first: bool) -> Row:
        return Row(lane, {}, np.int64(0), 0.0, is_first, False, False)

    rows = [row(0, False), row(1, True), row(2, False), row(3, False)]
    assert [kept.lane for kept in take(rows, 2)] == [0, 1, 2]
    assert [kept.lane for kept in take(rows, 0)] == [1]


def test_a_plan_writes_nothing(tmp_path: Path) -> None:
    assert plan(tiny(), tmp_path / "replay", None, Session()).items["budget"] == "400 steps, 0 steps are there"
    assert list(tmp_path.iterdir()) == []


def test_a_plan_bounds_the_rows_of_so_many_steps_and_says_nothing_of_what_it_cannot_know(tmp_path: Path) -> None:
    out, experiment = tmp_path / "replay", tiny(collect={"steps": 400})
    told = str(plan(experiment, out, None, Session()).items["disk"])
    collect(experiment, out, None, Session())
    megabytes = open_replay([out]).summary.decoded_bytes / 1e6
    assert megabytes <= float(told.removeprefix("rows of at most ").split()[0]) < 2 * megabytes + 0.1
    assert "disk" not in plan(experiment, tmp_path / "other", None, Session(), frames=True).items
    assert "disk" not in plan(tiny(collect={"episodes": 9}), tmp_path / "other", None, Session()).items
