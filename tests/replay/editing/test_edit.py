"""Merge, select and prune keep every row that they say they keep, and touch nothing else."""

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from dreamctl.core.errors import InputError
from dreamctl.replay.convert.kinds import OurReplay
from dreamctl.replay.editing.edit import gather, oldest, remove_shards
from dreamctl.replay.editing.recording import SHARD_BYTES, Recording, write_recording
from dreamctl.replay.editing.selection import Conditions, selected, split_by_share, whole_episodes
from dreamctl.replay.reader import open_replay
from dreamctl.replay.streams.episodes import EpisodeInfo
from dreamctl.replay.streams.holdout import held_out
from dreamctl.replay.writer import ReplayWriter, write_episodes
from dreamctl.replay.writing.gone import Gone
from tests.replay.rows import BOX_SPEC, SPEC, dream, episode_rows, stream_rows, write

LENGTHS = [5, 2, 9, 4, 7, 3]
COLUMNS = ("observation/observation", "action", "reward", "is_first", "terminated", "truncated")


@pytest.fixture
def replay(tmp_path: Path) -> Path:
    """Six episodes cut into shards of four rows, and a seventh that nobody ended."""
    rows = [*stream_rows(LENGTHS), *episode_rows(6, 6, ended=False)]
    return write(tmp_path / "replay", rows, shard_rows=4)


def contents(path: Path) -> list[tuple[object, ...]]:
    """Every episode of a replay as plain values, sorted."""
    replay = open_replay([path])

    def values(info: EpisodeInfo) -> list[bytes]:
        return [replay.streams[info.stream].column(name, info.start, info.length).tobytes() for name in COLUMNS]

    return sorted((info.seed, info.complete, info.episode_return, *values(info)) for info in replay.episodes())


def chosen(source: Path, target: Path, numbers: list[int]) -> Path:
    opened = open_replay([source])
    infos = whole_episodes(opened)
    write_recording(target, selected(opened, [infos[number] for number in numbers]))
    return target


@pytest.mark.parametrize("name", ["all", "all.h5"])
def test_all_episodes_selected_are_all_there_bit_for_bit(replay: Path, tmp_path: Path, name: str) -> None:
    assert contents(chosen(replay, tmp_path / name, list(range(7)))) == contents(replay)


