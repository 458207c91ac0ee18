"""Every file of the corpus is refused at once, in one line, in little memory; no damage takes the process with it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest

from dreamctl.replay.reader import open_replay
from dreamctl.replay.shards.shard import Shard, read_shard
from tests.cli.conftest import run_command
from tests.replay.corpus import CASES, ODD
from tests.replay.hostile import Case, live_shard, sealed_shard

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """A live (True) and a sealed shard."""
    folder = tmp_path_factory.mktemp("good")
    sealed = sealed_shard(folder / "replay")
    return {False: sealed, True: live_shard(sealed, folder / "live.h5")}


def made(case: Case, good: dict[bool, Path], folder: Path, name: str = "shard") -> Path:
    """The file of a case; what else it needs lies beside it."""
    path = folder / f"{name}.h5"
    path.write_bytes(good[case.live].read_bytes())
    case.change(path)
    return path


def run_python(code: str, *arguments: object) -> list[str]:
    """What a fresh process prints, line by line."""
    line = [sys.executable, "-c", code, *map(str, arguments)]
    ran = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout.splitlines()


def contents(shard: Shard) -> bytes:
    """All small columns and the table."""
    return b"".join(column.tobytes() for column in [*shard.steps.values(), *shard.episodes.values()])


@pytest.mark.timeout(60)  # pipes that nobody writes to lie where a link leads: whoever followed it would wait for ever
@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_at_once_in_one_line(good: dict[bool, Path], tmp_path: Path, name: str) -> None:
    """At once: in less than a second of the processor, whatever else it has to do."""
    path = made(CASES[name], good, tmp_path)
    begun = time.process_time()
    ran = run_command(["data", "info", str(path)])
    assert time.process_time() - begun < 1
    assert (ran.code, ran.stdout) == (3, "")
    assert ran.stderr.startswith(f"error: {path}")
    assert CASES[name].told in ran.stderr
    assert ran.stderr.endswith("\n")
    assert ran.stderr[:-1].isprintable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(good: dict[bool, Path], tmp_path: Path) -> None:
    path = made(Case(lambda path: path.chmod(0), None), good, tmp_path)
    ran = run_command(["data", "info", str(path)])
    assert (ran.code, ran.stdout) == (3, "")
    assert "cannot read (Permission denied)" in ran.stderr


@pytest.mark.parametrize("name", ODD)
def test_what_is_only_odd_is_read_as_if_nothing_were(good: dict[bool, Path], tmp_path: Path, name: str) -> None:
    path = made(ODD[name], good, tmp_path)
    assert contents(read_shard(path)) == contents(read_shard(good[ODD[name].live]))
    assert open_replay([path]).rows == read_shard(path).rows


@pytest.mark.parametrize("name", ["text outside", "bomb", "flipped header"])
def test_the_command_itself_refuses(good: dict[bool, Path], tmp_path: Path, name: str) -> None:
    path = made(CASES[name], good, tmp_path)
    line = [sys.executable, "-m", "dreamctl", "data", "info", str(path)]
    ran = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (3, "", 1)
    assert CASES[name].told in ran.stderr


REFUSE_ALL = """
import resource, sys
from pathlib import Path
from dreamctl.core.errors import InputError
from dreamctl.replay.reader import open_replay

def largest():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1 << 10 if sys.platform == "linux" else 1 << 20)

open_replay([Path(sys.argv[2])])
before, refused = largest(), 0
for path in sorted(Path(sys.argv[1]).glob("*.h5")):
    try:
        open_replay([path])
    except InputError:
        refused += 1
print(refused, largest() - before)
"""


def test_the_whole_corpus_takes_little_memory(good: dict[bool, Path], tmp_path: Path) -> None:
    for number, case in enumerate(CASES.values()):
        made(case, good, tmp_path, str(number))
    refused, megabytes = map(int, run_python(REFUSE_ALL, tmp_path, good[False])[0].split())
    assert refused == len(list(tmp_path.glob("*.h5"))) >= 150
    assert megabytes < 200


FUZZ = """
import sys
from pathlib import Path
import numpy as np
from dreamctl.core.errors import InputError
from dreamctl.replay.shards.chunks import read_rows
from dreamctl.replay.shards.located import Contiguous
from dreamctl.replay.shards.shard import read_shard
from dreamctl.replay.figures.verify import verify

good, path, trials = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def read():
    shard = read_shard(path)
    with path.open("rb") as file:
        big = [read_rows(file.fileno(), layout) for layout in shard.big.values()]
    return b"".join(column.tobytes() for column in [*shard.steps.values(), *shard.episodes.values(), *big])

noise, raw = np.random.default_rng(int(sys.argv[4])), good.read_bytes()
path.write_bytes(raw)
wanted, found = read(), {}
for trial in range(trials):
    place, bit = int(noise.integers(len(raw))), 1 << int(noise.integers(8))
    change = raw[:place] if trial % 5 == 0 else raw[:place] + bytes([raw[place] ^ bit]) + raw[place + 1 :]
    path.write_bytes(change)
    try:
        outcome = "same" if read() == wanted else "changed"
    except InputError as error:
        assert str(error).isprintable(), error
        outcome = "refused"
    if outcome == "changed" and verify([path], deep=True).problems:
        outcome = "found"
    found[outcome] = found.get(outcome, 0) + 1
    if outcome == "changed":
        print("changed", place, flush=True)
print(*(f"{name}={count}" for name, count in sorted(found.items())))
"""


def fuzzed(good: Path, folder: Path, seed: int) -> tuple[list[int], dict[str, int]]:
    """Places whose damage changes values unseen, and how often each thing came out of it."""
    lines = run_python(FUZZ, good, folder / "fuzzed.h5", 300, seed)
    counts = {name: int(count) for name, count in (pair.split("=") for pair in lines[-1].split())}
    return [int(line.split()[1]) for line in lines[:-1]], counts


# Three hundred files each, in a process of their own because HDF5 itself may crash on damage: a few seconds.
def test_no_damage_of_a_sealed_shard_changes_a_value_unseen(good: dict[bool, Path], tmp_path: Path) -> None:
    changed, counts = fuzzed(good[False], tmp_path, seed=0)
    assert changed == []
    assert counts["refused"] > 200
    assert counts["same"] > 0


def test_damage_of_a_live_shard_is_refused_or_stays_in_its_rows(good: dict[bool, Path], tmp_path: Path) -> None:
    changed, counts = fuzzed(good[True], tmp_path, seed=1)
    # Rows that are still written have no checksum; all else is as it was or is refused.
    assert set(changed) <= places_of_rows(good[True])
    assert counts["refused"] > 50


def places_of_rows(path: Path) -> set[int]:
    """Bytes of a live shard that hold numbers."""
    ranges: list[range] = []

    def note(_: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            ranges.append(range(item.id.get_offset(), item.id.get_offset() + item.nbytes))

    with h5py.File(path) as file:
        file.visititems(note)
    return {place for numbers in ranges for place in numbers}
