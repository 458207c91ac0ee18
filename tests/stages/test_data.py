"""The looking commands tell what a replay holds, in words and as JSON, and never stop at the first bad file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from PIL import Image

from dreamctl.core.config import Layer
from dreamctl.core.errors import InputError, UsageError
from dreamctl.core.experience import TaskSpec
from dreamctl.core.session import Session
from dreamctl.replay.reader import open_replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.replay.windows.selectors import Online
from dreamctl.replay.writer import write_episodes
from dreamctl.stages.data import info
from dreamctl.stages.data_diff import diff
from dreamctl.stages.data_ls import ls, ls_episodes
from dreamctl.stages.data_sample import drawn_by, sample
from dreamctl.stages.data_schema import schema
from dreamctl.stages.data_stats import stats
from dreamctl.stages.data_tail import tail
from dreamctl.stages.data_verify import verify_replays
from tests.replay.rows import SPEC, dream, episode_rows, stream_rows, write

IMAGES = TaskSpec({"image": Box(0, 255, (16, 16, 3), np.uint8)}, Discrete(5), "gym", "Picture-v0")
SMALL = ReplayConfig(batch_size=3, batch_length=5)


@pytest.fixture
def replay(tmp_path: Path) -> Path:
    """Five episodes in twelve shards."""
    return write(tmp_path / "replay", stream_rows([6, 9, 4, 11, 16]), shard_rows=4)


def shards(replay: Path) -> list[Path]:
    return sorted(replay.glob("*.h5"))


def test_info_tells_who_wrote_it_and_what_room_it_takes(tmp_path: Path) -> None:
    told = info([write(tmp_path / "r", stream_rows([5, 4]), seed=7, policy="random")])
    found = told.to_json()
    assert (found["seeds"], found["policies"], found["live"], found["writers"]) == ([7], ["random"], 0, [])
    assert found["decoded_bytes"] == 9 * (12 + 8 + 4 + 3)
    assert str(found["created"]).endswith("Z")
    assert "policy random, seed 7" in told.summary()
    assert "7 steps in 2 episodes, 2 of them complete; 9 rows" in told.summary()


def test_info_shortens_the_hash_of_a_policy(tmp_path: Path) -> None:
    told = info([write(tmp_path / "r", stream_rows([5]), policy={"path": "a.ckpt", "sha256": "0123456789abcdef" * 4, "updates": 3})])
    assert "policy a.ckpt 0123456789ab, seed 0" in told.summary()


def test_a_listing_has_a_line_a_file(replay: Path) -> None:
    found = ls([replay])
    assert [listed.file for listed in found.files] == shards(replay)
    assert [(listed.seq, listed.first_row, listed.rows) for listed in found.files] == [(n, 4 * n, 4 if n < 11 else 2) for n in range(12)]
    assert len(found.summary().splitlines()) == 13


def test_a_listing_tells_of_every_damaged_file_and_goes_on(replay: Path) -> None:
    for number in (2, 5):
        shards(replay)[number].write_text("no shard")
    listing = ls([replay])
    assert [n for n, listed in enumerate(listing.files) if listed.damage] == [2, 5]
    assert listing.files[2].damage == "not HDF5; a replay is needed here (written by `dreamctl collect`)"
    assert listing.files[2].rows is None
    lines = listing.summary().splitlines()
    assert [n for n, line in enumerate(lines[1:]) if "damaged" in line and "not HDF5" in line] == [2, 5]


def test_a_damaged_file_that_is_named_is_listed_and_one_that_is_not_there_refused(replay: Path, tmp_path: Path) -> None:
    shards(replay)[0].write_text("no shard")
    assert ls([shards(replay)[0]]).files[0].damage
    with pytest.raises(InputError, match="cannot read"):
        ls([tmp_path / "no.h5"])


def test_episodes_are_listed_joined(replay: Path) -> None:
    found = ls_episodes([replay]).to_json()["episodes"]
    assert [(e["steps"], e["return"], e["end"]) for e in found] == [
        (5, 5.0, "terminated"),
        (8, 8.0, "truncated"),
        (3, 3.0, "terminated"),
        (10, 10.0, "truncated"),
        (15, 15.0, "terminated"),
    ]
    assert [e["segments"] for e in found] == [2, 3, 2, 4, 5]
    assert found[0]["file"] == str(shards(replay)[0])


def test_an_episode_without_a_seed_of_its_own_shows_a_dash(tmp_path: Path) -> None:
    rows = [*episode_rows(0, 4), *(replace(row, seed=-1) for row in episode_rows(1, 4))]
    told = ls_episodes([write(tmp_path / "r", rows)]).summary()
    assert [line.split()[4] for line in told.splitlines()] == ["seed", "100", "-"]


def test_an_episode_nobody_saw_the_end_of_is_cut(tmp_path: Path) -> None:
    told = ls_episodes([write(tmp_path / "r", episode_rows(0, 5, ended=False))]).summary()
    assert "  cut  " in told


def test_the_schema_counts_a_file_once(replay: Path) -> None:
    assert schema([replay, replay / ".." / replay.name]).datasets == schema([replay]).datasets


def test_the_schema_adds_up_all_files(replay: Path) -> None:
    found = schema([replay])
    (reward,) = [stored for stored in found.datasets if stored.path == "/steps/reward"]
    assert (found.files, reward.rows, reward.decoded_bytes) == (12, 46, 184)
    assert "chunks of 4, shuffle, gzip-1, fletcher32" in found.summary()
    assert found.summary().splitlines()[-1].startswith("in 12 files")


def test_figures_have_bars_and_quantiles(replay: Path) -> None:
    told = stats([replay]).summary()
    assert "return of 5 episodes: mean 8.2" in told
    assert "action, 41 choices" in told
    assert "█" in told
    assert "below: 5% 3.4, 25% 5, 50% 8" in told


def test_verify_tells_each_problem_on_a_line_of_its_own(replay: Path) -> None:
    assert verify_replays([replay], deep=True).summary().startswith("ok    12 files, 46 rows of 5 episodes; ")
    for number in (2, 5):
        shards(replay)[number].write_text("no shard")
    found = verify_replays([replay], deep=False)
    assert [line.startswith("FAIL") for line in found.summary().splitlines()] == [True, True, False]
    assert (found.to_json()["sound"], len(found.to_json()["problems"])) == (False, 2)


def test_diff_says_equal_or_what_differs(replay: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", [*episode_rows(0, 6), *episode_rows(9, 3)], seed=5)
    assert diff(replay, replay).summary().splitlines()[-1] == "equal"
    found = diff(replay, other)
    lines = found.summary().splitlines()
    assert lines[-2:] == ["  1 episode in both, 4 only in <, 1 only in >", "different"]
    assert "  seed  < 0  > 5" in lines
    assert [e["steps"] for e in found.to_json()["only_right"]] == [2]


def test_a_batch_is_the_one_a_training_draws(replay: Path) -> None:
    found = sample([replay], SMALL, batch=7, session=Session(seed=3))
    wanted = WindowSampler(open_replay([replay]), SMALL, 3).sample(7)
    assert [row for _, row in found.begins] == wanted.row.tolist()
    seen = wanted.observation["observation"]
    assert found.columns["observation/observation"].shape == seen.shape == (3, 5, 3)
    assert found.columns["observation/observation"].figures.mean == pytest.approx(seen.mean())
    assert sample([replay], SMALL, batch=8, session=Session(seed=3)).begins != found.begins


def test_what_is_there_is_not_new_to_an_online_queue(replay: Path) -> None:
    assert sample([replay], replace(SMALL, selector=Online())).begins == sample([replay], SMALL).begins


def test_a_batch_is_written_as_arrays(replay: Path, tmp_path: Path) -> None:
    found = sample([replay], SMALL, out=tmp_path / "batch.npz")
    wanted = WindowSampler(open_replay([replay]), SMALL, 0).sample(0)
    with np.load(tmp_path / "batch.npz") as held:
        assert sorted(held) == sorted(found.columns)
        assert np.array_equal(held["observation/observation"], wanted.observation["observation"])
        assert np.array_equal(held["prev_action"], wanted.prev_action)
    assert found.to_json()["path"] == str(tmp_path / "batch.npz")


def test_a_batch_is_drawn_as_a_contact_sheet(replay: Path, tmp_path: Path) -> None:
    pictures = [replace(row, observation={"image": np.full((16, 16, 3), 9 * t, np.uint8)}) for t, row in enumerate(episode_rows(0, 12))]
    for name, path in (("vectors", replay), ("images", write(tmp_path / "images", pictures, spec=IMAGES))):
        sample([path], SMALL, out=tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert min(picture.size) > 100


def test_a_batch_goes_nowhere_it_should_not(replay: Path, tmp_path: Path) -> None:
    (tmp_path / "there.npz").touch()
    with pytest.raises(UsageError, match=r"there\.npz: exists; use --overwrite"):
        sample([replay], SMALL, out=tmp_path / "there.npz")
    with pytest.raises(UsageError, match=r"suffix '\.jpg' is not known, wanted \.npz or \.png; choose another --out"):
        sample([replay], SMALL, out=tmp_path / "batch.jpg")
    with pytest.raises(UsageError, match=r"batch: has no suffix, wanted \.npz or \.png"):
        sample([replay], SMALL, out=tmp_path / "batch")


def test_only_the_section_of_the_replay_decides_how_a_batch_is_drawn() -> None:
    preset = Layer("preset x", {"replay": {"batch_size": 2}, "optimizer": {"warmup": 3}})
    assert drawn_by([preset, Layer("--set a", {"replay": {"batch_length": 9}})]) == ReplayConfig(batch_size=2, batch_length=9)
    with pytest.raises(UsageError, match="reads section replay only"):
        drawn_by([Layer("--set env.task=x", {"env": {"task": "x"}})])
    with pytest.raises(UsageError, match=r"replay\.batch_sise: no such key; nearest: batch_size"):
        drawn_by([Layer("--set a", {"replay": {"batch_sise": 9}})])


def test_the_last_episodes_come_last(replay: Path) -> None:
    assert [line.steps for line in tail([replay], 2, rows=False).lines] == [10, 15]
    assert [line.steps for line in tail([replay], 100, rows=False).lines] == [5, 8, 3, 10, 15]
    assert tail([replay], 0, rows=False).lines == []


def test_later_collectors_come_later_however_short_their_streams_are(replay: Path) -> None:
    write(replay, stream_rows([3]), seed=1, append=True)
    assert tail([replay], 1, rows=False).lines[0].steps == 2


def test_the_last_episodes_are_those_of_all_lanes(tmp_path: Path) -> None:
    lanes = [list(stream_rows([5, 3], lane=0)), list(stream_rows([3, 4], lane=1))]
    write(tmp_path / "r", [rows[t] for t in range(8) for rows in lanes if t < len(rows)], lanes=2)
    assert [line.key[-4:] for line in tail([tmp_path / "r"], 4, rows=False).lines] == ["e1/0", "e0/0", "e1/1", "e0/1"]


def test_the_last_rows_are_told_in_a_few_words(replay: Path) -> None:
    found = tail([replay], 2, rows=True)
    assert [(line.row, line.reward, line.flags) for line in found.lines] == [(44, 1.0, ()), (45, 1.0, ("terminated",))]
    assert found.lines[0].to_json()["action"] == {"action": 3}
    assert "observation 0 4 15" in found.summary()


def test_dreams_are_looked_at_like_any_replay(tmp_path: Path) -> None:
    path = tmp_path / "dreams.h5"
    write_episodes(path, SPEC, [dream(), dream()], kind="imagined", parent={"model": "wm.ckpt"})
    assert "imagined rollouts" in info([path]).summary()
    assert len(ls_episodes([path]).episodes) == 2
    assert stats([path]).to_json()["columns"]["extra/value"]["mean"] == 2.5
    assert verify_replays([path], deep=True).found.problems == ()
    with pytest.raises(InputError, match=r"replay\.allow_imagined=true"):
        sample([path], SMALL)
    assert sample([path], replace(SMALL, allow_imagined=True)).columns["reward"].shape == (3, 5)
