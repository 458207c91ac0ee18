"""Stored latents: what is read is what was written last, for parts of a replay too, and across a file."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.streams.stream import Stream
from dreamctl.replay.windows.latents import LatentStore
from dreamctl.replay.windows.side_file import SideFiles
from tests.replay.rows import SPEC, episode_rows, stream_rows, write

D, Z = 3, 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "replay", stream_rows([6, 5, 7, 9, 4]), shard_rows=8)


def indices(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def states(*shape: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(seed)
    return noise.uniform(-1, 1, (*shape, D)).astype(np.float32), noise.integers(0, 2, (*shape, Z)).astype(np.float32)


def kept(replay: Replay, row: int = 3, length: int = 6, updates: int = 5) -> LatentStore:
    store = LatentStore((D, Z))
    store.write(replay.streams, indices(0), indices(row), *states(1, length), updates=updates)
    return store


def read(store: LatentStore, streams: tuple[Stream, ...], row: int) -> tuple[list[float], bool]:
    found = store.read(streams, indices(0), indices(row))
    return found.h[0].tolist(), bool(found.known[0])


def side(store: LatentStore, key: str = "abc") -> tuple[SideFiles, list[str]]:
    notes: list[str] = []
    return SideFiles(store, key, notes.append), notes


def test_what_is_written_is_read_in_half_precision(folder: Path) -> None:
    replay = open_replay([folder])
    store, (h, z) = kept(replay), states(1, 6)
    found = store.read(replay.streams, indices(0, 0, 0), indices(3, 8, 9))
    assert found.h.dtype == np.float16
    assert found.known.tolist() == [True, True, False]
    assert (found.h[:2] == h[0, [0, 5]].astype(np.float16)).all()
    assert (found.z[:2] == z[0, [0, 5]]).all()
    assert not found.h[2].any()


def test_numbers_too_large_for_half_precision_are_clipped(folder: Path) -> None:
    replay, store = open_replay([folder]), LatentStore((D, Z))
    store.write(replay.streams, indices(0), indices(0), np.full((1, 2, D), 1e6), np.full((1, 2, Z), -1e6), updates=1)
    found = store.read(replay.streams, indices(0), indices(0))
    assert (found.h == 65504).all()
    assert (found.z == -65504).all()


def test_the_last_of_overlapping_windows_counts(folder: Path) -> None:
    replay, store = open_replay([folder]), LatentStore((D, Z))
    h, z = states(2, 4)
    store.write(replay.streams, indices(0, 0), indices(0, 2), h, z, updates=1)
    found = store.read(replay.streams, indices(0, 0, 0), indices(1, 2, 3))
    assert (found.h == np.stack([h[0, 1], h[1, 0], h[1, 1]]).astype(np.float16)).all()


def test_it_grows_with_the_replay() -> None:
    replay, store = Replay.empty(SPEC, 1), LatentStore((D, Z))
    for number in range(3):
        for row in episode_rows(number, 500):
            replay.add(row)
        store.write(replay.streams, indices(0), indices(500 * number + 490), *states(1, 10, seed=number), updates=number)
    assert [read(store, replay.streams, 500 * number + 495)[1] for number in range(3)] == [True] * 3
    assert read(store, replay.streams, 500)[1] is False
    assert store.columns[replay.streams[0]].used == 1500


def test_a_part_of_a_replay_shares_the_latents_of_the_whole(folder: Path) -> None:
    replay = open_replay([folder])
    parts = replay.split(0.5)
    assert all(part.rows for part in parts)
    for part in parts:
        store = LatentStore((D, Z))
        rows = len(part.streams[0])
        h, z = states(1, rows)
        store.write(part.streams, indices(0), indices(0), h, z, updates=1)
        places = part.streams[0].columns["observation/observation"][:, 1:]
        whole = replay.streams[0].columns["observation/observation"][:, 1:]
        for at, place in enumerate(places):
            there = int(np.flatnonzero((whole == place).all(1))[0])
            assert read(store, replay.streams, there) == (h[0, at].astype(np.float16).tolist(), True)
            assert read(store, part.streams, at) == read(store, replay.streams, there)
        assert sum(read(store, replay.streams, row)[1] for row in range(replay.rows)) == rows


@pytest.mark.parametrize("rows", [1, 4, 13])
def test_a_part_of_a_replay_knows_where_its_rows_came_from(folder: Path, rows: int) -> None:
    whole = open_replay([folder])
    for part in whole.split(0.4):
        for stream in part.streams:
            for first in range(len(stream) - rows + 1):
                pieces = list(stream.pieces(first, rows))
                found = np.concatenate([source.rows[there : there + count] for source, there, count in pieces])
                assert (found == stream.rows[first : first + rows]).all()
                assert {source for source, _, _ in pieces} <= set(whole.streams)


def test_a_part_that_was_made_before_rows_left_knows_where_the_others_lie(folder: Path) -> None:
    replay = open_replay([folder])
    part = replay.split(0.5)[0]
    store = LatentStore((D, Z))
    store.write(replay.streams, indices(0), indices(0), *states(1, 31), updates=1)
    before = [read(store, part.streams, row) for row in range(part.rows)]
    places = [next(part.streams[0].pieces(row, 1))[1] for row in range(part.rows)]
    replay.drop(min(folder.glob("*.h5")))
    assert min(places) < 8 <= max(places)
    assert [read(store, part.streams, row) for row in range(part.rows)] == [
        known if place >= 8 else ([0.0] * D, False) for place, known in zip(places, before, strict=True)
    ]


def test_a_side_file_brings_back_what_was_stored(folder: Path) -> None:
    replay = open_replay([folder])
    store = kept(replay)
    side(store)[0].write()
    again = open_replay([folder])
    back, (files, notes) = LatentStore((D, Z)), side(LatentStore((D, Z)))
    files.store = back
    files.read(again.streams, updates=5)
    assert [read(back, again.streams, row) for row in range(31)] == [read(store, replay.streams, row) for row in range(31)]
    assert notes == []


def test_rows_of_later_updates_are_dropped(folder: Path) -> None:
    replay = open_replay([folder])
    store = kept(replay, row=0, updates=4)
    store.write(replay.streams, indices(0), indices(10), *states(1, 3), updates=6)
    side(store)[0].write()
    files, _ = side(LatentStore((D, Z)))
    files.read(replay.streams, updates=5)
    assert [read(files.store, replay.streams, row)[1] for row in (0, 5, 10, 12)] == [True, True, False, False]
    fresh, _ = side(LatentStore((D, Z)))
    fresh.read(replay.streams, updates=0)
    assert not any(read(fresh.store, replay.streams, row)[1] for row in range(31)), "a fresh model knows nothing"


def test_each_folder_and_file_has_its_own(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", stream_rows([6, 5]), seed=1), write(tmp_path / "two.h5", stream_rows([8, 9]), seed=2)
    replay, store = open_replay([one, two]), LatentStore((D, Z))
    store.write(replay.streams, indices(0, 1), indices(2, 3), *states(2, 4), updates=1)
    files, _ = side(store)
    files.write()
    assert (one / ".latents-abc").is_file()
    assert (tmp_path / ".two.h5.latents-abc").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".two.h5.latents-abc", "one", "two.h5"]
    alone, _ = side(LatentStore((D, Z)))
    single = open_replay([two])
    alone.read(single.streams, updates=1)
    assert read(alone.store, single.streams, 3) == read(store, (replay.streams[1],), 3)


def test_readers_do_not_see_it(folder: Path) -> None:
    before = open_replay([folder])
    side(kept(before))[0].write()
    after = open_replay([folder])
    assert (after.rows, after.content_hash(), after.summary) == (before.rows, before.content_hash(), before.summary)
    write(folder, episode_rows(9, 5), append=True)
    assert open_replay([folder]).rows == before.rows + 5


def test_plain_hdf5_shows_rows_and_updates(folder: Path) -> None:
    replay = open_replay([folder])
    side(kept(replay))[0].write()
    with h5py.File(folder / ".latents-abc", "r") as file:
        group = file[replay.streams[0].name]
        assert group["h"].shape == (9, D)
        assert group["z"].shape == (9, Z)
        assert group["updates"][:].tolist() == [-1] * 3 + [5] * 6


@pytest.mark.parametrize("damage", ["truncated", "text", "shape", "format", "values", "bits", "shard"])
def test_a_file_of_no_use_is_left_out_with_one_note_and_written_anew(folder: Path, damage: str) -> None:
    replay = open_replay([folder])
    side(kept(replay))[0].write()
    path, name = folder / ".latents-abc", replay.streams[0].name
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "text":
        path.write_text("nothing")
    elif damage == "shard":
        path.write_bytes(next(folder.glob("*.h5")).read_bytes())
    elif damage == "bits":
        with h5py.File(path, "r") as file:
            chunk = file[name]["h"].id.get_chunk_info(0)
        content = bytearray(path.read_bytes())
        content[chunk.byte_offset + 8] ^= 1
        path.write_bytes(content)
    else:
        with h5py.File(path, "r+") as file:
            if damage == "shape":
                del file[name]["h"]
                file[name]["h"] = np.zeros((9, D + 1), np.float16)
            elif damage == "format":
                file.attrs["format"] = "other"
            else:
                file[name]["h"][4] = np.nan
    store = LatentStore((D, Z))
    files, notes = side(store)
    files.read(replay.streams, updates=9)
    assert not any(read(store, replay.streams, row)[1] for row in range(31))
    assert len(notes) == 1
    assert str(path) in notes[0]
    assert "stored latents begin anew" in notes[0]
    side(kept(replay))[0].write()
    again, notes = side(LatentStore((D, Z)))
    again.read(replay.streams, updates=9)
    assert read(again.store, replay.streams, 4)[1]
    assert notes == []


def test_a_folder_that_cannot_be_written_costs_one_note(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dreamctl.core.files.os.fsync", full)
    files, notes = side(kept(open_replay([folder])))
    files.write()
    files.write()
    assert len(notes) == 1
    assert "stay in memory" in notes[0]
    assert not list(folder.glob("*latents*"))


def test_rows_of_another_collection_of_the_same_name_are_not_taken(folder: Path, tmp_path: Path) -> None:
    replay = open_replay([folder])
    side(kept(replay))[0].write()
    other = open_replay([write(tmp_path / "other", stream_rows([7, 5, 7, 9, 4]), shard_rows=8)])
    assert other.streams[0].name == replay.streams[0].name
    (tmp_path / "other" / ".latents-abc").write_bytes((folder / ".latents-abc").read_bytes())
    files, notes = side(LatentStore((D, Z)))
    files.read(other.streams, updates=9)
    assert not any(read(files.store, other.streams, row)[1] for row in range(31))
    assert notes == []


def test_rows_that_a_kill_took_are_forgotten(folder: Path) -> None:
    replay = open_replay([folder])
    stream = replay.streams[0]
    side(kept(replay, row=10, length=12))[0].write()
    shorter = Stream(stream.name, stream.rows[:15].copy(), place=folder)
    files, _ = side(LatentStore((D, Z)))
    files.read([shorter], updates=9)
    assert [read(files.store, (shorter,), row)[1] for row in range(15)] == [False] * 10 + [True] * 5


def test_rows_in_memory_are_those_that_are_written_to_a_folder(tmp_path: Path) -> None:
    replay, store = Replay.empty(SPEC, 1), LatentStore((D, Z))
    rows = list(stream_rows([6, 5]))
    for row in rows:
        replay.add(row)
    replay.written_by("0123abcd", tmp_path)
    store.write(replay.streams, indices(0), indices(2), *states(1, 4), updates=1)
    files, _ = side(store)
    files.write()
    from_disk = Stream("0123abcd-e0", replay.streams[0].rows.copy(), place=tmp_path)
    back, _ = side(LatentStore((D, Z)))
    back.read([from_disk], updates=1)
    assert read(back.store, (from_disk,), 5) == read(store, replay.streams, 5)


@pytest.mark.parametrize("left", [1, 2, 3])
def test_rows_whose_elders_left_before_a_kill_are_known(folder: Path, left: int) -> None:
    replay = open_replay([folder])
    store = kept(replay, row=6, length=20)
    before = [read(store, replay.streams, row) for row in range(31)]
    side(store)[0].write()
    for path in sorted(folder.glob("*.h5"))[:left]:
        path.unlink()
    again, (files, notes) = open_replay([folder]), side(LatentStore((D, Z)))
    files.read(again.streams, updates=9)
    assert [read(files.store, again.streams, row) for row in range(again.rows)] == before[8 * left :]
    assert before[26 - 1][1]
    assert notes == []
    files.write()
    back, _ = side(LatentStore((D, Z)))
    back.read(again.streams, updates=9)
    assert read(back.store, again.streams, 0) == before[8 * left]


@pytest.mark.parametrize("first_row", [0, 7, 26, 40])
def test_rows_that_are_others_now_or_elsewhere_are_not_known(folder: Path, first_row: int) -> None:
    replay = open_replay([folder])
    side(kept(replay, row=6, length=20))[0].write()
    stream = replay.streams[0]
    files, notes = side(LatentStore((D, Z)))
    files.read([Stream(stream.name, stream.rows[8:].copy(), place=folder, first_row=first_row)], updates=9)
    assert not files.store.columns
    assert notes == []


@pytest.mark.parametrize("name", ["reward", "is_first"])
def test_rows_of_which_one_is_another_are_not_known(folder: Path, name: str) -> None:
    replay = open_replay([folder])
    side(kept(replay, row=6, length=20))[0].write()
    rows = replay.streams[0].rows.copy()
    rows[name][15] = 1 - rows[name][15]
    files, notes = side(LatentStore((D, Z)))
    files.read([Stream(replay.streams[0].name, rows, place=folder)], updates=9)
    assert not files.store.columns
    assert notes == []


def test_rows_whose_elders_are_back_begin_anew(folder: Path) -> None:
    replay = open_replay([folder])
    replay.drop(min(folder.glob("*.h5")))
    side(kept(replay))[0].write()
    files, notes = side(LatentStore((D, Z)))
    files.read(open_replay([folder]).streams, updates=9)
    assert not files.store.columns
    assert notes == []


def test_a_file_of_an_older_version_is_left_out_with_one_note(folder: Path) -> None:
    replay = open_replay([folder])
    side(kept(replay))[0].write()
    with h5py.File(folder / ".latents-abc", "r+") as file:
        file.attrs["version"] = "1.0"
    files, notes = side(LatentStore((D, Z)))
    files.read(replay.streams, updates=9)
    assert [note.partition(": ")[2] for note in notes] == ["cannot be used (it is of version 1.0, wanted 2.0); stored latents begin anew"]


def test_rows_that_leave_the_front_of_a_stream_take_their_states_along() -> None:
    replay, store = Replay.empty(SPEC, 1), LatentStore((D, Z))
    for row in stream_rows([6, 5, 9]):
        replay.add(row)
    store.write(replay.streams, indices(0), indices(2), *states(1, 10), updates=3)
    before = [read(store, replay.streams, row) for row in range(20)]
    replay.streams[0].drop(4)
    assert [read(store, replay.streams, row) for row in range(16)] == before[4:]
    replay.streams[0].drop(1)
    assert store.columns[replay.streams[0]].used == 12 - 5
    store.write(replay.streams, indices(0), indices(0), *states(1, 2, seed=5), updates=4)
    assert [read(store, replay.streams, row) for row in range(2, 15)] == before[7:]
