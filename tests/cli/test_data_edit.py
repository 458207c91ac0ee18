"""`data merge`, `split`, `filter`, `prune` and `convert` as a person types them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dreamctl.replay.reader import open_replay
from tests.cli.conftest import Run, run_command
from tests.cli.schema import check
from tests.cli.test_exit_codes import assert_fails
from tests.cli.test_help import loaded_by
from tests.replay.rows import stream_rows, write

LENGTHS = [5, 2, 9, 4, 7, 3, 8, 6]
MINARI = Path(__file__).parents[1] / "replay" / "convert" / "data"


pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the replay `r` of eight episodes and the Minari dataset `cartpole-v0`."""
    monkeypatch.chdir(tmp_path)
    write(Path("r"), stream_rows(LENGTHS), shard_rows=10)
    shutil.copytree(MINARI / "cartpole-v0", "cartpole-v0")
    return tmp_path


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replay of another task in one file, a damaged one, and a folder of .npz files."""
    folder = tmp_path_factory.mktemp("others")
    for source, out in ((f"{MINARI}/cartpole-v0 --from minari", "cart.h5"), (write(folder / "r", stream_rows([4])), "npz --to npz")):
        assert run_command(f"data convert {source} -o {folder}/{out} -q").code == 0
    (folder / "bad.h5").write_bytes((folder / "cart.h5").read_bytes()[:5000])
    shutil.rmtree(folder / "r")
    return folder


def seeds(path: str) -> list[int]:
    return sorted(info.seed for info in open_replay([Path(path)]).episodes())


LINES = {
    "merge": ("data merge r other -o {out}", "data_merge"),
    "split": ("data split r -o {out} -o rest=0.5", "data_split"),
    "filter": ("data filter r -o {out} --min-return 4", "data_filter"),
    "import": ("data convert cartpole-v0 --from minari -o {out}", "data_convert"),
    "export": ("data convert r --to minari -o {out}-v0", "data_convert"),
    "npz": ("data convert r --to npz -o {out}", "data_convert"),
}


@pytest.mark.parametrize(
    ("name", "out"), [(name, out) for name in LINES for out in ("out", "out.h5") if out == "out" or name not in ("export", "npz")]
)
def test_json_keeps_its_schema(name: str, out: str, dreamctl: Run) -> None:
    write(Path("other"), stream_rows([3, 3]), seed=9)
    line, schema = LINES[name]
    ran = dreamctl(line.format(out=out) + " --json")
    assert ran.code == 0, ran.stderr
    check(ran.json, schema)


@pytest.mark.parametrize("name", LINES)
def test_what_exists_is_refused_or_replaced_whole(name: str, dreamctl: Run, here: Path) -> None:
    write(Path("other"), stream_rows([3, 3]), seed=9)
    line = LINES[name][0].format(out="out")
    assert dreamctl(line).code == 0
    before = sorted(str(path) for path in here.rglob("*"))
    assert_fails(dreamctl(line), 2, "exists; use --overwrite or another --out")
    assert sorted(str(path) for path in here.rglob("*")) == before
    assert dreamctl(f"{line} --overwrite -q").code == 0
    assert len(list(here.rglob("*"))) == len(before)


def test_a_folder_with_something_else_in_it_is_never_replaced(dreamctl: Run) -> None:
    Path("out").mkdir()
    Path("out/thesis.tex").write_text("years")
    assert_fails(dreamctl("data merge r -o out --overwrite"), 2, "out: holds thesis.tex, which would be lost")
    assert Path("out/thesis.tex").read_text() == "years"


def test_a_replay_can_be_replaced_by_what_is_made_of_it(dreamctl: Run) -> None:
    assert dreamctl("data filter r -o r --min-length 5 --overwrite").code == 0
    assert seeds("r") == [102, 104, 106, 107]


def test_split_parts_and_merge_brings_together(dreamctl: Run) -> None:
    parts = dreamctl("data split r -o train -o test=0.5 --json").json["parts"]
    assert [part["path"] for part in parts] == ["train", "test"]
    assert sum(part["episodes"] for part in parts) == 8
    assert dreamctl("data split r -o train -o test=0.5 --overwrite -q").stdout == "train\ntest\n"
    assert sorted(seeds("train") + seeds("test")) == seeds("r")
    merged = dreamctl("data merge train test -o again --json").json
    assert (merged["linked"], merged["copied"], merged["episodes"]) == (2, 0, 8)
    assert seeds("again") == seeds("r")
    assert dreamctl("data merge train again -o again.h5").stdout.startswith(
        "again.h5: 36 steps in 8 episodes; made of 3 shards, 1 there twice"
    )


@pytest.mark.parametrize(
    ("line", "code", "parts"),
    [
        ("data merge r none -o out", 3, ["none"]),
        ("data merge r bad.h5 -o out", 3, ["bad.h5"]),
        ("data merge r cart.h5 -o out", 3, ["cart.h5: cannot go with r/", "task is 'CartPole-v1', wanted 'Toy-v0'"]),
        ("data split r -o a=0.6 -o b=0.6", 2, ["0.6, 0.6", "all together at most 1"]),
        ("data split r -o a -o b", 2, ["only one output can take the rest"]),
        ("data split r -o a=x", 2, ["share 'x' is no number"]),
        ("data split r -o a -o a=0.1", 2, ["is named twice"]),
        ("data split r -o a -o b=0.0001", 3, ["none of 8 episodes falls to b"]),
        ("data split r -o a -o b=0.5 --by steps", 2, ["--by steps: a replay is split by episodes"]),
        ("data filter r -o out", 2, ["no condition was given"]),
        ("data filter r -o out --min-return 99", 3, ["none of 8 episodes passes; returns are 1 to 8, lengths 1 to 8; ask"]),
        ("data prune cart.h5 --keep-steps 5", 2, ["is one file"]),
        ("data prune none --keep-steps 5", 3, ["none"]),
        ("data prune r --keep-steps 0", 2, ["--keep-steps"]),
        ("data filter r -o out --min-return nan", 2, ["no return satisfies --min-return nan; give other bounds"]),
        ("data filter r -o out --min-length 9 --max-length 3", 2, ["no length satisfies --min-length 9 and --max-length 3"]),
        ("data convert r --to minari -o out-v0 --dataset-id 'a b'", 2, ["NAME-vN, not 'a b'; give such a --dataset-id"]),
        ("data convert none --from npz -o out", 3, ["none: cannot read (No such file or directory)"]),
        (f"data merge r -o {300 * 'a'}", 74, ["cannot write (File name too long)"]),
        (f"data merge r -o {300 * 'a'}.h5", 74, ["cannot write (File name too long)"]),
        ("data convert r --to minari -o out", 2, ["Minari calls datasets NAME-vN", "e.g. out-v0"]),
        ("data convert r --to h5 -o out", 2, ["--to h5 writes NAME.h5"]),
        ("data convert r --to replay -o out.h5", 2, ["--to replay writes a folder"]),
        ("data convert r --to hdf -o out", 2, ["--to hdf: no such format; known: h5, minari, npz, replay"]),
        ("data convert r --from minary -o out", 2, ["--from minary: no such format; nearest: minari"]),
        ("data convert r --from minari -o out", 3, ["metadata.json: not readable (No such file or directory)"]),
        ("data convert r --from npz -o out", 3, ["holds no .npz files"]),
        ("data convert cartpole-v0 -o out", 3, ["cartpole-v0: is a Minari dataset; read it with --from minari"]),
        ("data convert npz -o out", 3, ["npz: holds .npz files; read them with --from npz or"]),
        ("data convert r -o out --shift-actions", 2, ["--shift-actions: --from replay has no such option"]),
        ("data convert r --to npz -o out --author me", 2, ["--author: --to npz has no such option"]),
        ("data convert cartpole-v0 --from minari --reward-dtype f2 -o out", 2, ["--reward-dtype f2: wanted f4 or f8"]),
        ("data convert cartpole-v0 --from minari --env Pendulum-v1 -o out", 3, ["leave --env out"]),
        ("data convert cartpole-v0 --from minari --env Nope-v1 -o out", 2, ["Nope-v1"]),
    ],
)
def test_a_mistake_costs_one_line_and_leaves_nothing(
    line: str, code: int, parts: list[str], dreamctl: Run, here: Path, others: Path
) -> None:
    shutil.copytree(others, here, dirs_exist_ok=True)
    before = sorted(str(path) for path in here.rglob("*"))
    assert_fails(dreamctl(line), code, *parts)
    assert sorted(str(path) for path in here.rglob("*")) == before


def test_prune_says_what_would_go_and_removes_it(dreamctl: Run) -> None:
    before = sorted(path.name for path in Path("r").iterdir())
    dry = dreamctl("data prune r --keep-steps 20 --dry-run --json")
    check(dry.json, "data_prune")
    assert sorted(path.name for path in Path("r").iterdir()) == before
    done = dreamctl("data prune r --keep-steps 20 --json").json
    assert done == {**dry.json, "dry_run": False}
    left = {Path(shard["path"]).name for shard in done["removed"]}
    assert left == set(before) - {path.name for path in Path("r").iterdir()}
    assert open_replay([Path("r")]).env_steps == done["left"]["env_steps"] >= 20
    assert "nothing to remove; " in dreamctl("data prune r --keep-steps 20").stdout


def test_minari_goes_round(dreamctl: Run) -> None:
    assert dreamctl("data convert cartpole-v0 --from minari -o cart").code == 0
    assert dreamctl("data convert cart --to minari -o out/cart-v1 --author me --description 'a try'").code == 0
    assert dreamctl("data convert out/cart-v1 --from minari --to npz -o episodes").code == 0
    assert dreamctl("data convert episodes --from npz --env CartPole-v1 -o again.h5").code == 0
    assert seeds("again.h5") == seeds("cart")
    info = dreamctl("data info again.h5 --json").json
    assert info["env"] == "gym:CartPole-v1"


def test_foreign_files_take_the_spaces_of_an_environment(dreamctl: Run) -> None:
    Path("npz").mkdir()
    np.savez(
        "npz/0.npz",
        state=np.zeros(1),
        **{"observation/state": np.zeros((4, 4), np.float32)},
        action=np.zeros(3, np.int64),
        reward=np.ones(3),
        terminated=True,
        truncated=False,
    )
    ran = dreamctl("data convert npz --from npz -o guess.h5")
    assert ran.code == 0, ran.stderr
    assert "taken to be" in ran.stderr
    assert "keys state are left out" in ran.stderr
    assert dreamctl("data convert npz --from npz --env CartPole-v1 -o known.h5").code == 0
    spec = open_replay([Path("known.h5")]).spec
    assert (spec.name, list(spec.observation), str(spec.action)) == ("gym:CartPole-v1", ["observation"], "Discrete(2)")


@pytest.mark.parametrize(
    "line", ["merge r -o m.h5", "filter r -o f --complete", "convert r --to npz -o n", "convert r --to minari -o m-v0"]
)
def test_changing_a_replay_never_loads_torch(line: str, here: Path) -> None:
    assert "torch" not in loaded_by(["data", *line.split()], here)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_ends_it_and_leaves_nothing(number: signal.Signals, code: int, here: Path) -> None:
    write(Path("long"), stream_rows([3] * 3000), shard_rows=9000)
    line = ["data", "convert", "long", "--to", "minari", "-o", "out-v0"]
    process = subprocess.Popen([sys.executable, "-m", "dreamctl", *line], stderr=subprocess.PIPE, text=True)
    workshop = here / ".out-v0.new" / "out-v0" / "data" / "main_data.hdf5"
    while process.poll() is None and not workshop.exists():
        time.sleep(0.005)
    os.kill(process.pid, number)
    _, told = process.communicate()
    assert process.returncode == code, told
    assert "nothing was written" in told
    assert {path.name for path in here.iterdir()} == {"r", "cartpole-v0", "long"}
