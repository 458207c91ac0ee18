"""A replay is read while others write to it: rows keep their places and values, and can be opened again as they were."""

import errno
import gc
import os
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from dreamctl.core.errors import InputError
from dreamctl.core.experience import Row
from dreamctl.replay.reader import FileRecord, Replay, open_replay
from dreamctl.replay.sampler import ReplayConfig, WindowSampler
from dreamctl.replay.shards.shard import Shard
from dreamctl.replay.streams import place
from dreamctl.replay.streams.sources import PlainRows
from dreamctl.replay.writer import ReplayWriter
from tests.replay.pictures import SPEC, picture_rows, right
from tests.replay.rows import overwrite, stream_rows, write

CONFIG = ReplayConfig(batch_size=16, batch_length=8)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[ReplayWriter]:
    with ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0, shard_rows=40) as writer:
        yield writer


def add(writer: ReplayWriter, rows: Iterator[Row], count: int) -> None:
    for row in islice(rows, count):
        writer.add(row)


def content(replay: Replay, stream: int = 0, rows: int | None = None) -> dict[str, bytes]:
    """Every byte of the first rows of a stream."""
    it = replay.streams[stream]
    return {name: it.column(name, 0, rows).tobytes() for name in (*it.columns, *it.big)}


def removed_and_open(where: Path) -> list[str]:
    """Files that lay there and take room on the disk though they have no name any more."""
    held = [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{number}")]
    return [path for path in held if str(where) in path and "deleted" in path]


def all_right(replay: Replay) -> bool:
    return all(right({name: stream.column(f"observation/{name}") for name in SPEC.observation}) for stream in replay.streams)


def test_rows_are_seen_as_soon_as_they_are_committed(writer: ReplayWriter) -> None:
    rows = picture_rows([30, 300])
    add(writer, rows, 10)
    replay = open_replay([writer.path])
    assert (replay.rows, replay.episodes()[0].length, replay.episodes()[0].complete) == (10, 10, False)
    for number in range(11, 36):
        add(writer, rows, 1)
        # Row 31 is a reset that no action has followed yet.
        assert replay.refresh() == (number != 31)
        assert replay.rows == (number if number != 31 else 30)
    assert not replay.refresh()
    assert [(info.start, info.length, info.complete) for info in replay.episodes()] == [(0, 30, True), (30, 5, False)]
    assert all_right(replay)


def test_rows_keep_their_places_and_values_when_their_shard_is_sealed(writer: ReplayWriter) -> None:
    rows = picture_rows([35, 90])
    add(writer, rows, 33)
    replay, still = open_replay([writer.path]), open_replay([writer.path])
    before, stream = content(replay), replay.streams[0]
    add(writer, rows, 30)
    writer.wait_sealed(writer.rotated[0].path)
    assert replay.live
    assert replay.refresh()
    assert replay.rows == 63
    assert replay.streams == (stream,)
    after = content(replay, rows=33)
    assert {name for name in before if after[name] != before[name]} == {"action"}, "of the last row the action was not known yet"
    assert content(replay, rows=32) == {name: value[: len(value) * 32 // 33] for name, value in before.items()}
    assert all_right(replay)
    assert content(still) == before, "who does not look again goes on with the file that it has"
    del still
    gc.collect()
    assert not removed_and_open(writer.path), "a file that was replaced takes room on the disk"
    writer.close()
    assert replay.refresh() is False
    assert replay.live == ()
    assert all_right(replay)
    assert [info.length for info in replay.episodes()] == [35, 28]


def test_a_live_shard_takes_one_descriptor_however_often_it_is_looked_at(writer: ReplayWriter) -> None:
    rows = picture_rows([300])
    add(writer, rows, 20)
    before = len(os.listdir("/proc/self/fd"))
    replay = open_replay([writer.path])
    for _ in range(3):
        assert all_right(replay)
        assert len(os.listdir("/proc/self/fd")) == before + 1
        add(writer, rows, 1)
        assert replay.refresh()


def test_rows_of_live_shards_are_kept_in_the_cache_while_they_grow(writer: ReplayWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = picture_rows([300])
    add(writer, rows, 20)
    replay = open_replay([writer.path])
    replay.cache(1 << 20)
    read, count = PlainRows.block, [0]
    monkeypatch.setattr(PlainRows, "block", lambda rows, number: (count.__setitem__(0, count[0] + 1), read(rows, number))[1])
    for _ in range(19):
        assert all_right(replay)
        add(writer, rows, 1)
        replay.refresh()
    assert count[0] <= 2 * (2 + 19), "of both keys the first blocks, and the last one whenever it grew"
    assert all_right(replay)


def test_a_live_shard_takes_as_many_places_in_the_cache_as_it_can_hold_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, blocks = PlainRows.block, []
    monkeypatch.setattr(PlainRows, "block", lambda rows, number: (blocks.append((rows, number)), read(rows, number))[1])
    with ReplayWriter(tmp_path / "replay", SPEC, lanes=2, seed=0, shard_rows=40) as writer:
        rows = [picture_rows([300], lane) for lane in range(2)]
        for its in rows:
            add(writer, its, 16)
        replay = open_replay([writer.path])
        replay.cache(80 * (16 * 16 * 3 + 400))
        assert all_right(replay)
        for its in rows:
            add(writer, its, 23)
        replay.refresh()
        for _ in range(2):
            assert all_right(replay)
    assert len(blocks) == len(set(blocks)) == 2 * 2 * 3, "of two keys in two shards three blocks each, none of them twice"


def test_the_last_action_of_an_open_episode_is_zero_until_its_effect_is_seen(writer: ReplayWriter) -> None:
    rows = picture_rows([90])
    add(writer, rows, 9)
    replay = open_replay([writer.path])
    assert replay.streams[0].columns["action"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 0]
    add(writer, rows, 1)
    replay.refresh()
    assert replay.streams[0].columns["action"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


def test_the_last_action_of_a_full_shard_is_known_as_soon_as_the_next_one_goes_on(writer: ReplayWriter, tmp_path: Path) -> None:
    rows, seen = picture_rows([90]), tmp_path / "seen"
    seen.mkdir()
    add(writer, rows, 80)
    writer.wait_sealed(writer.rotated[0].path)
    for path in writer.path.glob("*.h5"):
        shutil.copy(path, seen)  # the second one as it is until it has been sealed
    replay = open_replay([seen])
    assert replay.streams[0].columns["action"][77:].tolist() == [2, 0, 0]
    add(writer, rows, 2)
    shutil.copy(max(writer.path.glob("*.h5")), seen)
    assert replay.refresh()
    assert replay.streams[0].columns["action"][77:].tolist() == [2, 0, 1, 2, 0]


def test_an_episode_over_several_shards_is_one_while_they_are_live_and_when_they_are_sealed(writer: ReplayWriter) -> None:
    rows = picture_rows([7, 200])
    add(writer, rows, 8)
    replay = open_replay([writer.path])
    for count in (31, 1, 1, 60, 40):
        add(writer, rows, count)
        replay.refresh()
        assert [info.start for info in replay.episodes()] == [0, 7]
        assert replay.rows == sum(info.length for info in replay.episodes())
        assert not replay.streams[0].columns["is_first"][8:].any()
    assert all_right(replay)
    assert replay.episodes()[-1].segments == 4


def test_new_streams_come_last_and_windows_that_were_there_are_drawn_from_the_same_rows(writer: ReplayWriter, tmp_path: Path) -> None:
    add(writer, picture_rows([60]), 50)
    replay = open_replay([writer.path])
    first = replay.streams[0]
    with ReplayWriter(tmp_path / "replay", SPEC, lanes=2, seed=1, shard_rows=40, append=True) as other:
        for lane in range(2):
            for row in islice(picture_rows([30], lane, code=1), 20):
                other.add(row)
        assert replay.refresh()
        assert replay.streams[0] is first
        assert [len(stream) for stream in replay.streams] == [50, 20, 20]
        assert all_right(replay)


def test_rows_of_another_task_that_come_later_are_refused(writer: ReplayWriter, tmp_path: Path) -> None:
    add(writer, picture_rows([60]), 20)
    replay = open_replay([writer.path])
    (other,) = write(tmp_path / "other", stream_rows([4])).glob("*.h5")
    other.rename(writer.path / other.name)
    with pytest.raises(InputError, match=rf"{other.name}: task is 'Toy-v0', wanted 'Pictures-v0'"):
        replay.refresh()


def test_a_shard_that_is_removed_from_the_middle_leaves_its_small_columns_and_one_line(tmp_path: Path) -> None:
    folder = write(tmp_path / "replay", picture_rows([100]), spec=SPEC, shard_rows=40)
    replay = open_replay([folder])
    sorted(folder.glob("*.h5"))[1].unlink()
    assert not replay.refresh()
    assert replay.rows == 100
    with pytest.raises(InputError, match=r"-000001\.h5: is gone since it was opened"):
        replay.load(replay.episodes()[0])


def test_oldest_shards_that_are_removed_take_their_rows_along(writer: ReplayWriter) -> None:
    rows = picture_rows([30, 31, 64, 75, 100])
    add(writer, rows, 150)
    for number in range(2):
        writer.wait_sealed(writer.rotated[number].path)
    replay, stream = open_replay([writer.path]), open_replay([writer.path]).streams[0]
    assert all_right(replay)
    stream.column("observation/eye")
    for number in range(2):
        writer.rotated[number].path.unlink()
    assert [len(removed_and_open(rotated.path)) for rotated in writer.rotated[:2]] == [2, 2]
    assert replay.refresh()
    assert [len(removed_and_open(rotated.path)) for rotated in writer.rotated[:2]] == [1, 1], "only who does not look again keeps them"
    assert (replay.rows, replay.streams[0].first_row) == (70, 80)
    assert all_right(replay)
    assert content(replay, rows=69) == {name: stream.column(name, 80, 69).tobytes() for name in (*stream.columns, *stream.big)}
    assert [(info.key[-2:], info.start, info.length) for info in replay.episodes()] == [("/2", 0, 45), ("/3", 45, 25)]
    add(writer, rows, 30)
    assert replay.refresh()
    assert (replay.rows, replay.streams[0].first_row) == (100, 80)
    assert all_right(replay)


def test_as_many_rows_that_leave_as_come_are_other_rows(writer: ReplayWriter) -> None:
    rows = picture_rows([500])
    add(writer, rows, 100)
    replay = open_replay([writer.path])
    writer.wait_sealed(writer.rotated[0].path)
    writer.rotated[0].path.unlink()
    add(writer, rows, 40)
    assert replay.refresh()
    assert (replay.rows, replay.streams[0].first_row) == (100, 40)


def test_a_stream_goes_on_behind_a_gap_that_all_its_known_shards_have_left_through(writer: ReplayWriter) -> None:
    """A shard that was live when it was seen last may have been filled, sealed and removed by the next look."""
    rows = picture_rows([30, 300])
    add(writer, rows, 60)
    replay = open_replay([writer.path])
    add(writer, rows, 80)
    for rotated in writer.rotated:
        writer.wait_sealed(rotated.path)
        rotated.path.unlink()
    assert replay.refresh()
    assert (replay.rows, replay.streams[0].first_row) == (20, 120)
    assert [(info.key[-2:], info.start, info.length) for info in replay.episodes()] == [("/1", 0, 20)]
    assert all_right(replay)


def test_a_shard_that_is_removed_while_it_is_read_is_looked_for_anew(writer: ReplayWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = picture_rows([300])
    add(writer, rows, 60)
    replay = open_replay([writer.path])
    add(writer, rows, 80)
    read = place.read_shard

    def pruned(path: Path) -> Shard:
        for rotated in writer.rotated:
            writer.wait_sealed(rotated.path)
            rotated.path.unlink(missing_ok=True)
        return read(path)

    monkeypatch.setattr(place, "read_shard", pruned)
    assert replay.refresh()
    assert (replay.rows, replay.streams[0].first_row) == (20, 120)
    assert open_replay([writer.path]).rows == 20


def test_a_shard_that_is_removed_once_it_was_listed_is_looked_for_anew(writer: ReplayWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = picture_rows([300])
    add(writer, rows, 60)
    replay = open_replay([writer.path])
    add(writer, rows, 80)
    listed = place.shards_there

    def pruned(folder: Path) -> list[Path]:
        paths = listed(folder)
        for rotated in writer.rotated[:2]:
            writer.wait_sealed(rotated.path)
            rotated.path.unlink(missing_ok=True)
        return paths

    monkeypatch.setattr(place, "shards_there", pruned)
    assert replay.refresh()
    assert (replay.rows, replay.streams[0].first_row) == (60, 80)
    assert all_right(replay)


def test_a_copy_of_a_live_shard_may_be_replaced_by_a_later_one(writer: ReplayWriter, tmp_path: Path) -> None:
    rows, copy = picture_rows([300]), tmp_path / "copy"
    copy.mkdir()

    def copied() -> None:
        add(writer, rows, 10)
        (path,) = writer.path.glob("*.h5")
        shutil.copy(path, copy / "later")
        (copy / "later").rename(copy / path.name)

    copied()
    replay = open_replay([copy])
    assert all_right(replay)
    copied()
    assert replay.refresh()
    assert replay.rows == 20
    assert all_right(replay)


@pytest.mark.parametrize("left", [1, 2])
def test_a_shard_that_comes_back_is_refused(writer: ReplayWriter, tmp_path: Path, left: int) -> None:
    write(writer.path, picture_rows([20]), spec=SPEC, seed=1, append=True)
    add(writer, picture_rows([300]), 80)
    for rotated in writer.rotated:
        writer.wait_sealed(rotated.path)
    replay = open_replay([writer.path])
    away = [rotated.path.rename(tmp_path / rotated.path.name) for rotated in writer.rotated[:left]]
    replay.refresh()
    assert replay.rows == 20 + 40 * (2 - left)
    away[0].rename(writer.rotated[0].path)
    with pytest.raises(InputError, match=r"-000000\.h5: had left its stream and is there again; start again"):
        replay.refresh()


def test_a_gap_in_the_middle_is_refused(writer: ReplayWriter) -> None:
    rows = picture_rows([300])
    add(writer, rows, 60)
    replay = open_replay([writer.path])
    add(writer, rows, 80)
    for rotated in writer.rotated:
        writer.wait_sealed(rotated.path)
    writer.rotated[2].path.unlink()
    with pytest.raises(InputError, match=r"-000003\.h5: does not go on where .*-000001\.h5 ends; bring back the shards in between"):
        replay.refresh()


def test_a_folder_or_file_that_loses_everything_leaves_what_is_in_memory(tmp_path: Path) -> None:
    folder, file = write(tmp_path / "replay", stream_rows([9])), write(tmp_path / "one.h5", stream_rows([8]), seed=1)
    replay = open_replay([folder, file])
    next(folder.glob("*.h5")).unlink()
    file.unlink()
    assert not replay.refresh()
    assert replay.rows == 17


@pytest.mark.parametrize("call", ["stat", "scandir", "open"])
def test_what_may_not_be_read_any_more_costs_one_line(writer: ReplayWriter, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    add(writer, picture_rows([60]), 50)
    replay, allowed = open_replay([writer.path]), getattr(os, call)

    def refuse(path: object, *given: object, **options: object) -> object:
        if str(path).startswith(str(writer.path)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return allowed(path, *given, **options)

    add(writer, picture_rows([60]), 10)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(InputError, match=r"^[^\n]+: cannot (be )?read \(Permission denied\); [^\n]+$"):
            replay.refresh()


def test_a_shard_that_lost_rows_is_refused(writer: ReplayWriter) -> None:
    add(writer, picture_rows([60]), 20)
    replay = open_replay([writer.path])
    (path,) = replay.live
    overwrite(path, "/commit", 0, 12)
    with pytest.raises(InputError, match=r"holds 12 rows, 20 were read from it before; start again"):
        replay.refresh()


def test_a_shard_that_holds_other_rows_now_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "replay", picture_rows([60]), spec=SPEC, shard_rows=40)
    replay, path = open_replay([folder]), min(folder.glob("*.h5"))
    other = write(tmp_path / "other", picture_rows([30, 30]), spec=SPEC, shard_rows=40)
    min(other.glob("*.h5")).rename(path)
    with pytest.raises(InputError, match=rf"{path}: holds other rows than were read from it before; start again"):
        replay.refresh()


def test_a_snapshot_is_opened_again_as_it_was(writer: ReplayWriter) -> None:
    rows = picture_rows([25, 300])
    add(writer, rows, 60)
    then = open_replay([writer.path])
    records, before = then.snapshot(), content(then)
    draws = WindowSampler(then, CONFIG, seed=3).sample(5)
    facts = [(info.key, info.start, info.length, info.complete, info.episode_return) for info in then.episodes()]
    add(writer, rows, 100)
    writer.close()
    assert open_replay([writer.path]).rows == 160
    now = open_replay([writer.path], pinned=records)
    assert (now.rows, content(now), now.content_hash()) == (60, before, then.content_hash())
    assert [(info.key, info.start, info.length, info.complete, info.episode_return) for info in now.episodes()] == facts
    again = WindowSampler(now, CONFIG, seed=3).sample(5)
    assert all((again.observation[name] == draws.observation[name]).all() for name in SPEC.observation)
    assert (again.row == draws.row).all()


def test_a_snapshot_that_is_looked_at_again_goes_on_where_its_last_shard_was_sealed_meanwhile(writer: ReplayWriter) -> None:
    rows = picture_rows([25, 300])
    add(writer, rows, 60)
    records = open_replay([writer.path]).snapshot()
    add(writer, rows, 100)
    writer.close()
    now, whole = open_replay([writer.path], pinned=records), open_replay([writer.path])
    assert now.rows == 60
    assert now.refresh()
    assert content(now) == content(whole)
    assert [record[:2] for record in now.snapshot()] == [record[:2] for record in whole.snapshot()]
    assert not now.refresh()


def test_a_snapshot_of_files_that_are_gone_or_changed_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "replay", picture_rows([100]), spec=SPEC, shard_rows=40)
    records = open_replay([folder]).snapshot()
    assert open_replay([folder], pinned=records[:2]).rows == 80
    other = [*records[:2], records[2]._replace(path=folder / "0123abcd-e0-000007.h5")]
    with pytest.raises(InputError, match=r"0123abcd-e0-000007\.h5: is gone, and was read before; bring it back, or start anew"):
        open_replay([folder], pinned=other)
    more = [FileRecord(records[0].path, 41, records[0].sha256)]
    with pytest.raises(InputError, match="holds 40 rows, 41 were read from it before"):
        open_replay([folder], pinned=more)
    with pytest.raises(InputError, match="has changed since it was read before"):
        open_replay([folder], pinned=[records[0]._replace(sha256="0" * 64)])


def test_shards_that_are_sealed_take_the_place_of_rows_in_memory(writer: ReplayWriter) -> None:
    replay = Replay.empty(SPEC, 1)
    replay.written_by(writer.collector, writer.path)
    adopted = 0
    sampler = WindowSampler(replay, CONFIG, seed=0)
    for number, row in enumerate(picture_rows([30, 31, 64, 75]), start=1):
        writer.add(row)
        replay.add(row)
        while adopted < len(writer.rotated):
            writer.wait_sealed(writer.rotated[adopted].path)
            replay.adopt(writer.rotated[adopted].path)
            adopted += 1
        if number % 20 == 0:
            assert right(dict(sampler.sample(number).observation))
    column = replay.streams[0].big["observation/eye"]
    assert (adopted, len(column), len(column.parts)) == (5, 200, 5)
    assert "in memory=0" in repr(column)
    assert all_right(replay)
    before = content(replay)
    for number in range(2):
        replay.drop(writer.rotated[number].path)
        writer.rotated[number].path.unlink()
        assert not removed_and_open(writer.rotated[number].path)
    assert (replay.rows, replay.streams[0].first_row) == (120, 80)
    assert content(replay) == {name: value[len(value) * 80 // 200 :] for name, value in before.items()}
    assert [(info.key[-2:], info.start, info.length) for info in replay.episodes()] == [("/2", 0, 45), ("/3", 45, 75)]
    assert right(dict(sampler.sample(9).observation))


def test_the_oldest_shards_of_files_can_be_dropped_too(tmp_path: Path) -> None:
    folder = write(tmp_path / "replay", picture_rows([25, 50, 40]), spec=SPEC, shard_rows=20)
    replay = open_replay([folder])
    before = content(replay)
    paths = [record.path for record in replay.files]
    replay.drop(paths[0])
    replay.drop(paths[1])
    assert (replay.rows, replay.streams[0].first_row, [record.path for record in replay.files]) == (75, 40, paths[2:])
    assert content(replay) == {name: value[len(value) * 40 // 115 :] for name, value in before.items()}
    assert [(info.start, info.length) for info in replay.episodes()] == [(0, 35), (35, 40)]
    assert not replay.refresh(), "a file that was dropped does not come back"
    assert right(dict(replay.load(replay.episodes()[0]).observation))
