"""Every damaged file is found and told of, whatever else is damaged; what is whole stays without a word."""

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from dreamctl.core.errors import InputError
from dreamctl.core.experience import TaskSpec
from dreamctl.replay.figures import verify as verify_module
from dreamctl.replay.figures.verify import Verification, verify
from dreamctl.replay.shards.shard import Shard
from dreamctl.replay.writer import write_episodes
from tests.replay.rows import SPEC, dream, episode_rows, overwrite, stream_rows, write

WIDE = TaskSpec({"wide": Box(-np.inf, np.inf, (100,), np.float32)}, Discrete(5), "gym", "Wide-v0")
IMAGES = TaskSpec({"image": Box(0, 255, (16, 16, 3), np.uint8)}, Discrete(5), "gym", "Picture-v0")


@pytest.fixture
def replay(tmp_path: Path) -> Path:
    """Twelve shards of four rows, the last one with two."""
    return write(tmp_path / "replay", stream_rows([6, 9, 4, 11, 16]), shard_rows=4)


def shards(replay: Path) -> list[Path]:
    return sorted(replay.glob("*.h5"))


def told(found: Verification) -> list[str]:
    return [f"{problem.path.name[-5:-3]} {problem.what}" for problem in found.problems]


def flip(path: Path, at: int) -> None:
    held = bytearray(path.read_bytes())
    held[at] ^= 0x55
    path.write_bytes(held)


def chunk(path: Path, dataset: str, number: int = 0) -> tuple[int, int]:
    """Where the bytes of a chunk lie, and how many there are."""
    with h5py.File(path) as file:
        found = file[dataset].id.get_chunk_info(number)
    return found.byte_offset, found.size


@pytest.mark.parametrize("deep", [False, True])
def test_what_is_whole_is_sound(replay: Path, tmp_path: Path, deep: bool) -> None:
    write_episodes(tmp_path / "dreams.h5", SPEC, [dream()], kind="imagined", parent={})
    found = verify([replay, tmp_path / "dreams.h5"], deep=deep)
    assert found.problems == ()
    assert (found.files, found.rows, found.episodes, found.live) == (13, 46 + 6, 5 + 1, 0)
    assert (found.bytes > 0) == deep


def test_every_damaged_file_is_told(replay: Path) -> None:
    files = shards(replay)
    files[1].write_text("no shard")
    files[4].write_bytes(files[4].read_bytes()[:-100])
    overwrite(files[7], "/steps/reward", 1, np.nan)
    found = verify([replay], deep=False)
    assert [line[:2] for line in told(found)] == ["01", "04", "07"]
    assert "not HDF5" in found.problems[0].what
    assert "/steps/reward row 1 is nan" in found.problems[2].what
    assert (found.files, found.rows) == (12, 46 - 12)


def test_what_is_told_names_its_file_once(replay: Path) -> None:
    shards(replay)[1].write_text("no shard")
    (problem,) = verify([replay], deep=False).problems
    assert problem.what == "not HDF5; a replay is needed here (written by `dreamctl collect`)"


def test_shards_that_are_gone_are_told_once_a_gap(replay: Path) -> None:
    files = shards(replay)
    for number in (2, 3, 8):
        files[number].unlink()
    found = verify([replay], deep=False)
    assert [line[:2] for line in told(found)] == ["04", "09"]
    assert all("does not go on where" in problem.what for problem in found.problems)


def test_a_gap_that_a_damaged_file_leaves_is_told_with_that_file_only(replay: Path) -> None:
    shards(replay)[3].write_text("no shard")
    assert [line[:2] for line in told(verify([replay], deep=False))] == ["03"]


def test_oldest_shards_may_be_gone(replay: Path) -> None:
    for path in shards(replay)[:3]:
        path.unlink()
    assert verify([replay], deep=True).problems == ()


def test_a_byte_that_changed_in_a_chunk_is_found_by_decoding(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    rows = [replace(row, observation={"image": noise.integers(0, 256, (16, 16, 3), np.uint8)}) for row in episode_rows(0, 40)]
    (path,) = shards(write(tmp_path / "r", rows, spec=IMAGES))
    offset, size = chunk(path, "/steps/observation/image", 0)
    flip(path, offset + size // 2)
    assert verify([path], deep=False).problems == ()
    (problem,) = verify([path], deep=True).problems
    assert "/steps/observation/image" in problem.what


def test_content_that_was_changed_properly_is_not_what_was_sealed(replay: Path) -> None:
    overwrite(shards(replay)[2], "/steps/observation/observation", 1, 5.0)
    assert verify([replay], deep=False).problems == ()
    (problem,) = verify([replay], deep=True).problems
    assert "the content is not what was sealed (sealed_sha256)" in problem.what


def test_a_big_vector_that_is_not_finite_is_found_by_decoding(tmp_path: Path) -> None:
    rows = [replace(row, observation={"wide": np.zeros(100, np.float32)}) for row in episode_rows(0, 9)]
    (path,) = shards(write(tmp_path / "r", rows, spec=WIDE))
    overwrite(path, "/steps/observation/wide", 6, np.inf)
    (problem,) = verify([path], deep=True).problems
    assert "/steps/observation/wide row 6 is [" in problem.what
    assert "wanted finite numbers" in problem.what


def test_several_paths_are_each_looked_at(replay: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", stream_rows([4]), seed=1)
    shards(other)[0].write_text("")
    assert [problem.path.parent.name for problem in verify([other, replay], deep=False).problems] == ["other"]


def test_a_path_that_is_not_there_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="cannot read"):
        verify([tmp_path / "no"], deep=True)
    with pytest.raises(InputError, match="holds no shards"):
        verify([tmp_path / "empty"], deep=True)


def test_a_file_that_is_replaced_or_removed_while_it_is_looked_at_is_no_problem(replay: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a collector does that seals a live shard, and `run` with a capacity that drops the oldest one."""
    files = shards(replay)
    replaced, decode = [files[5]], verify_module._decode

    def disturbed(shard: Shard) -> int:
        if shard.path == files[0]:
            files[0].unlink()
            raise InputError(f"{files[0]}: gone")
        if shard.path in replaced:
            replaced.clear()
            shutil.copy(files[5], replay / "copy")
            (replay / "copy").replace(files[5])
            raise InputError(f"{files[5]}: is another file")
        return decode(shard)

    monkeypatch.setattr(verify_module, "_decode", disturbed)
    found = verify([replay], deep=True)
    assert (found.problems, found.files) == ((), 11)


def test_a_link_that_leads_nowhere_is_a_problem(replay: Path) -> None:
    (replay / "0000.h5").symlink_to("nowhere.h5")
    assert [problem.path.name for problem in verify([replay], deep=False).problems] == ["0000.h5"]
