"""Of a damaged replay everything that can be read and makes sense is saved, and nothing else."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Array, Row, TaskSpec
from dreamctl.replay.editing.salvage import Salvaged, salvage
from dreamctl.replay.figures.verify import verify
from dreamctl.replay.reader import open_replay
from dreamctl.replay.writer import ReplayWriter, write_episodes
from tests.replay.rows import SPEC, dream, episode_rows, overwrite, stream_rows, write

IMAGES = TaskSpec({"image": Box(0, 255, (16, 16, 3), np.uint8)}, Discrete(5), "gym", "Picture-v0")
OBSERVATION = "/steps/observation/observation"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "saved.h5"


def shards(replay: Path) -> list[Path]:
    return sorted(replay.glob("*.h5"))


def saved(target: Path) -> list[tuple[list[list[float]], bool]]:
    """Observations of each episode that was saved, and whether it ended; the file itself is sound."""
    assert verify([target], deep=True).problems == ()
    replay = open_replay([target])
    return [(replay.load(info).observation["observation"].tolist(), info.complete) for info in replay.episodes()]


def rows_of(number: int, first: int, last: int) -> list[list[float]]:
    return [[0, number, step] for step in range(first, last)]


def spoil(path: Path, dataset: str, number: int = 0) -> None:
    """Flip bytes in the middle of a chunk."""
    with h5py.File(path) as file:
        found = file[dataset].id.get_chunk_info(number)
    held = bytearray(path.read_bytes())
    for at in range(found.byte_offset + found.size // 2, found.byte_offset + found.size // 2 + 4):
        held[at] ^= 0x5A
    path.write_bytes(held)


def pictures(lengths: Sequence[int]) -> list[Row]:
    noise = np.random.default_rng(0)
    return [replace(row, observation={"image": noise.integers(0, 256, (16, 16, 3), np.uint8)}) for row in stream_rows(lengths)]


def column(path: Path, name: str) -> Array:
    with h5py.File(path) as file:
        return file[name][:]


def test_a_sound_replay_is_saved_whole(tmp_path: Path, target: Path) -> None:
    source = write(tmp_path / "r", stream_rows([6, 9, 4]), shard_rows=4, seed=3)
    assert salvage([source], target) == Salvaged(3, 19, 0)
    assert saved(target) == [(rows_of(0, 0, 6), True), (rows_of(1, 0, 9), True), (rows_of(2, 0, 4), True)]
    assert [info.seed for info in open_replay([target]).episodes()] == [100, 101, 102]


def test_a_file_that_cannot_be_opened_cuts_the_episode_before_it_and_loses_the_one_behind(tmp_path: Path, target: Path) -> None:
    source = write(tmp_path / "r", stream_rows([6, 9, 4]), shard_rows=4)
    shards(source)[2].write_text("no shard")
    assert salvage([source], target) == Salvaged(3, 2 + 6 + 4, 3)
    assert saved(target) == [(rows_of(0, 0, 6), True), (rows_of(1, 0, 2), False), (rows_of(2, 0, 4), True)]


def test_a_shard_that_is_gone_does_the_same(tmp_path: Path, target: Path) -> None:
    source = write(tmp_path / "r", stream_rows([6, 9, 4]), shard_rows=4)
    shards(source)[2].unlink()
    salvage([source], target)
    assert saved(target) == [(rows_of(0, 0, 6), True), (rows_of(1, 0, 2), False), (rows_of(2, 0, 4), True)]


@pytest.mark.parametrize(("name", "value"), [("seq", 7), ("first_row", 9)])
def test_a_shard_that_does_not_go_on_from_the_one_before_joins_no_episode(tmp_path: Path, target: Path, name: str, value: int) -> None:
    source = write(tmp_path / "r", episode_rows(0, 6), shard_rows=4)
    with h5py.File(shards(source)[1], "r+") as file:
        file.attrs[name] = np.int64(value)
    assert salvage([source], target) == Salvaged(1, 4, 2)
    assert saved(target) == [(rows_of(0, 0, 4), False)]


@pytest.mark.parametrize("dataset", ["/steps/reward", OBSERVATION])
def test_a_number_that_is_not_finite_cuts_its_episode_in_front_of_it(tmp_path: Path, target: Path, dataset: str) -> None:
    source = write(tmp_path / "r", stream_rows([6, 9, 4]))
    overwrite(shards(source)[0], dataset, 11, np.nan)
    assert salvage([source], target) == Salvaged(3, 15, 4)
    assert saved(target) == [(rows_of(0, 0, 6), True), (rows_of(1, 0, 5), False), (rows_of(2, 0, 4), True)]


def test_an_episode_is_never_joined_over_rows_that_are_lost(tmp_path: Path, target: Path) -> None:
    source = write(tmp_path / "r", stream_rows([14, 3]), shard_rows=4)
    overwrite(shards(source)[1], "/steps/reward", 2, np.nan)
    assert salvage([source], target) == Salvaged(2, 6 + 3, 8)
    assert saved(target) == [(rows_of(0, 0, 6), False), (rows_of(1, 0, 3), True)]


def test_an_action_that_there_is_not_cuts_its_episode(tmp_path: Path, target: Path) -> None:
    source = write(tmp_path / "r", stream_rows([6, 9, 4]))
    overwrite(shards(source)[0], "/steps/action", 8, 77)
    salvage([source], target)
    assert saved(target)[1] == (rows_of(1, 0, 2), False)


def test_a_zero_that_is_no_choice_is_one_only_where_an_episode_ends(tmp_path: Path, target: Path) -> None:
    spec = replace(SPEC, action=Discrete(5, start=1))
    source = write(tmp_path / "r", stream_rows([6, 9]), spec=spec)
    assert salvage([source], target).lost == 0
    overwrite(shards(source)[0], "/steps/action", 8, 0)
    target.unlink()
    salvage([source], target)
    assert saved(target) == [(rows_of(0, 0, 6), True), (rows_of(1, 0, 2), False)]


def test_the_rows_of_a_chunk_that_cannot_be_decoded_are_lost(tmp_path: Path, target: Path) -> None:
    source = write(tmp_path / "r", pictures([100, 100, 100, 40]), spec=IMAGES)
    (path,) = shards(source)
    with h5py.File(path) as file:
        height = file["/steps/observation/image"].chunks[0]
    assert height < 340
    before = column(path, "/steps/observation/image")
    spoil(path, "/steps/observation/image", 1)
    found = salvage([source], target)
    assert verify([target], deep=True).problems == ()
    kept = [*range(height - height % 100 if height % 100 == 1 else height), *range(-(-min(340, 2 * height) // 100) * 100, 340)]
    assert found.rows == len(kept)
    assert np.array_equal(column(target, "/steps/observation/image"), before[kept])


def test_a_table_of_episodes_that_cannot_be_read_is_made_from_the_flags(tmp_path: Path, target: Path) -> None:
    source = write(tmp_path / "r", stream_rows([6, 9, 4]))
    spoil(shards(source)[0], "/episodes/seed")
    assert salvage([source], target) == Salvaged(3, 19, 0)
    infos = open_replay([target]).episodes()
    assert [(info.seed, info.episode_return, info.ending) for info in infos] == [
        (-1, 5.0, "terminated"),
        (-1, 8.0, "truncated"),
        (-1, 3.0, "terminated"),
    ]


def test_the_action_of_a_cut_end_is_the_zero_that_no_one_takes(tmp_path: Path, target: Path) -> None:
    source = write(tmp_path / "r", stream_rows([6, 9]))
    overwrite(shards(source)[0], "/steps/reward", 11, np.nan)
    salvage([source], target)
    assert column(target, "/steps/action").tolist()[6:] == [1, 2, 3, 4, 0]


def test_several_streams_and_live_shards_are_saved(tmp_path: Path, target: Path) -> None:
    with ReplayWriter(tmp_path / "r", SPEC, lanes=2, seed=0) as writer:
        for row in [*stream_rows([4, 3]), *episode_rows(2, 5, ended=False), *episode_rows(0, 3, lane=1)]:
            writer.add(row)
        found = salvage([tmp_path / "r"], target)
    assert found == Salvaged(4, 15, 0)
    assert [(len(rows), complete) for rows, complete in saved(target)] == [(4, True), (3, True), (5, False), (3, True)]


def test_dreams_are_saved_whole_or_not_at_all(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "dreams.h5"
    write_episodes(source, SPEC, [dream(6), dream(7), dream(8)], kind="imagined", parent={"model": "wm.ckpt"})
    overwrite(source, OBSERVATION, 9, np.inf)
    assert salvage([source], target) == Salvaged(2, 14, 7)
    infos = open_replay([target]).episodes()
    assert [(info.length, info.context, info.source_shard, info.source_row) for info in infos] == [(6, 2, 1, 7), (8, 2, 1, 7)]


def test_nothing_that_can_be_saved_is_an_error_and_writes_nothing(tmp_path: Path, target: Path) -> None:
    source = write(tmp_path / "r", stream_rows([6]))
    shards(source)[0].write_text("no shard")
    with pytest.raises(InputError, match="no episode can be read"):
        salvage([source], target)
    assert not target.exists()


def test_other_columns_are_saved_apart(tmp_path: Path, target: Path) -> None:
    one = write(tmp_path / "one", stream_rows([6]))
    two = write(tmp_path / "two", episode_rows(0, 5, extra={"value": np.zeros(5, np.float32)}))
    with pytest.raises(InputError, match="has other columns than"):
        salvage([one, two], target)
