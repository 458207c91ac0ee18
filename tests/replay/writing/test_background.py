"""A writer leaves no rows, threads or locks behind in a bad state, however its process or its folder goes."""

import gc
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dreamctl.core.errors import OutputError
from dreamctl.replay.folder import check_idle
from dreamctl.replay.reader import open_replay
from dreamctl.replay.shards import sealed
from dreamctl.replay.shards.shard import read_shard
from dreamctl.replay.writer import ReplayWriter
from dreamctl.replay.writing.recovery import recover
from tests.replay import kill_writer
from tests.replay.rows import SPEC, episode_rows, stream_rows

UNCLOSED = """
import sys
from pathlib import Path
from dreamctl.replay.writer import ReplayWriter
from tests.replay import kill_writer
writer = ReplayWriter(Path(sys.argv[1]), kill_writer.SPEC, lanes=3, seed=0, shard_mb=2)
for number in range(171):
    for lane in range(3):
        writer.add(kill_writer.row(lane, number))
"""


@pytest.mark.parametrize("trial", range(3))
def test_a_process_that_ends_without_closing_ends_and_loses_nothing(tmp_path: Path, trial: int) -> None:
    """It ends while shards are sealed; a second a trial, most of it imports."""
    root = Path(__file__).parents[3]
    code = UNCLOSED.replace("171", str(170 + trial % 2))
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "replay")], cwd=root, timeout=30, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert kill_writer.check_with_h5py(tmp_path / "replay")[0] == [170 + trial % 2] * 3


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Sealing begins when the first event is set, and waits for the second one."""
    begun, goes_on = threading.Event(), threading.Event()
    real = sealed.compress

    def compress(data: object) -> bytes:
        begun.set()
        assert goes_on.wait(30)
        return real(data)  # type: ignore[arg-type]

    monkeypatch.setattr(sealed, "compress", compress)
    yield begun, goes_on
    goes_on.set()


def test_a_forgotten_writer_keeps_its_locks_until_the_shard_at_hand_is_sealed(
    tmp_path: Path, slow_disk: tuple[threading.Event, threading.Event]
) -> None:
    begun, goes_on = slow_disk
    folder = tmp_path / "replay"
    writer = ReplayWriter(folder, SPEC, lanes=1, seed=0, shard_rows=4)
    thread = writer._background._thread
    for row in episode_rows(0, 6):
        writer.add(row)
    assert begun.wait(30)
    del writer
    gc.collect()
    with pytest.raises(OutputError, match="this process writes it already"):
        check_idle(folder)
    assert recover(folder) == [], "what the thread has at hand is not touched"
    goes_on.set()
    thread.join(30)
    gc.collect()
    check_idle(folder)
    assert [found.rows for found in recover(folder)] == [2]
    assert open_replay([folder]).rows == 6


def test_the_child_of_a_fork_leaves_everything_to_its_parent(tmp_path: Path) -> None:
    with ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0, shard_rows=4) as writer:
        rows = list(stream_rows([9]))
        for row in rows[:6]:
            writer.add(row)
        before = sorted((tmp_path / "replay").glob(".*.lock"))
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # ends a child that waits for a thread which it does not have
            try:
                writer.close()
                del writer
                gc.collect()
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert sorted((tmp_path / "replay").glob(".*.lock")) == before != []
        for row in rows[6:]:
            writer.add(row)
    assert open_replay([tmp_path / "replay"]).rows == 9


@pytest.mark.parametrize("rows", [3, 12])
@pytest.mark.parametrize("take", [shutil.rmtree, lambda folder: folder.rename(folder.with_name("elsewhere"))], ids=["removed", "moved"])
def test_a_folder_that_goes_while_it_is_written_is_one_line_and_is_not_made_again(
    tmp_path: Path, take: Callable[[Path], object], rows: int
) -> None:
    folder = tmp_path / "replay"
    with (  # noqa: PT012 - where it fails is up to the writer
        pytest.raises(OutputError, match=r"leave the folder alone|was moved, removed or changed while it was written") as caught,
        ReplayWriter(folder, SPEC, lanes=1, seed=0, shard_rows=4) as writer,
    ):
        for number, row in enumerate(stream_rows([14])):
            if number == rows:
                writer._background.wait()
                take(folder)
            writer.add(row)
    assert caught.value.code == 74
    assert "\n" not in str(caught.value)
    assert not folder.exists()
    if (tmp_path / "elsewhere").is_dir():
        recover(tmp_path / "elsewhere")
        assert open_replay([tmp_path / "elsewhere"]).rows >= rows


def test_a_forgotten_shard_of_no_rows_that_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    writer = ReplayWriter(tmp_path / "replay", SPEC, lanes=1, seed=0)
    monkeypatch.setattr("dreamctl.replay.shards.live.LiveShard.append", lambda *_: (_ for _ in ()).throw(KeyError("no such column")))
    with pytest.raises(KeyError):
        writer.add(episode_rows(0, 2)[0])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(OutputError, match="Operation not permitted"):
            writer.pause()
    check_idle(tmp_path / "replay")


@pytest.mark.parametrize("files", range(1, 21))
def test_too_many_open_files_are_one_line_and_rows_that_were_added_stay(tmp_path: Path, files: int) -> None:
    folder = tmp_path / "replay"
    open_now = len(os.listdir("/dev/fd"))
    limits, added = resource.getrlimit(resource.RLIMIT_NOFILE), 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + files, limits[1]))
    try:
        with ReplayWriter(folder, SPEC, lanes=4, seed=0, shard_rows=4) as writer:
            for row in (row for rows in zip(*(episode_rows(0, 9, lane=lane) for lane in range(4)), strict=True) for row in rows):
                writer.add(row)
                added += 1
    except OutputError as error:
        assert "\n" not in str(error)  # noqa: PT017 - where there are enough, there is none
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    recover(folder)
    assert sum(read_shard(path).rows for path in folder.glob("*.h5")) >= added - 4