@pytest.mark.parametrize("block", [1, 64, 1 << 20])
def test_selected_episodes_are_read_alike_in_blocks_of_any_size(
    replay: Path, tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreamctl.replay.editing.selection.BLOCK_BYTES", block)
    some = chosen(replay, tmp_path / "some.h5", [0, 2, 5, 6])
    assert contents(some) == [row for row in contents(replay) if row[0] in (100, 102, 105, 106)]


def test_no_more_than_a_block_is_in_memory(replay: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dreamctl.replay.editing.selection.BLOCK_BYTES", 36)
    opened = open_replay([replay])
    recording = selected(opened, opened.episodes())
    (observation,) = (field for field in recording.fields if field.role == "observation")
    pieces = list(recording.column(observation, 0, 7))
    assert max(map(len, pieces)) == 3
    assert sum(map(len, pieces)) == sum(LENGTHS) + 6


def test_a_folder_is_cut_between_episodes(replay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dreamctl.replay.editing.recording.SHARD_BYTES", 300)
    shards = sorted(chosen(replay, tmp_path / "cut", list(range(7))).glob("*.h5"))
    segments = [h5py.File(path)["/episodes/segment"][:].tolist() for path in shards]
    assert len(shards) > 2
    assert not np.any(np.concatenate(segments))
    assert contents(tmp_path / "cut") == contents(replay)
    assert SHARD_BYTES == 32 << 20


def test_what_is_left_of_a_pruned_episode_is_no_whole_episode(replay: Path) -> None:
    for path in sorted(replay.glob("*.h5"))[:2]:
        path.unlink()
    opened = open_replay([replay])
    assert [info.seed for info in opened.episodes()] == [102, 103, 104, 105, 106]
    assert [info.seed for info in whole_episodes(opened)] == [103, 104, 105, 106]


def test_the_last_action_of_a_cut_episode_is_the_zero_that_no_one_takes(replay: Path, tmp_path: Path) -> None:
    path = chosen(replay, tmp_path / "cut.h5", [6])
    with h5py.File(path) as file:
        assert file["/steps/action"][:].tolist() == [1, 2, 3, 4, 1, 0]
        assert file["/episodes/complete"][:].tolist() == [0]


def test_dreams_keep_their_context_source_and_truth(tmp_path: Path) -> None:
    dreams = [dream(), replace(dream(5), source_row=9)]
    write_episodes(tmp_path / "dreams.h5", SPEC, dreams, kind="imagined", parent={"world_model": "abc"})
    opened = open_replay([tmp_path / "dreams.h5"])
    write_recording(tmp_path / "one.h5", selected(opened, opened.episodes()[1:]))
    again = open_replay([tmp_path / "one.h5"])
    assert again.kind == "imagined"
    (found,) = again.episodes()
    loaded = again.load(found, extra=["value"], truth=True)
    assert (loaded.context, loaded.source_shard, loaded.source_row, loaded.complete) == (2, 1, 9, False)
    np.testing.assert_array_equal(loaded.truth["observation"], dreams[1].truth["observation"])
    np.testing.assert_array_equal(loaded.extra["value"], dreams[1].extra["value"])


@pytest.mark.parametrize(
    ("conditions", "seeds"),
    [
        (Conditions(min_return=4), [100, 102, 104, 106]),
        (Conditions(max_return=2), [101, 105]),
        (Conditions(min_return=2, max_return=4), [100, 103, 105]),
        (Conditions(min_length=5), [102, 104, 106]),
        (Conditions(max_length=1), [101]),
        (Conditions(complete=True, min_length=5), [102, 104]),
        (Conditions(terminated=True), [100, 102, 104]),
        (Conditions(), [100, 101, 102, 103, 104, 105, 106]),
    ],
)
def test_conditions_hold_for(replay: Path, conditions: Conditions, seeds: list[int]) -> None:
    assert [info.seed for info in open_replay([replay]).episodes() if conditions.hold(info)] == seeds


def test_shares_part_the_episodes_and_the_last_is_what_holdout_holds_out(tmp_path: Path) -> None:
    infos = open_replay([write(tmp_path / "many", stream_rows([2] * 400), shard_rows=200)]).episodes()
    parts = split_by_share(infos, [0.5, 0.3, 0.2])
    assert sorted(info.key for part in parts for info in part) == sorted(info.key for info in infos)
    assert {info.key for info in parts[2]} == {info.key for info in infos if held_out(info.key, 0.2)}
    for part, share in zip(parts, (0.5, 0.3, 0.2), strict=True):
        assert abs(len(part) / 400 - share) < 0.1
    assert sum(map(len, split_by_share(infos, [0.5, 0.2]))) < 400


def test_gathered_shards_are_the_same_files(replay: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.h5", stream_rows([4, 4]), seed=3)
    counts = gather([replay, other], tmp_path / "both")
    names = sorted((tmp_path / "both").glob("*.h5"))
    assert (counts.linked, counts.copied, counts.doubled) == (len(names), 0, 0)
    assert {path.stat().st_ino for path in names} == {path.stat().st_ino for path in [*replay.glob("*.h5"), other]}
    assert contents(tmp_path / "both") == sorted(contents(replay) + contents(other))


def test_without_links_shards_are_copied(replay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    counts = gather([replay], tmp_path / "copy")
    assert (counts.linked, counts.copied) == (0, len(list(replay.glob("*.h5"))))
    assert contents(tmp_path / "copy") == contents(replay)


def test_the_same_shard_twice_is_taken_once(replay: Path, tmp_path: Path) -> None:
    gather([replay], tmp_path / "copy")
    counts = gather([replay, tmp_path / "copy"], tmp_path / "both")
    assert counts.doubled == counts.linked == len(list(replay.glob("*.h5")))
    assert contents(tmp_path / "both") == contents(replay)


def test_another_piece_of_the_same_name_is_refused(replay: Path, tmp_path: Path) -> None:
    write(tmp_path / "twin", stream_rows([6, 6]), shard_rows=4)
    with pytest.raises(InputError, match=r"twin/.* is another piece 1 of stream \w+-e0 than .*/replay/.*filter .*/twin -o NEW"):
        gather([replay, tmp_path / "twin"], tmp_path / "both")


def test_imports_that_differ_late_are_never_taken_for_one_another(tmp_path: Path) -> None:
    rows = episode_rows(0, 40)
    for name in ("one", "other"):
        write(tmp_path / f"{name}-source", rows)
        with OurReplay().read(tmp_path / f"{name}-source", None, lambda _: None) as found:
            write_recording(tmp_path / name, found)
        rows[30].observation["observation"][2] += 0.5
    one, other = tmp_path / "one", tmp_path / "other"
    assert [path.name for path in one.iterdir()] == [path.name for path in other.iterdir()]
    with pytest.raises(InputError, match=r"is another piece 0 of stream .* or write the whole episodes of all anew with `dreamctl data"):
        gather([one, other], tmp_path / "both")
    replay = open_replay([one, other])
    write_recording(tmp_path / "anew", selected(replay, replay.episodes()))
    anew = open_replay([tmp_path / "anew"])
    assert [anew.load(info).observation["observation"][30, 2] for info in anew.episodes()] == [30, 30.5]


def test_rewards_of_another_type_and_dreams_are_refused_with_their_own_mends(tmp_path: Path) -> None:
    write(tmp_path / "replay", stream_rows([3]))
    with OurReplay(reward_dtype="f8").read(tmp_path / "replay", None, lambda _: None) as doubles:
        write_recording(tmp_path / "doubles", doubles)
    with pytest.raises(InputError, match=r"/steps/reward is <f8 .*convert .*/doubles -o NEW --reward-dtype f4` writes instead"):
        gather([tmp_path / "replay", tmp_path / "doubles"], tmp_path / "both")
    write_episodes(tmp_path / "dreams.h5", SPEC, [dream()], kind="imagined", parent={"model": "wm.ckpt"})
    with pytest.raises(InputError, match=r"kind is 'imagined', wanted 'env'; real episodes and dreams stay apart"):
        gather([tmp_path / "replay", tmp_path / "dreams.h5"], tmp_path / "both")


def test_another_task_or_schema_is_refused_with_the_difference(replay: Path, tmp_path: Path) -> None:
    arm = [replace(row, observation={"arm/angle": np.zeros(2), "goal": np.float32(0)}, action=np.zeros(2)) for row in episode_rows(0, 3)]
    write(tmp_path / "arm", arm, spec=BOX_SPEC)
    with pytest.raises(InputError, match="task is 'Arm-v0', wanted 'Toy-v0'"):
        gather([replay, tmp_path / "arm"], tmp_path / "both")
    write(tmp_path / "more", episode_rows(0, 3, extra={"value": np.zeros(3, np.float32)}), seed=9)
    with pytest.raises(InputError, match=r"/steps/extra/value is <f4 \(\), wanted absent"):
        gather([replay, tmp_path / "more"], tmp_path / "both")


def test_the_oldest_whole_shards_go_and_what_is_left_is_a_replay(replay: Path) -> None:
    before = open_replay([replay]).env_steps
    gone, left = oldest(replay, 12)
    remove_shards(replay, gone)
    after = open_replay([replay]).env_steps
    assert after == sum(shard.steps for shard in left) == before - sum(shard.steps for shard in gone)
    assert after >= 12 > after - left[0].steps
    assert [shard.seq for shard in gone] == list(range(len(gone)))
    assert Gone.of(replay).env_steps == before - after


def test_a_shard_that_comes_later_under_the_name_of_one_that_went_stays(replay: Path) -> None:
    gone, _ = oldest(replay, 1)
    kept = gone[-1].path.read_bytes()
    remove_shards(replay, gone)
    gone[-1].path.write_bytes(kept)
    remove_shards(replay, [])
    assert gone[-1].path.exists()


def test_enough_steps_left_means_nothing_goes(replay: Path) -> None:
    steps = open_replay([replay]).env_steps
    assert oldest(replay, steps)[0] == []
    assert oldest(replay, 10 * steps)[0] == []


def test_age_counts_across_streams_and_order_within_one(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(tmp_path / "two", stream_rows([4, 4]), shard_rows=4, seed=seed, append=seed == 1)
    gone, _ = oldest(tmp_path / "two", 7)
    assert [(shard.stream == gone[0].stream, shard.seq) for shard in gone] == [(True, 0)]
    created = {shard.stream: shard.created for shard in [*gone, *oldest(tmp_path / "two", 7)[1]]}
    assert created[gone[0].stream] == min(created.values())


def test_a_source_that_ends_early_leaves_no_file(replay: Path, tmp_path: Path) -> None:
    opened = open_replay([replay])
    recording = selected(opened, opened.episodes())

    def broken(*_: object) -> Iterator[np.ndarray]:
        raise InputError("no more")
        yield

    with pytest.raises(InputError, match="no more"):
        write_recording(tmp_path / "out.h5", Recording(recording.origin, recording.fields, recording.table, broken))
    assert [path.name for path in tmp_path.iterdir()] == ["replay"]


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Path]:
    """A replay whose last shard is live: two episodes are sealed, the third has begun."""
    with ReplayWriter(tmp_path / "growing", SPEC, lanes=1, seed=5, shard_rows=5) as writer:
        for row in [*stream_rows([5, 5]), *episode_rows(2, 9)[:3]]:
            writer.add(row)
        writer.wait_sealed(writer.rotated[-1].path)
        yield tmp_path / "growing"


def test_live_shards_are_not_gathered(growing: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"000002\.h5: is still being written; wait .*`dreamctl data repair"):
        gather([growing], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_live_shards_are_never_removed_but_their_steps_count(growing: Path) -> None:
    gone, left = oldest(growing, 3)
    assert [shard.seq for shard in gone] == [0]
    assert [(shard.seq, shard.live, shard.steps) for shard in left] == [(1, False, 4), (2, True, 2)]
    gone, left = oldest(growing, 1)
    assert [shard.seq for shard in gone] == [0, 1]
    remove_shards(growing, gone)
    assert open_replay([growing]).env_steps == 2


def test_episodes_are_selected_while_their_replay_grows(growing: Path, tmp_path: Path) -> None:
    chosen(growing, tmp_path / "some.h5", [1, 2])
    found = open_replay([tmp_path / "some.h5"])
    assert [(info.length, info.complete) for info in found.episodes()] == [(5, True), (3, False)]
    assert found.load(found.episodes()[1]).action.tolist() == [1, 2, 0]
