"""Whatever a file holds, looking at it costs a line at most: no traceback, no waiting, nothing written."""

import time
from pathlib import Path

import pytest

from tests.cli.conftest import run_command
from tests.replay.corpus import CASES
from tests.replay.hostile import live_shard, sealed_shard

# Exit codes that a damaged file may give: what lists damage goes on, what reads refuses.
CODES = {
    "ls": {0, 3},
    "verify --deep": {1, 3},
    "schema": {0, 3},
    "stats": {3},
    "tail": {3},
    "sample": {3},
    "ls --episodes": {3},
}
MISSING = {"folder", "dangling", "circle"}
# All of them take a minute: the normal run looks at every seventh.
SOME = pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])


def made(folder: Path) -> dict[str, Path]:
    """Every case in a folder of its own."""
    sealed = sealed_shard(folder / "replay")
    good = {False: sealed, True: live_shard(sealed, folder / "live.h5")}
    paths = {}
    for number, (name, case) in enumerate(CASES.items()):
        paths[name] = folder / f"case{number}" / "shard.h5"
        paths[name].parent.mkdir()
        paths[name].write_bytes(good[case.live].read_bytes())
        case.change(paths[name])
    return paths


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The cases, for tests that change nothing."""
    return made(tmp_path_factory.mktemp("corpus"))


@SOME
@pytest.mark.parametrize("command", CODES)
def test_no_file_of_the_corpus_is_more_than_a_line(command: str, every: int, corpus: dict[str, Path]) -> None:
    for name, path in [*corpus.items()][::every]:
        begun = time.process_time()
        before = sorted(path.parent.iterdir())
        ran = run_command(["data", *command.split(), str(path)])
        assert time.process_time() - begun < 5, name
        assert ran.code in CODES[command], (name, ran.stderr)
        assert ran.stderr.count("\n") == (ran.code != 0), (name, ran.stderr)
        assert "Traceback" not in ran.stderr
        assert sorted(path.parent.iterdir()) == before


@SOME
def test_the_listing_names_the_damage_of_every_file(every: int, corpus: dict[str, Path]) -> None:
    told = {name: run_command(["data", "ls", str(path), "--json"]) for name, path in [*corpus.items()][::every]}
    assert {name for name, ran in told.items() if ran.code == 3} <= MISSING
    silent = {name for name, ran in told.items() if ran.code == 0 and not ran.json["files"][0]["damage"]}
    assert silent == set()
    assert all(len(ran.stdout.splitlines()) == 1 for ran in told.values() if ran.code == 0)


@SOME
def test_what_is_repaired_or_saved_in_spite_of_damage_is_sound(every: int, tmp_path: Path) -> None:
    sound = 0
    for number, (name, path) in enumerate([*made(tmp_path).items()][::every]):
        target = tmp_path / f"{number}.h5"
        repaired = run_command(["data", "repair", str(path)])
        assert repaired.code in (0, 1, 3), (name, repaired.stderr)
        saved = run_command(["data", "repair", str(path), "--salvage", str(target)])
        assert saved.code in (0, 3), (name, saved.stderr)
        assert target.exists() == (saved.code == 0), name
        for result in ([path] if repaired.code == 0 else []) + ([target] if target.exists() else []):
            sound += 1
            assert run_command(["data", "verify", "--deep", str(result)]).code == 0, name
    assert sound > 20 / every
