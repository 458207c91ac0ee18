"""A shard is what its counters say, live or sealed, of this release or an older one."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from dreamctl.core.errors import InputError
from dreamctl.replay.figures.verify import verify
from dreamctl.replay.reader import open_replay
from dreamctl.replay.shards.chunks import read_rows
from dreamctl.replay.shards.shard import read_columns, read_shard
from tests.replay.hostile import LENGTHS, ROWS, live_shard, sealed_shard
from tests.replay.rows import episode_rows, stream_rows, write

OLD = Path(__file__).parent / "data" / "version-1.0.h5"


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    return sealed_shard(tmp_path / "replay")


@pytest.fixture
def live(sealed: Path, tmp_path: Path) -> Path:
    return live_shard(sealed, tmp_path / "live.h5")


def commit(path: Path, place: int, number: int) -> None:
    with h5py.File(path, "r+") as file:
        file["/commit"][place] = number


def test_a_file_of_the_first_release_is_read() -> None:
    replay = open_replay([OLD])
    assert replay.spec.name == "gym:Toy-v0"
    infos = replay.episodes()
    assert [(info.length, info.complete, info.seed, info.id) for info in infos] == [(270, True, 100, 0), (30, True, 101, 1)]
    for number, info in enumerate(infos):
        episode, steps = replay.load(info), np.arange(info.length)
        assert (episode.observation["observation"] == np.stack([0 * steps, 0 * steps + number, steps], -1)).all()
        assert (episode.observation["image"] == ((number + steps) % 251)[:, None, None, None]).all()
        assert (episode.action[:-1] == 1 + steps[:-1] % 4).all()
        assert (episode.reward == (steps > 0)).all()
        assert (episode.terminated[-1], episode.truncated[-1]) == (number == 0, number == 1)


def test_small_columns_are_read_and_big_ones_found(sealed: Path) -> None:
    shard = read_shard(sealed)
    assert (shard.state, shard.rows, shard.inode) == ("sealed", ROWS, sealed.stat().st_ino)
    assert shard.steps.keys() == {"observation/vector", "action", "reward", "is_first", "terminated", "truncated"}
    assert shard.big.keys() == {"observation/image"}
    with h5py.File(sealed) as file, sealed.open("rb") as raw:
        for name, column in shard.steps.items():
            assert (column == file[f"/steps/{name}"][:]).all()
        images = file["/steps/observation/image"][:]
        assert (read_rows(raw.fileno(), shard.big["observation/image"]) == images).all()
        assert (read_rows(raw.fileno(), shard.big["observation/image"], 60, 10) == images[60:70]).all()


@pytest.mark.parametrize(("first", "rows"), [(0, ROWS), (0, 0), (5, 1), (60, 10), (63, 2), (64, 32)])
def test_any_rows_of_a_column_are_read(sealed: Path, live: Path, first: int, rows: int) -> None:
    whole = read_columns(sealed, ["observation/image", "reward"], 0, ROWS)
    for path in (sealed, live):
        here = min(rows, read_shard(path).rows - first)
        found = read_columns(path, ["observation/image", "reward"], first, here)
        assert all((found[name] == whole[name][first : first + here]).all() for name in whole)


def test_the_open_episode_of_a_live_shard_ends_its_table(live: Path) -> None:
    shard = read_shard(live)
    assert (shard.state, shard.rows) == ("live", ROWS - 6)
    table = {name: column.tolist() for name, column in shard.episodes.items()}
    assert (table["start"], table["length"]) == ([0, 40, 70], [40, 30, 20])
    assert (table["complete"], table["terminated"], table["truncated"]) == ([1, 1, 0], [1, 0, 0], [0, 1, 0])
    assert (table["id"], table["seed"], table["segment"], table["return"]) == ([0, 1, 2], [100, 101, 102], [0, 0, 0], [39, 29, 19])


@pytest.mark.parametrize(
    ("rows", "episodes", "lengths", "complete"),
    [
        (0, 0, [], []),
        (1, 0, [1], [0]),
        (39, 0, [39], [0]),
        (40, 0, [40], [1]),
        (40, 1, [40], [1]),
        (41, 1, [40, 1], [1, 0]),
        # Counters of two moments: an episode that ends behind the rows is open, rows behind the table make episodes of their own.
        (39, 1, [39], [0]),
        (60, 2, [40, 20], [1, 0]),
        (70, 0, [40, 30], [1, 1]),
        (90, 0, [40, 30, 20], [1, 1, 0]),
    ],
)
def test_rows_and_episodes_of_two_moments_are_one_view(
    live: Path, rows: int, episodes: int, lengths: list[int], complete: list[int]
) -> None:
    commit(live, 0, rows)
    commit(live, 1, episodes)
    table = read_shard(live).episodes
    assert table["length"].tolist() == lengths
    assert table["complete"].tolist() == complete
    assert table["start"].tolist() == [0, *np.cumsum(LENGTHS)][: len(lengths)]


def test_an_episode_that_goes_on_from_the_shard_before_keeps_its_segment(live: Path) -> None:
    with h5py.File(live, "r+") as file:
        file["/steps/is_first"][0] = False
        file["/episodes/segment"][0] = 3
    for rows, episodes in ((40, 1), (30, 0)):
        commit(live, 0, rows)
        commit(live, 1, episodes)
        assert read_shard(live).episodes["segment"].tolist() == [3]


def test_rows_that_are_added_meanwhile_are_not_read(live: Path) -> None:
    before = read_shard(live)
    with h5py.File(live, "r+") as file:
        file["/steps/reward"][before.rows :] = np.nan
    assert (read_shard(live).steps["reward"] == before.steps["reward"]).all()
    commit(live, 0, before.rows + 1)
    with pytest.raises(InputError, match=f"/steps/reward row {before.rows} is nan"):
        read_shard(live)


def test_what_was_recorded_beside_the_task_may_be_no_number(tmp_path: Path) -> None:
    extra = {"log_prob": np.array([0, -np.inf, np.nan, 0], np.float32), "map": np.full((4, 100), np.nan, np.float32)}
    folder = write(tmp_path / "replay", episode_rows(0, 4, extra=extra))
    shard = read_shard(next(folder.glob("*.h5")))
    assert (set(shard.steps) - {"extra/log_prob"}, set(shard.big)) == (set(open_replay([folder]).streams[0].columns), {"extra/map"})
    found = open_replay([folder]).load(open_replay([folder]).episodes()[0], extra=["log_prob", "map"]).extra
    assert all(np.array_equal(found[name], extra[name], equal_nan=True) for name in extra)
    assert not verify([folder], deep=True).problems


def test_a_file_that_became_shorter_is_told_when_its_columns_are_read(tmp_path: Path) -> None:
    path = next(write(tmp_path / "r", stream_rows([6])).glob("*.h5"))
    with pytest.raises(InputError, match="holds fewer rows than were read from it before"):
        read_columns(path, ["reward"], 0, 20)
