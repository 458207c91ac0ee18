"""What takes the place of an output does so whole, or not at all; nothing of anybody else's is lost on the way."""

import os
from pathlib import Path

import pytest

from dreamctl.core.errors import OutputError, StoppedEarly, UsageError
from dreamctl.core.locks import lock_beside, sole_writer
from dreamctl.core.session import Session, Stop
from dreamctl.replay.reader import open_replay
from dreamctl.replay.writer import ReplayWriter
from dreamctl.stages.convert import convert
from dreamctl.stages.data_edit import Conditions, filter_episodes, merge, prune, split
from dreamctl.stages.replacing import check_replay, replaced, ticking
from tests.replay.rows import SPEC, episode_rows, stream_rows, write
from tests.stages.tiny import OVERWRITE


def test_a_file_is_there_once_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out.h5"
    with replaced(out) as new:
        new.write_text("new")
        assert not out.exists()
    assert out.read_text() == "new"
    assert [path.name for path in out.parent.iterdir()] == ["out.h5"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_leaves_the_old_and_nothing_else(error: type[BaseException], tmp_path: Path) -> None:
    out = write(tmp_path / "out", stream_rows([3]))
    before = sorted(path.name for path in out.iterdir())

    def half() -> None:
        with replaced(out) as new:
            new.mkdir()
            (new / "half.h5").touch()
            raise error

    with pytest.raises(error):
        half()
    assert sorted(path.name for path in out.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_crash_moved_aside_comes_back(tmp_path: Path) -> None:
    (tmp_path / ".out.new" / "out.old").mkdir(parents=True)
    (tmp_path / ".out.new" / "out.old" / "a.h5").write_text("old")
    with pytest.raises(ValueError, match="again"), replaced(tmp_path / "out"):
        raise ValueError("again")
    assert (tmp_path / "out" / "a.h5").read_text() == "old"


def half_replaced(out: Path) -> None:
    with replaced(out) as new:
        new.mkdir()
        (new / "b.h5").write_text("new")


def test_a_swap_that_someone_ends_in_the_middle_brings_the_old_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = write(tmp_path / "out", stream_rows([3]))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        half_replaced(out)
    assert open_replay([out]).rows == 3
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_where_another_took_the_place_neither_old_nor_new_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = write(tmp_path / "out", stream_rows([3]))
    rename = os.rename

    def taken(old: Path, new: Path) -> None:
        rename(old, new)
        out.mkdir()
        (out / "c.h5").write_text("another's")

    monkeypatch.setattr(os, "rename", taken)
    for _ in range(2):
        with pytest.raises(OutputError, match=r"something else took its place .* is in .*out\.old"):
            half_replaced(out)
        assert open_replay([tmp_path / ".out.new" / "out.old"]).rows == 3
        assert (tmp_path / ".out.new" / "out" / "b.h5").read_text() == "new"
        assert (out / "c.h5").read_text() == "another's"


def test_what_a_crash_moved_aside_counts_as_there(tmp_path: Path) -> None:
    (tmp_path / ".out.new").mkdir()
    write(tmp_path / ".out.new" / "out.old", stream_rows([3]))
    with pytest.raises(UsageError, match="exists; use --overwrite"):
        check_replay(tmp_path / "out", Session())
    assert open_replay([tmp_path / "out"]).rows == 3
    check_replay(tmp_path / "out", Session(existing="overwrite"))


def test_the_folder_one_stands_in_is_replaced_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    check_replay(Path(), Session())
    half_replaced(Path())
    assert (tmp_path / "out" / "b.h5").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_foreign_files_in_a_folder_of_another_format_are_not_replaced(tmp_path: Path) -> None:
    source, out = write(tmp_path / "r", stream_rows([3])), tmp_path / "toy-v0"
    session = Session(existing="overwrite")
    for _ in range(2):
        convert(source, out, ("replay", "minari"), {"dataset_id": "toy-v0"}, session)
    (out / "data" / "precious.csv").write_text("x")
    with pytest.raises(UsageError, match=r"toy-v0/data: holds precious\.csv, which would be lost"):
        convert(source, out, ("replay", "minari"), {"dataset_id": "toy-v0"}, session)
    assert (out / "data" / "precious.csv").read_text() == "x"


def test_episodes_of_other_names_are_not_replaced(tmp_path: Path) -> None:
    source, out = write(tmp_path / "r", stream_rows([3])), tmp_path / "episodes"
    for _ in range(2):
        convert(source, out, ("replay", "npz"), {}, OVERWRITE)
    (out / "episode-of-may.npz").write_text("mine")
    with pytest.raises(UsageError, match=r"holds episode-of-may\.npz, which would be lost"):
        convert(source, out, ("replay", "npz"), {}, OVERWRITE)


@pytest.mark.parametrize("work", ["merge", "filter", "split", "convert"])
def test_a_file_does_not_become_a_part_of_what_it_is_made_of(work: str, tmp_path: Path) -> None:
    source = write(tmp_path / "r", stream_rows([3]))
    out = source / "new.h5"
    works = {
        "merge": lambda: merge([source], out, OVERWRITE),
        "filter": lambda: filter_episodes([source], Conditions(min_length=1), out, OVERWRITE),
        "split": lambda: split([source], [(out, None)], OVERWRITE),
        "convert": lambda: convert(source, out, ("replay", None), {}, OVERWRITE),
    }
    with pytest.raises(UsageError, match=r"new\.h5: lies in .*r, of which it would become a part; choose another --out"):
        works[work]()
    assert open_replay([source]).rows == 3


def test_a_replay_that_is_written_to_is_not_replaced(tmp_path: Path) -> None:
    with ReplayWriter(tmp_path / "out", SPEC, lanes=1, seed=0) as writer:
        for row in episode_rows(0, 4):
            writer.add(row)
        with pytest.raises(OutputError, match="writes it"), replaced(tmp_path / "out") as new:
            new.mkdir()
    assert len(list((tmp_path / "out").glob("*.h5"))) == 1


def test_what_is_added_meanwhile_is_not_lost(tmp_path: Path) -> None:
    def replaced_late() -> None:
        with replaced(tmp_path / "out") as new:
            write(new, stream_rows([3]))
            write(tmp_path / "out", stream_rows([4]))

    with pytest.raises(OutputError, match=r"out: .*e0-000000\.h5 was added meanwhile"):
        replaced_late()
    assert open_replay([tmp_path / "out"]).rows == 4
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_that_is_being_collected_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "out.h5.parts").mkdir()
    with pytest.raises(UsageError, match=r"is being collected in .*out\.h5\.parts"):
        check_replay(tmp_path / "out.h5", Session(existing="overwrite"))


def test_writing_ends_when_someone_asks(tmp_path: Path) -> None:
    tick = ticking("merge", tmp_path / "out", Session(stop=Stop(deadline=0.0)))
    with pytest.raises(StoppedEarly, match="merge out: stopped at 50 %, nothing was written"):
        tick(1, 2)


def test_a_folder_that_nothing_can_be_removed_from_is_not_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "replay", stream_rows([3, 3]), shard_rows=3)
    monkeypatch.setattr("os.access", lambda path, _: Path(path) != folder)
    with pytest.raises(OutputError, match=r"replay: cannot be written to, so nothing can be removed; ask its owner$"):
        prune(folder, 1, dry_run=False)
    assert len(prune(folder, 1, dry_run=True).gone) == 1


def test_the_replay_of_a_run_that_goes_on_is_not_pruned(tmp_path: Path) -> None:
    folder = write(tmp_path / "run" / "replay", stream_rows([3, 3]), shard_rows=3)
    with sole_writer(tmp_path / "run"), pytest.raises(OutputError, match=r"belongs to .*run, .*set replay\.capacity"):
        prune(folder, 1, dry_run=False)
    assert not lock_beside(tmp_path / "run").exists()
    assert len(prune(folder, 1, dry_run=False).gone) == 1
