"""Whoever writes into a folder after rows have left it is not taken for the writer of those rows."""

from pathlib import Path

from dreamctl.replay.editing.edit import oldest, remove_shards
from dreamctl.replay.reader import open_replay
from dreamctl.replay.writer import ReplayWriter
from dreamctl.replay.writing.gone import Gone
from tests.replay.rows import SPEC, stream_rows, write


def collectors(folder: Path) -> set[str]:
    return {path.name.split("-")[0] for path in folder.glob("*.h5")}


def test_the_name_of_a_writer_whose_rows_are_pruned_is_not_given_again(tmp_path: Path) -> None:
    folder = write(tmp_path / "replay", stream_rows([9]), shard_rows=4)
    (first,) = collectors(folder)
    write(folder, stream_rows([9]), append=True, shard_rows=4)
    gone, left = oldest(folder, 8)
    remove_shards(folder, gone)
    assert first not in collectors(folder), "the test prunes all of the first one"
    assert left
    write(folder, stream_rows([9]), append=True)
    assert first not in collectors(folder)
    assert len(open_replay([folder]).streams) == 2


def test_nor_that_of_one_whose_rows_left_a_bounded_replay(tmp_path: Path) -> None:
    with ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0) as writer:
        Gone.of(tmp_path / "replay").begun(writer.collector)
    with ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0, append=True) as other:
        assert other.collector != writer.collector


def test_a_folder_whose_name_looks_like_a_shard_is_no_shard_that_went(tmp_path: Path) -> None:
    (tmp_path / "odd.h5").mkdir()
    Gone.of(tmp_path / "odd.h5").settle()
    assert Gone.of(tmp_path / "odd.h5").last == ""
