"""Replays that were recorded are found again where they have moved, also when their files have the same names."""

import itertools
import os
import shutil
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest

from dreamctl.core.errors import InputError
from dreamctl.replay.reader import Replay, open_replay
from dreamctl.replay.shards.shard import Shard
from dreamctl.replay.streams import place
from dreamctl.replay.writer import ReplayWriter
from tests.replay.rows import SPEC, episode_rows, stream_rows, write


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two collections of one seed, so that their files have the same names; the longer one begins as the other."""
    return [write(tmp_path / name, stream_rows(lengths), shard_rows=10) for name, lengths in (("a", [9, 15]), ("b", [9, 15, 11]))]


def moved(paths: Sequence[Path]) -> list[Path]:
    return [path.rename(path.with_name(f"moved-{path.name}")) for path in paths]


def content(replay: Replay) -> list[bytes]:
    return [stream.rows.tobytes() for stream in replay.streams]


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
@pytest.mark.parametrize("how_many", [0, 1, 2])
def test_folders_that_have_moved_are_told_apart_by_what_they_hold(folders: list[Path], how_many: int, order: slice) -> None:
    assert len({path.name for folder in folders for path in folder.glob("*.h5")}) == 4
    before = open_replay(folders)
    now = [*moved(folders[:how_many]), *folders[how_many:]]
    after = open_replay(now[order], pinned=before.snapshot())
    assert content(after) == content(before), "in the order in which they were recorded"
    assert [record[1:] for record in after.snapshot()] == [record[1:] for record in before.snapshot()]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_folders_that_were_live_are_told_apart_too(tmp_path: Path, order: Sequence[int]) -> None:
    lengths = [9, 15, 11, 30]
    writers = [ReplayWriter(tmp_path / name, SPEC, lanes=1, seed=0, shard_rows=20) for name in "abc"]
    rows = [stream_rows(lengths) for _ in writers]
    for writer, its, count in zip(writers, rows, (12, 33, 25), strict=True):
        for row in islice(its, count):
            writer.add(row)
    before = open_replay([writer.path for writer in writers])
    for writer, its in zip(writers, rows, strict=True):
        for row in islice(its, 10):
            writer.add(row)
        writer.close()
    now = moved([writer.path for writer in writers])
    after = open_replay([now[number] for number in order], pinned=before.snapshot())
    assert content(after) == content(before)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_single_files_of_one_name_are_told_apart(tmp_path: Path, order: slice) -> None:
    files = [write(tmp_path / name / "replay.h5", stream_rows(lengths)) for name, lengths in (("a", [9, 5]), ("b", [7, 8]))]
    before = open_replay(files)
    now = [folder / "replay.h5" for folder in moved([file.parent for file in files])]
    assert content(open_replay(now[order], pinned=before.snapshot())) == content(before)


def test_copies_are_each_taken_once(folders: list[Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folders[0], tmp_path / "copy"))
    before = open_replay([folders[0], copy])
    now = moved([folders[0], copy])
    assert content(open_replay(now, pinned=before.snapshot())) == content(before)
    alone = open_replay([now[0]])
    assert content(open_replay(now, pinned=alone.snapshot())) == content(alone), "what was not read before is not read now"


def test_a_folder_that_holds_neither_is_refused(folders: list[Path], tmp_path: Path) -> None:
    records = open_replay(folders).snapshot()
    moved(folders)
    other = write(tmp_path / "other", episode_rows(3, 40), shard_rows=10)
    with pytest.raises(InputError, match=r"other: does not hold what was read from .*a or .*b before; bring that back, or start anew"):
        open_replay([other, tmp_path / "moved-b"], pinned=records)


def test_a_folder_that_is_not_given_any_more_is_gone(folders: list[Path]) -> None:
    records = open_replay(folders).snapshot()
    with pytest.raises(InputError, match=r"b/\w+-e0-000000\.h5: is gone, and was read before"):
        open_replay(folders[:1], pinned=records)


def test_a_shard_that_held_no_whole_step_yet_may_be_gone(folders: list[Path]) -> None:
    with ReplayWriter(folders[0], SPEC, lanes=1, seed=1, append=True) as writer:
        writer.add(episode_rows(0, 2)[0])
        before = open_replay(folders)
        records = before.snapshot()
    (path,) = [record.path for record in records if record.rows == 0]
    assert not path.exists()
    assert content(open_replay(folders, pinned=records)) == [rows for rows in content(before) if rows]


@pytest.mark.parametrize("number", [0, 1])
def test_a_shard_that_is_removed_while_it_is_opened_is_gone(folders: list[Path], number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    records = open_replay(folders).snapshot()
    removed, read = records[number].path, place.read_shard

    def pruned(path: Path) -> Shard:
        removed.unlink(missing_ok=True)
        return read(path)

    monkeypatch.setattr(place, "read_shard", pruned)
    with pytest.raises(InputError, match=rf"{removed}: is gone, and was read before; bring it back, or start anew"):
        open_replay(folders, pinned=records)


def test_folders_are_listed_no_more_often_for_having_more_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (listed.append(path), scandir(path))[1])
    counts = []
    for rows in (10, 40):
        records = open_replay([write(tmp_path / f"{rows}", episode_rows(0, rows), shard_rows=10)]).snapshot()
        listed.clear()
        open_replay([tmp_path / f"{rows}"], pinned=records)
        counts.append((len(records), len(listed)))
    assert counts == [(1, 2), (4, 2)]
